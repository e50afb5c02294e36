from datetime import UTC, datetime

import pytest

from infra.errors import RefitError
from infra.store.promotions import ModelRow
from infra.store.tables import ModelState
from trainer.life.tables import model_text, waiting_text
from trainer.life.together import agreed, groups_of, of_the_same_flow


def of(product: str, version: int, flow: str, state: ModelState = ModelState.CANDIDATE) -> ModelRow:
    return ModelRow(
        id=0,
        product=product,
        version=version,
        state=state,
        folder="/models/1",
        flow_sha256=flow,
        manifest_sha256="e" * 64,
        preset="compact",
        threshold=1.5,
        false_alarm_rate=0.01,
        attainable_rate=0.01,
        views=8,
        training_frames=100,
        calibration_frames=50,
        shadow=False,
        registered_by="test",
        registered_at=datetime(2026, 3, 3, 12, tzinfo=UTC),
        challenge_parts=None,
        challenge_found=None,
        challenge_found_before=None,
        report=None,
    )


def test_products_whose_newest_models_have_one_flow_are_a_group_and_each_is_in_one() -> None:
    rows = [
        of("tile", 1, "old", ModelState.IN_FORCE),
        of("tile", 2, "new"),
        of("cap", 2, "new"),
        of("cap", 1, "old", ModelState.RETIRED),
        of("foil", 1, "old", ModelState.IN_FORCE),
    ]
    assert groups_of(rows, ["tile", "foil", "cap", "bolt"]) == [("cap", "tile"), ("foil",), ("bolt",)]
    assert groups_of(rows, ["tile"]) == [("cap", "tile")]
    assert groups_of([], ["tile", "tile"]) == [("tile",)]


def test_a_product_without_a_model_shares_no_flow_with_another_one_without() -> None:
    assert groups_of([of("cap", 1, "a")], ["bolt", "nut"]) == [("bolt",), ("nut",)]


def test_what_the_models_of_all_products_have_is_taken_and_what_they_do_not_share_is_asked_for() -> None:
    assert agreed("--views", {}) is None
    assert agreed("--views", {"cap": 8, "tile": 8}) == 8
    with pytest.raises(
        RefitError, match="--preset was paper for cap, compact for tile, and one flow has one: say which"
    ):
        agreed("--preset", {"cap": "paper", "tile": "compact"})


def test_who_shares_a_flow_is_shown_and_who_waits_to_be_promoted() -> None:
    promoted = of("cap", 2, "new", ModelState.IN_FORCE)
    rows = [
        promoted,
        of("tile", 3, "new"),
        of("foil", 1, "new", ModelState.RETIRED),
        of("cap", 3, "new"),
        of("nut", 1, "x"),
    ]
    others = of_the_same_flow(rows, promoted)
    assert [(row.product, row.version) for row in others] == [("tile", 3), ("foil", 1)]
    assert "tile version 3 (candidate), foil version 1 (retired)" in model_text(promoted, others)
    assert "no other product" in model_text(promoted)
    assert waiting_text(others) == "; tile version 3 of the same flow is a candidate still"
    assert waiting_text(rows[1:2] * 2).endswith("tile version 3 of the same flow are candidates still")
    assert waiting_text(others[1:]) == ""
    assert (
        waiting_text([of("\x1b[31mtile", 1, "new")])
        == "; \\x1b[31mtile version 1 of the same flow is a candidate still"
    )
