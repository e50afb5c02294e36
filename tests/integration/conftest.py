"""A small but real model, fitted once and registered by the tests that need it, and a line to try it on."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from infra.engines import Engines
from infra.settings import Settings
from infra.store.models import RegisteredModel
from scorer.detector import load_extractor
from trainer.fit import FittedModel, fit
from trainer.images import drawn_pictures
from trainer.presets import COMPACT
from trainer.register import register

from .line import Line, part_picture

SMALL = replace(COMPACT, blocks=2, hidden=16, epochs=2, bank_views=1, epoch_views=1, scoring_views=1, heatmap_views=1)


@pytest.fixture(scope="session")
def fitted() -> FittedModel:
    """A detector of `part_picture`s with one view; the pictures of seeds 0 to 29 were seen in training."""
    pictures = drawn_pictures([part_picture(seed) for seed in range(30)])
    return fit(pictures, "part", SMALL, load_extractor("random", 0), false_alarm_rate=0.2)


@pytest.fixture
def put_in_force(database: sa.Engine, settings: Settings, fitted: FittedModel) -> Callable[[], RegisteredModel]:
    """Register the small model for the product `part`; again for a next version."""

    def put() -> RegisteredModel:
        return register(database, Path(settings.models_folder), fitted, "test")

    return put


@pytest.fixture
def line(settings: Settings, engines: Engines, database: sa.Engine) -> Iterator[Line]:
    """A line of the test's own."""
    running = Line(settings, engines, database)
    yield running
    running.close()
