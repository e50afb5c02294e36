import sys
from collections.abc import Callable

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from scorer.detector import (
    Detector,
    DetectorError,
    EarlyExit,
    Extractor,
    ParityError,
    ViewPlan,
    choose_backend,
    load_extractor,
    on_onnxruntime,
    parity_pictures,
    score_together,
)
from scorer.detector import backend as backend_module

from .conftest import make_detector, with_local_model

VIEWS = 8
ODD = parity_pictures()[5:]


def many_views(detector: Detector) -> Detector:
    """With an early exit whose interval is what the pictures' own views say."""
    rule = EarlyExit(usual=(0.0,) * VIEWS, steps=(2, 4), reach=(1.0,) * 2, floor=0.0)
    plan = ViewPlan(count=VIEWS, seed=7)
    manifest = detector.manifest.model_copy(update={"views": plan, "early_exit": rule})
    return Detector(manifest, detector.extractor, detector.flow, local=detector.local)


def with_threshold(detector: Detector, threshold: float) -> Detector:
    changed = {"threshold": threshold, "calibration_scores": (threshold,), "calibration_sha256": ("1" * 64,)}
    manifest = detector.manifest.model_copy(update=changed)
    return Detector(manifest, detector.extractor, detector.flow, local=detector.local)


def tampered(graph: bytes, factor: float = 1.05) -> bytes:
    """With its largest tensor multiplied."""
    model = onnx.load_from_string(graph)
    largest = max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    largest.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(largest) * np.float32(factor), largest.name))
    return bytes(model.SerializeToString())


@pytest.fixture(scope="module")
def flow_only() -> tuple[Detector, Detector]:
    """On torch and on ONNX Runtime."""
    detector = many_views(make_detector(load_extractor("bundled")))
    return detector, on_onnxruntime(detector)


@pytest.fixture(scope="module")
def both() -> tuple[Detector, Detector]:
    """The same with a local model."""
    detector = many_views(with_local_model(make_detector(load_extractor("bundled"))))
    return detector, on_onnxruntime(detector)


@pytest.mark.parametrize("name", ["flow_only", "both"])
def test_scores_are_those_of_torch_for_any_number_of_pictures(name: str, request: pytest.FixtureRequest) -> None:
    detector, other = request.getfixturevalue(name)
    for count in (0, 1, 3):
        pictures = parity_pictures()[:count]
        wanted, found = (each.score(pictures, early_exit=False) for each in (detector, other))
        np.testing.assert_allclose(found.score, wanted.score, rtol=1e-3)
        assert found.defect.tolist() == wanted.defect.tolist()
        if wanted.maps is not None:
            np.testing.assert_allclose(found.maps, wanted.maps, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", ["flow_only", "both"])
def test_early_exit_gives_the_same_verdicts(name: str, request: pytest.FixtureRequest) -> None:
    pair = request.getfixturevalue(name)
    every = np.sort(pair[0].score(ODD, early_exit=False).score)
    left_early = 0
    for threshold in (every[0] - 100.0, (every[3] + every[4]) / 2, every[-1] + 100.0):
        wanted, found = (with_threshold(each, float(threshold)).score(ODD) for each in pair)
        assert found.defect.tolist() == wanted.defect.tolist()
        assert found.views.tolist() == wanted.views.tolist()
        left_early += int((found.views < VIEWS).sum())
    assert left_early


def test_products_together_score_as_each_by_itself(
    flow_only: tuple[Detector, Detector], both: tuple[Detector, Detector]
) -> None:
    pictures = parity_pictures()
    found = score_together([(flow_only[1], pictures[:3]), (both[1], pictures[3:5])])
    for scores, detector, own in ((found[0], flow_only[1], pictures[:3]), (found[1], both[1], pictures[3:5])):
        np.testing.assert_allclose(scores.score, detector.score(own).score, rtol=1e-5)


@pytest.mark.parametrize("name", ["flow_only", "both"])
def test_heatmaps_are_those_of_torch(name: str, request: pytest.FixtureRequest) -> None:
    detector, other = request.getfixturevalue(name)
    pictures = parity_pictures()[4:6]
    np.testing.assert_allclose(other.heatmap(pictures), detector.heatmap(pictures), rtol=1e-3, atol=1e-5)


def test_the_extractor_is_shared_and_float32_whatever_torch_computes_in(
    flow_only: tuple[Detector, Detector],
) -> None:
    first = flow_only[1]
    second = on_onnxruntime(make_detector(first.extractor))
    assert second.extractor is first.extractor
    assert second.extractor.arithmetic == torch.float32
    with pytest.raises(DetectorError, match="float32"):
        second.extractor.computing_in(torch.bfloat16)


def test_a_model_in_bfloat16_is_measured_against_float32(extractor: Extractor) -> None:
    coarse = load_extractor("random", seed=5).computing_in(torch.bfloat16)
    other = on_onnxruntime(make_detector(coarse))
    wanted = make_detector(extractor).score(parity_pictures()).score
    np.testing.assert_allclose(other.score(parity_pictures()).score, wanted, rtol=1e-5)


@pytest.mark.parametrize("part", ["extractor_graph", "layers_graph", "flow_graph", "local_graph"])
def test_a_graph_that_was_tampered_with_is_refused(
    part: str, monkeypatch: pytest.MonkeyPatch, extractor: Extractor
) -> None:
    untouched: Callable[..., bytes] = getattr(backend_module, part)
    monkeypatch.setattr(backend_module, part, lambda module: tampered(untouched(module)))
    with pytest.raises(ParityError, match="parity gate"):
        on_onnxruntime(with_local_model(make_detector(extractor)))


def test_a_graph_that_is_none_is_refused_in_one_line() -> None:
    with pytest.raises(ParityError, match="ONNX Runtime refuses a graph") as refused:
        backend_module.Session(b"no graph")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("package", ["onnxruntime", "onnx", "onnxscript"])
def test_a_missing_package_is_one_clear_line(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(DetectorError) as refused:
        choose_backend("onnxruntime", "auto", "auto")
    assert str(refused.value) == f"{package} is not installed: pip install 'differline[onnx]'"
    assert choose_backend("torch", "cpu", "float32") == (torch.device("cpu"), torch.float32)


@pytest.mark.parametrize(("device", "arithmetic"), [("cuda", "auto"), ("auto", "bfloat16")])
def test_it_is_float32_on_the_cpu(device: str, arithmetic: str) -> None:
    assert choose_backend("onnxruntime", "auto", "auto") == (torch.device("cpu"), torch.float32)
    with pytest.raises(DetectorError, match="is auto or"):
        choose_backend("onnxruntime", device, arithmetic)


def test_sessions_have_as_many_threads_as_torch(extractor: Extractor) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        session = backend_module.Session(backend_module.flow_graph(make_detector(extractor).flow))
        assert session.threads == 1
    finally:
        torch.set_num_threads(before)
