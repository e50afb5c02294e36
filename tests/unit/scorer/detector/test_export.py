import hashlib
import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray

from scorer.detector import (
    LOCAL_GRAPH,
    SCORE_GRAPH,
    Detector,
    DetectorError,
    ExportManifest,
    Flow,
    FlowSpec,
    ParityError,
    export_onnx,
    load_extractor,
    parity_pictures,
)
from scorer.detector import export as export_module
from scorer.detector.graphs import flow_graph
from scorer.detector.scoring import negative_log_prior

from .conftest import make_detector, with_cameras, with_local_model
from .test_backend import tampered

Run = dict[str, NDArray[np.float32]]


@pytest.fixture(scope="module")
def detector() -> Detector:
    return with_local_model(make_detector(load_extractor("bundled")))


@pytest.fixture(scope="module")
def exported(detector: Detector, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export") / "models" / "tile"
    parity = export_onnx(detector, folder, iter(parity_pictures()[:2]), version=4)
    assert parity.pictures == len(parity_pictures()) + 2
    assert parity.difference < 1e-3
    return folder


def run(path: Path, pixels: NDArray[np.float32]) -> Run:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return dict(zip((o.name for o in session.get_outputs()), session.run(None, {"pixels": pixels}), strict=True))


@pytest.mark.parametrize("count", [1, 3])
def test_both_graphs_compute_what_torch_does_for_any_number(detector: Detector, exported: Path, count: int) -> None:
    pixels = detector.prepare(parity_pictures()[:count]).float() / 255.0
    with torch.inference_mode():
        z, _ = detector.flow(detector.extractor(pixels))
        wanted = negative_log_prior(z).numpy()
    np.testing.assert_allclose(run(exported / SCORE_GRAPH, pixels.numpy())["negative_log_p"], wanted, rtol=1e-5)
    found = run(exported / LOCAL_GRAPH, pixels.numpy())
    maps = detector.score(parity_pictures()[:count]).maps
    assert maps is not None
    np.testing.assert_allclose(found["unlikeness"], maps[:, 0], rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(found["defect_map"], maps[:, 1], rtol=1e-3, atol=1e-3)
    assert found["features"].shape == (count, 768)
    assert found["local_scores"].shape == (count, 2)


def test_the_manifest_says_what_a_score_needs(detector: Detector, exported: Path) -> None:
    manifest = ExportManifest.model_validate_json((exported / "manifest.json").read_bytes())
    assert {path.name for path in exported.iterdir()} == {SCORE_GRAPH, LOCAL_GRAPH, "manifest.json"}
    for name, sha256 in manifest.files.items():
        assert hashlib.sha256((exported / name).read_bytes()).hexdigest() == sha256
        assert {each.version for each in onnx.load(exported / name).opset_import} == {manifest.opset}
    assert (manifest.product, manifest.version) == ("tile", 4)
    assert (manifest.views, manifest.fusion) == (detector.manifest.views, detector.manifest.fusion)
    assert manifest.threshold == detector.manifest.threshold


def test_the_files_name_no_folder_of_this_machine(exported: Path) -> None:
    here = str(Path(export_module.__file__).parents[2]).encode()
    assert all(
        here not in path.read_bytes() and b"site-packages" not in path.read_bytes() for path in exported.iterdir()
    )


def test_a_flow_alone_has_one_graph(tmp_path: Path) -> None:
    detector = with_cameras(make_detector(load_extractor("bundled")), {"oven-1": [700.0], "oven-2": [1e6]}, 0.5)
    export_onnx(detector, tmp_path / "tile")
    assert {path.name for path in (tmp_path / "tile").iterdir()} == {SCORE_GRAPH, "manifest.json"}
    manifest = json.loads((tmp_path / "tile" / "manifest.json").read_text())
    assert manifest["fusion"] is None
    assert (manifest["threshold"], manifest["camera_thresholds"]) == (1e6, {"oven-1": 700.0, "oven-2": 1e6})


@pytest.mark.parametrize("part", ["score_graph", "upright_graph"])
def test_a_graph_that_was_tampered_with_is_refused_and_nothing_is_written(
    detector: Detector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    untouched = getattr(export_module, part)
    monkeypatch.setattr(export_module, part, lambda *parts: tampered(untouched(*parts)))
    with pytest.raises(ParityError, match="parity gate"):
        export_onnx(detector, tmp_path / "tile")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_there_stays_as_it_is(detector: Detector, tmp_path: Path) -> None:
    with pytest.raises(FileExistsError):
        export_onnx(detector, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_flow_without_standardisation_and_with_the_papers_depth_is_the_same_graph() -> None:
    flow = Flow(FlowSpec(hidden=32, seed=4)).eval()
    session = onnxruntime.InferenceSession(flow_graph(flow), providers=["CPUExecutionProvider"])
    features = torch.randn(5, 768, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        wanted = flow(features)
    for found, tensor in zip(session.run(None, {"features": features.numpy()}), wanted, strict=True):
        np.testing.assert_allclose(found, tensor.numpy(), rtol=1e-4, atol=1e-5)


def test_too_many_weights_are_refused_before_anything_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scorer.detector.graphs._LARGEST_BYTES", 1000)
    with pytest.raises(DetectorError, match="ends at 2 GiB"):
        flow_graph(Flow(FlowSpec(hidden=16)))
