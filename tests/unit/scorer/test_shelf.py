from typing import cast

import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs
from structlog.typing import FilteringBoundLogger

import scorer.models
from infra.store.models import RegisteredModel
from infra.store.tables import NoVerdictReason
from infra.telemetry import get_logger
from scorer.detector import ArtifactRefusedError, Detector
from scorer.models import REFRESH_S, REFUSED_S, LoadedModel, ModelShelf

MODEL_REFUSED = NoVerdictReason.MODEL_REFUSED


class Registry:
    """Models in force, artifacts that can be read or not, and a clock; says what was read."""

    def __init__(self) -> None:
        self.in_force: dict[str, RegisteredModel] = {}
        self.known: set[str] = set()
        self.looks = 0
        self.broken: set[int] = set()
        self.read: list[str] = []
        self.now = 1000.0
        self._ids = 0

    def put(self, product: str, version: int = 1, *, broken: bool = False, flow: str | None = None) -> RegisteredModel:
        self._ids += 1
        folder = f"{product}-{version}"
        row = RegisteredModel(self._ids, product, version, folder, flow or folder, "", 0.0)
        self.in_force[product] = row
        self.known.add(product)
        if broken:
            self.broken.add(row.id)
        return row

    def models_in_force(self, _: sa.Engine) -> dict[str, RegisteredModel]:
        self.looks += 1
        return dict(self.in_force)

    def load(self, row: RegisteredModel) -> Detector:
        self.read.append(row.folder)
        if row.id in self.broken:
            raise ArtifactRefusedError("broken")
        return cast("Detector", object())

    def take_read(self) -> list[str]:
        read, self.read = self.read, []
        return read


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Registry:
    registry = Registry()
    monkeypatch.setattr(scorer.models, "models_in_force", registry.models_in_force)
    monkeypatch.setattr(scorer.models, "known_products", lambda _: frozenset(registry.known))
    return registry


def shelf_of(registry: Registry, most: int) -> ModelShelf:
    log = cast("FilteringBoundLogger", get_logger("test"))
    shelf = ModelShelf(sa.create_engine("postgresql+psycopg://"), registry.load, log, most, lambda: registry.now)
    shelf.refresh()
    return shelf


def look_again(shelf: ModelShelf, registry: Registry) -> None:
    registry.now += REFRESH_S
    shelf.refresh()


def batch(shelf: ModelShelf, *products: str) -> list[str | NoVerdictReason]:
    """Hold the models of a batch, as a worker does, and name who judges."""
    shelf.refresh()
    shelf.hold(products)
    models = [shelf.judge_of(product) for product in products]
    return [model.row.folder if isinstance(model, LoadedModel) else model for model in models]


def test_at_the_start_models_are_loaded_up_to_the_bound_and_the_others_with_their_first_frame(
    registry: Registry,
) -> None:
    for product in "abc":
        registry.put(product)
    shelf = shelf_of(registry, most=2)
    assert registry.take_read() == ["a-1", "b-1"]
    assert batch(shelf, "a") == ["a-1"]
    assert registry.take_read() == []
    assert batch(shelf, "c") == ["c-1"]
    assert registry.take_read() == ["c-1"]


def test_the_model_that_was_not_used_for_the_longest_time_makes_room(registry: Registry) -> None:
    for product in "abc":
        registry.put(product)
    shelf = shelf_of(registry, most=2)
    batch(shelf, "b")
    batch(shelf, "a")
    registry.take_read()
    with capture_logs() as logs:
        batch(shelf, "c")
    assert [event["product"] for event in logs if event["event"] == "model.dropped"] == ["b"]
    assert batch(shelf, "a", "c") == ["a-1", "c-1"]
    assert registry.take_read() == ["c-1"]
    assert batch(shelf, "b") == ["b-1"]  # in place of a
    assert batch(shelf, "c") == ["c-1"]
    assert batch(shelf, "a") == ["a-1"]
    assert registry.take_read() == ["b-1", "a-1"]


def test_no_model_of_the_batch_under_way_is_dropped_and_the_bound_holds_behind_it(registry: Registry) -> None:
    for product in "abcd":
        registry.put(product)
    shelf = shelf_of(registry, most=2)
    registry.take_read()
    assert batch(shelf, "c", "a", "d") == ["c-1", "a-1", "d-1"]
    assert registry.take_read() == ["c-1", "d-1"]
    assert batch(shelf, "a", "d") == ["a-1", "d-1"]
    assert registry.take_read() == []
    assert batch(shelf, "c") == ["c-1"]  # it was dropped behind the batch of three
    assert registry.take_read() == ["c-1"]


def test_products_of_one_flow_count_as_one_model(registry: Registry) -> None:
    for product in "abc":
        registry.put(product, flow="shared")
    registry.put("d")
    registry.put("e")
    shelf = shelf_of(registry, most=2)
    assert registry.take_read() == ["a-1", "b-1", "c-1", "d-1"]
    assert [shelf.model_of(product) for product in ("a", "c", "d", "x")] == ["shared", "shared", "d-1", None]
    batch(shelf, "b")
    batch(shelf, "e")  # in place of d: a and c are of the flow that b has just used
    assert batch(shelf, "a", "b", "c") == ["a-1", "b-1", "c-1"]
    assert registry.take_read() == ["e-1"]
    batch(shelf, "e")
    batch(shelf, "d")  # in place of the whole flow
    assert registry.take_read() == ["d-1"]
    batch(shelf, "e")
    batch(shelf, "c")
    assert registry.take_read() == ["c-1"]


