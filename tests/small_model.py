"""A small but real model, fitted once a run, and the pictures that it knows."""

from dataclasses import replace

import numpy as np
import pytest

from infra.pictures import RgbPicture
from scorer.detector import load_extractor
from trainer.fit import FittedModel, fit
from trainer.images import drawn_pictures
from trainer.presets import COMPACT

PRODUCT = "part"
SMALL = replace(
    COMPACT, blocks=2, hidden=16, epochs=2, bank_views=1, epoch_views=1, scoring_views=1, heatmap_views=1, local=None
)


def part_picture(seed: int) -> RgbPicture:
    """A grey part with grain; the seed moves it a little."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:60, 0:80]
    part = 120 + 60 * (np.hypot(rows - 30 - random.normal(), columns - 40 - random.normal()) < 20)
    return np.clip(part[..., None] + random.normal(0, 4, (60, 80, 1)), 0, 255).repeat(3, axis=2).astype(np.uint8)


@pytest.fixture(scope="session")
def fitted() -> FittedModel:
    """A detector of `part_picture`s with one view; the pictures of seeds 0 to 29 were seen in training."""
    pictures = drawn_pictures([part_picture(seed) for seed in range(30)])
    return fit(pictures, PRODUCT, SMALL, load_extractor("random", 0), false_alarm_rate=0.2)
