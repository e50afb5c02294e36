from typing import cast

import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs
from structlog.typing import FilteringBoundLogger

import scorer.shadows
from infra.store.models import RegisteredModel
from infra.telemetry import get_logger
from scorer.detector import ArtifactRefusedError, Detector
from scorer.models import REFRESH_S
from scorer.shadows import Shadows


class Registry:
    """Candidates in shadow, and a clock; says what was read."""

    def __init__(self) -> None:
        self.rows: dict[str, RegisteredModel] = {}
        self.broken: set[int] = set()
        self.read: list[int] = []
        self.now = 1000.0

    def put(self, product: str, number: int) -> None:
        self.rows[product] = RegisteredModel(number, product, number, "", "", "", 0.0)

    def load(self, row: RegisteredModel) -> Detector:
        self.read.append(row.id)
        if row.id in self.broken:
            raise ArtifactRefusedError("broken")
        return cast("Detector", object())


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Registry:
    registry = Registry()
    monkeypatch.setattr(scorer.shadows, "models_in_shadow", lambda _: dict(registry.rows))
    return registry


@pytest.fixture
def shadows(registry: Registry) -> Shadows:
    log = cast("FilteringBoundLogger", get_logger("test"))
    return Shadows(sa.create_engine("postgresql+psycopg://"), registry.load, log, lambda: registry.now)


def numbers(shadows: Shadows, registry: Registry, *products: str) -> list[int | None]:
    registry.now += REFRESH_S
    shadows.refresh()
    return [found.row.id if (found := shadows.of(product)) else None for product in products]


def test_candidates_come_are_replaced_and_go(shadows: Shadows, registry: Registry) -> None:
    assert numbers(shadows, registry, "tile") == [None]
    registry.put("tile", 2)
    assert numbers(shadows, registry, "tile", "cap") == [2, None]
    registry.put("tile", 3)
    registry.put("cap", 4)
    assert numbers(shadows, registry, "tile", "cap") == [3, 4]
    del registry.rows["tile"]
    assert numbers(shadows, registry, "tile", "cap") == [None, 4]
    assert registry.read == [2, 3, 4]


def test_the_registry_is_asked_every_few_seconds_only(shadows: Shadows, registry: Registry) -> None:
    shadows.refresh()
    registry.put("tile", 2)
    shadows.refresh()
    assert shadows.of("tile") is None
    assert numbers(shadows, registry, "tile") == [2]


def test_a_candidate_that_is_refused_is_said_once(shadows: Shadows, registry: Registry) -> None:
    registry.put("tile", 2)
    registry.broken.add(2)
    with capture_logs() as logs:
        assert numbers(shadows, registry, "tile") == [None]
        assert numbers(shadows, registry, "tile") == [None]
    assert [entry["event"] for entry in logs] == ["shadow.refused"]
    assert registry.read == [2]
    registry.put("tile", 3)
    assert numbers(shadows, registry, "tile") == [3]
