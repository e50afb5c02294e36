import hashlib
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
    ADAPTED,
    EXTRACTOR_FILE,
    FLOW_FILE,
    LOCAL_FILE,
    MANIFEST_FILE,
    ArtifactRefusedError,
    Detector,
    Extractor,
    load_artifact,
    load_extractor,
    save_artifact,
)
from tests.unit.scorer.detector.conftest import make_detector, with_cameras, with_local_model

EXIT = {"usual": [0.0, 0.0, 0.0], "steps": [2], "reach": [1.0], "floor": 0.1}


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
        ({"format_version": 6}, "format version 6 is unknown, this program reads 1 to 5"),
        ({"architecture": {"blocks": 3}}, "architecture|missing"),
        ({"surplus": 1}, "surplus"),
        ({"product": None}, "product"),
        ({"calibration_scores": []}, "no calibration scores"),
        ({"calibration_scores": [1.0, None]}, "calibration_scores"),
        ({"false_alarm_rate": 2.0}, "false-alarm rate"),
        ({"threshold": 1.0}, "threshold 1.0 is not"),
        ({"heat_scale": 0}, "heat_scale"),
        ({"scales_px": [448]}, "scales"),
        ({"local": {}}, "a local model and a fusion go together"),
        ({"evidence": 1.5}, "evidence"),
        ({"early_exit": {**EXIT, "usual": [0.0] * 8}}, "early exit is of other views"),
        ({"early_exit": {**EXIT, "reach": []}}, "do not fit its views"),
        ({"early_exit": {**EXIT, "steps": [2, 2], "reach": [1.0, 1.0]}}, "do not ascend"),
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


def test_a_model_of_the_format_before_is_still_read(folder: Path, detector: Detector, extractor: Extractor) -> None:
    manifest = json.loads((folder / MANIFEST_FILE).read_text())
    for name in ("local", "fusion", "evidence", "files"):
        del manifest[name]
    (folder / MANIFEST_FILE).write_text(json.dumps({**manifest, "format_version": 1}))
    assert load_artifact(folder, extractor=extractor).manifest.threshold == detector.manifest.threshold


@pytest.fixture
def whole(extractor: Extractor, tmp_path: Path) -> Path:
    save_artifact(tmp_path / "whole", with_local_model(make_detector(extractor)))
    return tmp_path / "whole"


def test_a_local_model_is_part_of_the_artifact(
    whole: Path, extractor: Extractor, pictures: list[NDArray[np.uint8]]
) -> None:
    detector, loaded = with_local_model(make_detector(extractor)), load_artifact(whole, extractor=extractor)
    assert (loaded.score(pictures).score == detector.score(pictures).score).all()
    np.testing.assert_array_equal(loaded.heatmap(pictures), detector.heatmap(pictures))
    assert set(loaded.manifest.files) == {LOCAL_FILE}


def test_a_broken_local_model_is_refused(whole: Path, extractor: Extractor) -> None:
    data = (whole / LOCAL_FILE).read_bytes()
    state = safetensors.torch.load(data)
    (whole / LOCAL_FILE).write_bytes(data[:-1] + b"x")
    refuse(whole, extractor, "local.safetensors: SHA-256")
    (whole / LOCAL_FILE).unlink()
    refuse(whole, extractor, "local.safetensors: No such file")
    state["spread"][3, 4] = 0.0
    replace_local(whole, state)
    refuse(whole, extractor, "spread is not positive")
    state["spread"][3, 4] = float("nan")
    replace_local(whole, state)
    refuse(whole, extractor, "local.safetensors: spread has values that are not finite")
    manifest = json.loads((whole / MANIFEST_FILE).read_text())
    (whole / MANIFEST_FILE).write_text(json.dumps({**manifest, "files": {}}))
    refuse(whole, extractor, "no SHA-256 of local.safetensors")


def replace_local(folder: Path, state: dict[str, Tensor]) -> None:
    """Put another local model there, with its hash in the manifest."""
    data = safetensors.torch.save(state)
    (folder / LOCAL_FILE).write_bytes(data)
    manifest = json.loads((folder / MANIFEST_FILE).read_text())
    manifest["files"][LOCAL_FILE] = hashlib.sha256(data).hexdigest()
    (folder / MANIFEST_FILE).write_text(json.dumps(manifest))