def test_no_product_is_dropped_that_has_the_flow_of_one_that_is_held(registry: Registry) -> None:
    registry.put("a", flow="shared")
    registry.put("b", flow="shared")
    registry.put("c")
    shelf = shelf_of(registry, most=1)
    shelf.hold(["b"])
    shelf.judge_of("c")
    registry.take_read()
    shelf.judge_of("a")
    assert registry.take_read() == []


def test_what_is_held_next_takes_the_place_of_what_was_held(registry: Registry) -> None:
    for product in "abc":
        registry.put(product)
    shelf = shelf_of(registry, most=1)
    for product in "abc":
        with capture_logs() as logs:
            shelf.hold([product])
        dropped = [event["product"] for event in logs if event["event"] == "model.dropped"]
        assert dropped == {"a": [], "b": ["a"], "c": ["b"]}[product]


def test_the_registry_is_asked_now_and_then(registry: Registry) -> None:
    shelf = shelf_of(registry, most=2)
    registry.put("a")
    registry.now += REFRESH_S - 0.1
    assert batch(shelf, "a") == [NoVerdictReason.UNKNOWN_PRODUCT]
    assert registry.looks == 1
    registry.now += 0.1
    assert batch(shelf, "a") == ["a-1"]
    assert registry.looks == 2


def test_a_new_version_is_taken_between_two_batches_and_not_within_one(registry: Registry) -> None:
    registry.put("a")
    shelf = shelf_of(registry, most=1)
    batch(shelf, "a")
    registry.put("a", 2)
    registry.now += REFRESH_S
    model = shelf.judge_of("a")
    assert isinstance(model, LoadedModel)
    assert model.row.version == 1
    assert batch(shelf, "a") == ["a-2"]


def test_a_new_version_of_a_model_that_is_not_in_memory_waits_for_its_first_frame(registry: Registry) -> None:
    registry.put("a")
    registry.put("b")
    shelf = shelf_of(registry, most=1)
    registry.put("b", 2)
    look_again(shelf, registry)
    assert registry.take_read() == ["a-1"]
    assert batch(shelf, "b") == ["b-2"]
    assert registry.take_read() == ["b-2"]


def test_why_there_is_no_model_is_told_apart(registry: Registry) -> None:
    registry.put("broken", broken=True)
    registry.known.add("retired")
    shelf = shelf_of(registry, most=1)
    assert batch(shelf, "broken", "retired", "unheard-of") == [
        NoVerdictReason.MODEL_REFUSED,
        NoVerdictReason.NO_MODEL,
        NoVerdictReason.UNKNOWN_PRODUCT,
    ]
    del registry.in_force["broken"]
    look_again(shelf, registry)
    assert batch(shelf, "broken") == [NoVerdictReason.NO_MODEL]


def test_a_model_that_is_no_longer_in_force_does_not_judge_from_memory(registry: Registry) -> None:
    registry.put("a")
    shelf = shelf_of(registry, most=1)
    del registry.in_force["a"]
    look_again(shelf, registry)
    assert batch(shelf, "a") == [NoVerdictReason.NO_MODEL]


def test_a_refused_successor_leaves_the_model_before_it_in_force(registry: Registry) -> None:
    registry.put("a")
    shelf = shelf_of(registry, most=1)
    registry.put("a", 2, broken=True)
    for _ in range(3):
        look_again(shelf, registry)
        assert batch(shelf, "a") == ["a-1"]
    assert registry.take_read() == ["a-1", "a-2"]  # the refused one once


@pytest.mark.parametrize("loaded_before", [True, False])
def test_a_refused_successor_leaves_it_in_force_also_where_it_has_made_room(
    registry: Registry, loaded_before: bool
) -> None:
    registry.put("other")
    registry.put("a")
    shelf = shelf_of(registry, most=1)
    if loaded_before:
        batch(shelf, "a")
    batch(shelf, "other")
    registry.put("a", 2, broken=True)
    look_again(shelf, registry)
    registry.take_read()
    assert batch(shelf, "a") == ["a-1"]
    assert registry.take_read() == ["a-2", "a-1"]
    batch(shelf, "other")
    assert batch(shelf, "a") == ["a-1"]
    assert registry.take_read() == ["other-1", "a-1"]
    registry.put("a", 3)
    look_again(shelf, registry)
    assert batch(shelf, "a") == ["a-3"]


def test_a_model_is_not_replaced_by_an_older_one_because_it_cannot_be_read_again(registry: Registry) -> None:
    registry.put("a")
    registry.put("other")
    shelf = shelf_of(registry, most=1)
    second = registry.put("a", 2)
    look_again(shelf, registry)
    assert batch(shelf, "a") == ["a-2"]
    batch(shelf, "other")
    registry.broken.add(second.id)  # the disk is away
    assert batch(shelf, "a") == [MODEL_REFUSED]
    registry.broken.clear()
    registry.now += REFUSED_S / 2
    assert batch(shelf, "a") == [MODEL_REFUSED]
    registry.now += REFUSED_S / 2
    assert batch(shelf, "a") == ["a-2"]


def test_without_any_model_a_refused_one_is_tried_again_after_a_while_and_not_with_every_batch(
    registry: Registry,
) -> None:
    registry.put("a", broken=True)
    shelf = shelf_of(registry, most=1)
    for _ in range(int(2 * REFUSED_S / REFRESH_S)):
        assert batch(shelf, "a") == [MODEL_REFUSED]
        look_again(shelf, registry)
    assert registry.take_read() == ["a-1"] * 2
