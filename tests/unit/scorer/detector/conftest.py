from collections.abc import Mapping, Sequence

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from scorer.detector import (
    Detector,
    Extractor,
    ExtractorIdentity,
    Flow,
    FlowSpec,
    Fusion,
    LocalModel,
    LocalSpec,
    Manifest,
    ViewPlan,
    calibrate,
    calibrate_cameras,
    load_extractor,
)

SMALL = FlowSpec(blocks=2, hidden=16, hidden_layers=2, seed=3, standardize=True)


@pytest.fixture(scope="session")
def extractor() -> Extractor:
    return load_extractor("random", seed=5)


@pytest.fixture(scope="session")
def pictures() -> list[NDArray[np.uint8]]:
    rng = np.random.default_rng(1)
    return [rng.integers(0, 256, (60 + 20 * index, 90, 3), dtype=np.uint8) for index in range(3)]


@pytest.fixture
def detector(extractor: Extractor) -> Detector:
    return make_detector(extractor)


def make_detector(extractor: Extractor) -> Detector:
    flow = Flow(SMALL)
    flow.standardize_by(torch.randn(32, SMALL.features, generator=torch.Generator().manual_seed(0)))
    calibration = calibrate([700.0, 710.0, 720.0, 730.0], 0.25)
    manifest = Manifest(
        product="tile",
        preset="small",
        architecture=SMALL,
        extractor=ExtractorIdentity.of(extractor),
        views=ViewPlan(count=3, seed=7),
        heatmap_views=ViewPlan(count=2, seed=7),
        training_sha256=("0" * 64,),
        calibration_sha256=("1" * 64,) * 4,
        calibration_scores=calibration.scores,
        false_alarm_rate=calibration.rate,
        threshold=calibration.threshold,
        heat_scale=2.0,
        epochs=1,
        final_loss=0.5,
        seed=3,
    )
    return Detector(manifest, extractor, flow)


def with_local_model(detector: Detector) -> Detector:
    """The same with a local model of random weights beside its flow."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        local = LocalModel(LocalSpec(hidden=(8, 4)))
    fusion = Fusion.fit(np.array([[6.5, 0.0, -1.0], [6.6, 0.2, -0.8], [6.8, 0.1, -0.5]]))
    manifest = detector.manifest.model_copy(update={"local": local.spec, "fusion": fusion})
    return Detector(manifest, detector.extractor, detector.flow, local=local)


def with_cameras(detector: Detector, scores: Mapping[str | None, Sequence[float]], rate: float) -> Detector:
    """The same, calibrated on these scores of cameras; of None they are of no known one."""
    cameras = tuple(camera for camera, found in scores.items() for _ in found)
    every = [score for found in scores.values() for score in found]
    own = calibrate_cameras(every, cameras, rate)
    changes = {
        "calibration_sha256": ("1" * 64,) * len(every),
        "calibration_scores": tuple(every),
        "calibration_cameras": cameras,
        "false_alarm_rate": rate,
        "threshold": calibrate(every, rate).threshold,
        "camera_thresholds": {camera: calibration.threshold for camera, calibration in own.items()},
    }
    manifest = detector.manifest.model_copy(update=changes)
    return Detector(manifest, detector.extractor, detector.flow, local=detector.local)
