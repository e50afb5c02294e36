import gc
import weakref
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from scorer.detector import (
    ADAPTED,
    FLOW_FILE,
    LOCAL_FILE,
    ArtifactRefusedError,
    Detector,
    Extractor,
    ParityError,
    load_extractor,
    save_artifact,
)
from scorer.detector import backend as backend_module
from scorer.models import ArtifactLoader
from tests.unit.scorer.detector.conftest import make_detector, with_local_model


def row_of(folder: Path, extractor: Extractor, detector: Detector | None = None) -> SimpleNamespace:
    hashes = save_artifact(folder, detector or make_detector(extractor))
    return SimpleNamespace(folder=str(folder), flow_sha256=hashes.flow, manifest_sha256=hashes.manifest)


@pytest.mark.parametrize("backend", ["torch", "onnxruntime"])
@pytest.mark.parametrize("adapted", [False, True])
def test_models_share_an_extractor_and_a_tuned_one_ends_with_the_last_of_them(
    tmp_path: Path, adapted: bool, backend: backend_module.Backend
) -> None:
    extractor = load_extractor("random", seed=5)
    if adapted:
        weights = extractor.convolutions.state_dict()
        extractor = Extractor({name: value.half().float() for name, value in weights.items()}, ADAPTED)
    load = ArtifactLoader(torch.device("cpu"), "bundled", 0, backend=backend)
    rows = [row_of(tmp_path / name, extractor) for name in ("a", "b")]
    first, second = (load(row) for row in rows)  # type: ignore[arg-type]
    assert first.extractor.sha256 == second.extractor.sha256 == extractor.sha256
    assert first.extractor is second.extractor
    assert isinstance(first.extractor, backend_module.OnnxExtractor) is (backend == "onnxruntime")
    kept = weakref.ref(first.extractor)
    del first, second
    gc.collect()
    assert (kept() is None) is adapted


def test_models_with_the_same_file_share_flow_and_local_model_until_the_last_of_them_ends(tmp_path: Path) -> None:
    extractor = load_extractor("random", seed=5)
    load = ArtifactLoader(torch.device("cpu"), "bundled", 0)
    rows = [row_of(tmp_path / str(place), extractor, with_local_model(make_detector(extractor))) for place in range(2)]
    first, second = (load(row) for row in rows)  # type: ignore[arg-type]
    assert first.flow is second.flow
    assert first.local is second.local is not None
    kept = weakref.ref(first.flow), weakref.ref(first.local)
    del first
    gc.collect()
    assert kept[0]() is second.flow
    del second
    gc.collect()
    assert [each() for each in kept] == [None, None]


def test_a_file_that_was_altered_is_refused_also_where_the_same_model_is_in_memory(tmp_path: Path) -> None:
    extractor = load_extractor("random", seed=5)
    load = ArtifactLoader(torch.device("cpu"), "bundled", 0)
    rows = [row_of(tmp_path / str(place), extractor, with_local_model(make_detector(extractor))) for place in range(3)]
    first = load(rows[0])  # type: ignore[arg-type]
    for row, name in zip(rows[1:], (FLOW_FILE, LOCAL_FILE), strict=True):
        (Path(row.folder) / name).write_bytes(b"something else")
        with pytest.raises(ArtifactRefusedError, match=f"{name}: SHA-256 is"):
            load(row)  # type: ignore[arg-type]
    assert first.flow is not None


def test_a_model_that_scores_otherwise_in_onnxruntime_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = make_detector(load_extractor("random", seed=5)).flow
    other.mean += 0.5
    graph = backend_module.flow_graph(other)
    monkeypatch.setattr(backend_module, "flow_graph", lambda _: graph)
    load = ArtifactLoader(torch.device("cpu"), "bundled", 0, backend="onnxruntime")
    with pytest.raises(ParityError, match="parity gate"):
        load(row_of(tmp_path / "a", load_extractor("random", seed=5)))  # type: ignore[arg-type]
