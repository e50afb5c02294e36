"""The fast path and the plain loop come to the same verdicts, on simulated parts and on odd pictures."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from infra.pictures import decode, encode_png
from ingest.sources.simulator import SimulatedCamera
from scorer.detector import Detector, choose_arithmetic, load_extractor
from trainer.bench.plain import PlainExtractor, plain_flow, plain_score
from trainer.fit import fit
from trainer.images import drawn_pictures
from trainer.presets import COMPACT

CPU = torch.device("cpu")
VIEWS = 8
TOLERATED = 0.005  # of the threshold: nearer to it a verdict may be either
QUICK = replace(COMPACT, name="quick", bank_views=4, epoch_views=4, epochs=6, heatmap_views=1, local=None)


def parts(count: int, seed: int, defect_rate: float = 0.0) -> list[bytes]:
    return [part.body for part in SimulatedCamera("flange", seed=seed, defect_rate=defect_rate, frames=count)]


@pytest.fixture(scope="module")
def detector() -> Detector:
    """Fitted on simulated parts in what is fast on this machine, with an early exit that sixteen of them calibrated."""
    extractor = load_extractor("bundled").computing_in(choose_arithmetic("auto", CPU))
    pictures = drawn_pictures([decode(body, 10**7) for body in parts(36, seed=1)])
    fitted = fit(pictures, "flange", QUICK, extractor, false_alarm_rate=1 / 17, views=VIEWS).detector
    assert fitted.manifest.early_exit is not None
    return fitted


@pytest.fixture(scope="module")
def bodies() -> list[bytes]:
    rng = np.random.default_rng(5)
    odd: list[NDArray[np.uint8]] = [
        rng.integers(0, 256, (1, 1, 3), dtype=np.uint8),
        rng.integers(0, 256, (4, 1500, 3), dtype=np.uint8),
        rng.integers(0, 256, (120, 160, 1), dtype=np.uint8).repeat(3, axis=2),
        np.full((60, 50, 3), 120, np.uint8),
    ]
    return [*parts(8, seed=2), *parts(6, seed=3, defect_rate=1.0), *(encode_png(picture) for picture in odd)]


def test_the_plain_loop_agrees_on_every_verdict(detector: Detector, bodies: list[bytes]) -> None:
    extractor, flow = PlainExtractor(detector.extractor, CPU), plain_flow(detector.flow, CPU)
    views, threshold = detector.manifest.views.draw(1), detector.manifest.threshold
    plain = np.array([plain_score(extractor, flow, body, views) for body in bodies])
    pictures = [decode(body, 10**7) for body in bodies]
    clear = np.abs(plain / threshold - 1) > TOLERATED
    assert clear.sum() >= len(bodies) - 1
    assert 0 < (plain > threshold).sum() < len(bodies)
    for early_exit in (False, True):
        found = detector.score(pictures, early_exit=early_exit)
        assert (found.defect == (plain > threshold))[clear].all()
        assert found.views.max() <= VIEWS
        if early_exit:
            assert found.views.mean() < VIEWS
        else:
            assert np.median(np.abs(found.score / plain - 1)) < TOLERATED
