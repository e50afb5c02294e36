from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from infra.pictures import RgbPicture
from scorer.detector import Extractor, load_extractor
from trainer.presets import COMPACT, Preset
from trainer.progress import Stage

TINY = replace(
    COMPACT,
    name="tiny",
    blocks=2,
    hidden=32,
    epochs=3,
    batch=16,
    bank_views=2,
    epoch_views=2,
    scoring_views=2,
    heatmap_views=1,
    local=None,
)


@pytest.fixture(scope="session")
def tiny() -> Preset:
    return TINY


@pytest.fixture(scope="session")
def extractor() -> Extractor:
    return load_extractor("random", seed=0)


class Told:
    """Keeps what a progress callback is told."""

    def __init__(self) -> None:
        self.calls: list[tuple[Stage, int, int]] = []
        self.details: list[str] = []

    def __call__(self, stage: Stage, done: int, total: int, detail: str = "") -> None:
        self.calls.append((stage, done, total))
        self.details.append(detail)


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture(scope="session")
def part() -> Callable[[int, bool], RgbPicture]:
    """Draws a grey part with grain; a defective one has a black bar."""

    def draw(seed: int, defective: bool = False) -> RgbPicture:
        rng = np.random.default_rng(seed)
        picture = rng.normal(140, 12, (64, 64, 1)).clip(0, 255).astype(np.uint8).repeat(3, axis=2)
        if defective:
            picture[20:44, 26:38] = 0
        return picture

    return draw
