import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import Tensor

from scorer.detector import (
    FLOW_FILE,
    MANIFEST_FILE,
    ArtifactRefusedError,
    Detector,
    Extractor,
    load_artifact,
    load_extractor,
    save_artifact,
)


@pytest.fixture
def folder(detector: Detector, tmp_path: Path) -> Path:
    save_artifact(tmp_path / "models" / "v1", detector)
    return tmp_path / "models" / "v1"


def test_a_saved_detector_loads_and_scores_the_same(
    detector: Detector, tmp_path: Path, pictures: list[NDArray[np.uint8]]
) -> None:
    hashes = save_artifact(tmp_path / "v1", detector)
    loaded = load_artifact(tmp_path / "v1", hashes.flow, hashes.manifest)
    assert loaded.manifest == detector.manifest
    assert (loaded.score(pictures).score == detector.score(pictures).score).all()
    np.testing.assert_array_equal(loaded.heatmap(pictures[:1]), detector.heatmap(pictures[:1]))


def test_the_same_detector_gives_the_same_bytes(detector: Detector, tmp_path: Path) -> None:
    assert save_artifact(tmp_path / "a", detector) == save_artifact(tmp_path / "b", detector)


def test_an_artifact_is_whole_or_not_there(detector: Detector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(_: int) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="no space"):
        save_artifact(tmp_path / "v1", detector)
    assert list(tmp_path.iterdir()) == []


def test_an_artifact_is_never_overwritten(detector: Detector, folder: Path) -> None:
    with pytest.raises(FileExistsError):
        save_artifact(folder, detector)


@pytest.mark.parametrize("name", [FLOW_FILE, MANIFEST_FILE])
def test_missing_empty_and_unexpected_files_are_refused(folder: Path, extractor: Extractor, name: str) -> None:
    wrong = "0" * 64
    expected = {"expected_flow_sha256": wrong} if name == FLOW_FILE else {"expected_manifest_sha256": wrong}
    refuse(folder, extractor, f"{name}: SHA-256", **expected)
    (folder / name).write_bytes(b"")
    refuse(folder, extractor, "broken|manifest")
    (folder / name).unlink()
    refuse(folder, extractor, f"{name}: No such file")


def spoil_nan(state: dict[str, Tensor]) -> None:
    state["inn.module_list.1.subnet1.0.weight"][0, 0] = float("nan")


def spoil_infinite(state: dict[str, Tensor]) -> None:
    state["mean"][0] = float("inf")


def spoil_shape(state: dict[str, Tensor]) -> None:
    state["mean"] = torch.zeros(767)


def spoil_dtype(state: dict[str, Tensor]) -> None:
    state["mean"] = state["mean"].half()


def spoil_missing(state: dict[str, Tensor]) -> None:
    del state["std"]


def spoil_extra(state: dict[str, Tensor]) -> None:
    state["surplus"] = torch.zeros(1)


def spoil_permutation(state: dict[str, Tensor]) -> None:
    state["inn.module_list.0.perm"] = state["inn.module_list.0.perm"] + 768


def spoil_deviation(state: dict[str, Tensor]) -> None:
    state["std"][5] = 0.0


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (spoil_nan, "not finite"),
        (spoil_infinite, "mean has values that are not finite"),
        (spoil_shape, r"mean is \(767,\)"),
        (spoil_dtype, "mean is .* torch.float16"),
        (spoil_missing, "missing or unknown, first std"),
        (spoil_extra, "missing or unknown, first surplus"),
        (spoil_permutation, "permutation"),
        (spoil_deviation, "std is not positive"),
    ],
)
def test_a_broken_flow_is_refused(
    folder: Path, extractor: Extractor, spoil: Callable[[dict[str, Tensor]], None], reason: str
) -> None:
    state = safetensors.torch.load((folder / FLOW_FILE).read_bytes())
    spoil(state)
    (folder / FLOW_FILE).write_bytes(safetensors.torch.save(state))
    refuse(folder, extractor, reason)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"format_version": 2}, "format version 2 is unknown"),
        ({"architecture": {"blocks": 3}}, "architecture|missing"),
        ({"surplus": 1}, "surplus"),
        ({"product": None}, "product"),
        ({"calibration_scores": []}, "no calibration scores"),
        ({"calibration_scores": [1.0, None]}, "calibration_scores"),
        ({"false_alarm_rate": 2.0}, "false-alarm rate"),
        ({"threshold": 1.0}, "threshold 1.0 is not"),
        ({"heat_scale": 0}, "heat_scale"),
        ({"scales_px": [448]}, "scales"),
    ],
)
def test_a_broken_manifest_is_refused(
    folder: Path, extractor: Extractor, change: dict[str, object], reason: str
) -> None:
    path = folder / MANIFEST_FILE
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    refuse(folder, extractor, reason)


def test_text_that_is_no_json_is_refused(folder: Path, extractor: Extractor) -> None:
    (folder / MANIFEST_FILE).write_bytes(b"\xff\xfe{")
    refuse(folder, extractor, "manifest")


def test_another_extractor_is_refused(folder: Path) -> None:
    refuse(folder, load_extractor("random", seed=6), "fitted on the extractor random")


def test_an_extractor_file_has_to_be_given(folder: Path, detector: Detector) -> None:
    manifest = json.loads((folder / MANIFEST_FILE).read_text())
    manifest["extractor"]["name"] = "file:plant.safetensors"
    (folder / MANIFEST_FILE).write_text(json.dumps(manifest))
    with pytest.raises(ArtifactRefusedError, match=r"plant\.safetensors, which was not given"):
        load_artifact(folder)
    assert load_artifact(folder, extractor=detector.extractor).manifest.extractor.name == "file:plant.safetensors"


def refuse(folder: Path, extractor: Extractor, reason: str, **expected: str) -> None:
    with pytest.raises(ArtifactRefusedError, match=reason) as refused:
        load_artifact(folder, extractor=extractor, **expected)
    assert "\n" not in str(refused.value)
