from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from scorer.detector import ADAPTED, Extractor, ParityError, load_extractor, save_artifact
from scorer.detector import backend as backend_module
from scorer.models import ArtifactLoader
from tests.unit.scorer.detector.conftest import make_detector


def row_of(folder: Path, extractor: Extractor) -> SimpleNamespace:
    hashes = save_artifact(folder, make_detector(extractor))
    return SimpleNamespace(folder=str(folder), flow_sha256=hashes.flow, manifest_sha256=hashes.manifest)


@pytest.mark.parametrize("backend", ["torch", "onnxruntime"])
@pytest.mark.parametrize(("adapted", "shared"), [(False, True), (True, False)])
def test_models_share_an_extractor_unless_it_is_of_one_model_alone(
    tmp_path: Path, adapted: bool, shared: bool, backend: backend_module.Backend
) -> None:
    extractor = load_extractor("random", seed=5)
    if adapted:
        weights = extractor.convolutions.state_dict()
        extractor = Extractor({name: value.half().float() for name, value in weights.items()}, ADAPTED)
    load = ArtifactLoader(torch.device("cpu"), "bundled", 0, backend=backend)
    first, second = (load(row_of(tmp_path / name, extractor)) for name in ("a", "b"))  # type: ignore[arg-type]
    assert first.extractor.sha256 == second.extractor.sha256 == extractor.sha256
    assert (first.extractor is second.extractor) is shared
    assert isinstance(first.extractor, backend_module.OnnxExtractor) is (backend == "onnxruntime")


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