def test_adapted_weights_lie_in_the_artifact(tmp_path: Path, pictures: list[NDArray[np.uint8]]) -> None:
    rounded = {k: v.half().float() for k, v in load_extractor("random", seed=9).convolutions.state_dict().items()}
    detector = make_detector(Extractor(rounded, ADAPTED))
    save_artifact(tmp_path / "own", detector)
    loaded = load_artifact(tmp_path / "own")
    assert loaded.extractor.sha256 == detector.extractor.sha256
    assert (loaded.score(pictures).score == detector.score(pictures).score).all()
    (tmp_path / "own" / EXTRACTOR_FILE).write_bytes(b"")
    with pytest.raises(ArtifactRefusedError, match=r"extractor\.safetensors: SHA-256"):
        load_artifact(tmp_path / "own")


CAMERAS = {"oven-1": (1.0, 4.0, 2.0), None: (9.0,), "oven-2": (7.0, 5.0, 6.0), "oven-3": (8.0, 3.0)}


@pytest.fixture
def of_cameras(detector: Detector, tmp_path: Path) -> Path:
    """Of three cameras, two of which have enough pictures for the rate of 0.25."""
    save_artifact(tmp_path / "cameras", with_cameras(detector, CAMERAS, 0.25))
    return tmp_path / "cameras"


def test_the_calibrations_of_cameras_come_back_as_they_were(
    of_cameras: Path, detector: Detector, extractor: Extractor
) -> None:
    loaded = load_artifact(of_cameras, extractor=extractor)
    assert loaded.manifest == with_cameras(detector, CAMERAS, 0.25).manifest
    assert {camera: made.scores for camera, made in loaded.camera_calibrations.items()} == {
        "oven-1": (1.0, 4.0, 2.0),
        "oven-2": (7.0, 5.0, 6.0),
    }
    cameras = ("oven-1", "oven-2", "oven-3", "unheard-of", None)
    assert [loaded.calibration_of(camera).threshold for camera in cameras] == [4.0, 7.0, 8.0, 8.0, 8.0]
    assert [loaded.manifest.compared_with(camera) for camera in ("oven-2", "oven-3")] == [[4, 5, 6], list(range(9))]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"camera_thresholds": {"oven-1": 4.0, "oven-2": 6.0}}, "thresholds of cameras"),
        ({"camera_thresholds": {"oven-1": 4.0}}, "thresholds of cameras"),
        ({"camera_thresholds": {}}, "thresholds of cameras"),
        ({"camera_thresholds": {"oven-1": 4.0, "oven-2": 7.0, "oven-3": 8.0}}, "thresholds of cameras"),
        ({"camera_thresholds": {"oven-1": float("nan"), "oven-2": 7.0}}, "camera_thresholds"),
        ({"camera_thresholds": {"oven-1": None, "oven-2": 7.0}}, "camera_thresholds"),
        ({"calibration_cameras": []}, "thresholds of cameras"),
        ({"calibration_cameras": ["oven-1"] * 8}, "other numbers of cameras and of scores"),
        ({"calibration_cameras": ["oven-1"] * 9}, "thresholds of cameras"),
        ({"calibration_cameras": [7] * 9}, "calibration_cameras"),
    ],
)
def test_damaged_calibrations_of_cameras_are_refused(
    of_cameras: Path, extractor: Extractor, change: dict[str, object], reason: str
) -> None:
    path = of_cameras / MANIFEST_FILE
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    refuse(of_cameras, extractor, reason)


def test_a_model_of_before_there_were_cameras_judges_all_of_them_by_one_threshold(
    folder: Path, extractor: Extractor
) -> None:
    manifest = json.loads((folder / MANIFEST_FILE).read_text())
    for name in ("calibration_cameras", "camera_thresholds"):
        del manifest[name]
    (folder / MANIFEST_FILE).write_text(json.dumps({**manifest, "format_version": 4}))
    loaded = load_artifact(folder, extractor=extractor)
    assert loaded.calibration_of("oven-1") == loaded.calibration_of(None) == loaded.calibration
    assert loaded.manifest.compared_with("oven-1") == [0, 1, 2, 3]
