from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from scorer.detector import ADAPTED, Extractor, load_extractor, save_artifact
from scorer.models import ArtifactLoader
from tests.unit.scorer.detector.conftest import make_detector


def row_of(folder: Path, extractor: Extractor) -> SimpleNamespace:
    hashes = save_artifact(folder, make_detector(extractor))
    return SimpleNamespace(folder=str(folder), flow_sha256=hashes.flow, manifest_sha256=hashes.manifest)


@pytest.mark.parametrize(("adapted", "shared"), [(False, True), (True, False)])
def test_models_share_an_extractor_unless_it_is_of_one_model_alone(tmp_path: Path, adapted: bool, shared: bool) -> None:
    extractor = load_extractor("random", seed=5)
    if adapted:
        weights = extractor.convolutions.state_dict()
        extractor = Extractor({name: value.half().float() for name, value in weights.items()}, ADAPTED)
    load = ArtifactLoader(torch.device("cpu"), "bundled", 0)
    first, second = (load(row_of(tmp_path / name, extractor)) for name in ("a", "b"))  # type: ignore[arg-type]
    assert first.extractor.sha256 == second.extractor.sha256 == extractor.sha256
    assert (first.extractor is second.extractor) is shared
