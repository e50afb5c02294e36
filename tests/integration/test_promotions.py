"""The life of a registered model in a real PostgreSQL: candidate, in force, retired, and back."""

import threading
from dataclasses import replace

import pytest
import sqlalchemy as sa

from infra.errors import PromotionError
from infra.store.models import models_in_force, register_in_force
from infra.store.promotions import list_models, model_row, promote, promotions_of, rollback, rollback_target
from infra.store.tables import ModelState, PromotionKind

from .rows import MODEL, register_candidate

SOUND = replace(MODEL, attainable_rate=0.01, challenge_parts=10, challenge_found=9, challenge_found_before=9)


def in_force(database: sa.Engine) -> int:
    return models_in_force(database)["tile"].version


def test_a_candidate_leaves_the_model_in_force_until_it_is_promoted(database: sa.Engine) -> None:
    register_in_force(database, SOUND)
    candidate = register_candidate(database, SOUND)
    assert (candidate.version, in_force(database)) == (2, 1)
    promoted = promote(database, "tile", 2, who="m.weber", reason=" new lamp ")
    assert (promoted, in_force(database)) == (candidate, 2)
    assert [(row.version, row.state) for row in list_models(database)] == [
        (2, ModelState.IN_FORCE),
        (1, ModelState.RETIRED),
    ]
    newest, first = promotions_of(database, "tile")
    assert (newest.version, newest.replaced, newest.kind) == (2, 1, PromotionKind.PROMOTED)
    assert (newest.who, newest.reason) == ("m.weber", "new lamp")
    assert (first.version, first.replaced, first.kind, first.who) == (1, None, PromotionKind.TRAINED, "test")


def test_too_few_calibration_frames_and_fewer_found_challenge_parts_are_objections(database: sa.Engine) -> None:
    register_in_force(database, SOUND)
    worse = replace(SOUND, attainable_rate=0.02, calibration_frames=50, challenge_found=8)
    register_candidate(database, worse)
    assert model_row(database, "tile", 1).objections() == []
    rate, parts = model_row(database, "tile", 2).objections()
    assert "50 calibration frames" in rate
    assert "2.000%" in rate
    assert "8 of 10 challenge parts" in parts
    with pytest.raises(PromotionError, match=r"50 calibration frames.*8 of 10"):
        promote(database, "tile", 2, who="m.weber", reason="because")
    with pytest.raises(PromotionError, match="needs a reason"):
        promote(database, "tile", 2, who="m.weber", reason="  ", force=True)
    assert in_force(database) == 1
    promote(database, "tile", 2, who="m.weber", reason="the old one is blind", force=True)
    assert in_force(database) == 2
    assert promotions_of(database, "tile")[0].kind is PromotionKind.FORCED


def test_force_without_an_objection_is_an_ordinary_promotion(database: sa.Engine) -> None:
    register_candidate(database, SOUND)
    promote(database, "tile", 1, who="m.weber", reason="first", force=True)
    assert [row.kind for row in promotions_of(database, "tile")] == [PromotionKind.PROMOTED]


def test_what_is_not_there_or_in_force_already_is_not_promoted(database: sa.Engine) -> None:
    register_in_force(database, SOUND)
    with pytest.raises(PromotionError, match="no version 7 of tile"):
        promote(database, "tile", 7, who="m.weber", reason="")
    with pytest.raises(PromotionError, match="no version 1 of cap"):
        promote(database, "cap", 1, who="m.weber", reason="")
    with pytest.raises(PromotionError, match="in force already"):
        promote(database, "tile", 1, who="m.weber", reason="")
    with pytest.raises(PromotionError, match="no version 7 of tile"):
        model_row(database, "tile", 7)


def test_a_rollback_goes_back_one_by_one_and_says_when_there_is_no_more(database: sa.Engine) -> None:
    for _ in range(3):
        register_in_force(database, SOUND)
    assert rollback(database, "tile", who="m.weber", reason="false alarms").version == 2
    assert rollback(database, "tile", who="m.weber", reason="still").version == 1
    with pytest.raises(PromotionError, match="no earlier model"):
        rollback(database, "tile", who="m.weber", reason="")
    with pytest.raises(PromotionError, match="no earlier model"):
        rollback(database, "cap", who="m.weber", reason="")
    assert in_force(database) == 1
    kinds = [(row.version, row.replaced, row.kind) for row in promotions_of(database, "tile")][:2]
    assert kinds == [(1, 2, PromotionKind.ROLLED_BACK), (2, 3, PromotionKind.ROLLED_BACK)]


def test_a_rollback_puts_back_only_the_model_that_was_looked_at(database: sa.Engine) -> None:
    for _ in range(3):
        register_in_force(database, SOUND)
    looked_at = rollback_target(database, "tile")
    assert looked_at.version == 2
    promote(database, "tile", 1, who="a.beck", reason="at the same time")
    with pytest.raises(PromotionError, match="now put back version 3, not version 2; nothing was done"):
        rollback(database, "tile", who="m.weber", reason="false alarms", checked=looked_at)
    assert in_force(database) == 1
    assert rollback(database, "tile", who="m.weber", reason="", checked=rollback_target(database, "tile")).version == 3
    with pytest.raises(PromotionError, match="no earlier model"):
        rollback_target(database, "cap")


def test_a_model_that_was_rolled_back_can_be_promoted_and_rolled_back_again(database: sa.Engine) -> None:
    register_in_force(database, SOUND)
    register_in_force(database, SOUND)
    rollback(database, "tile", who="m.weber", reason="")
    promote(database, "tile", 2, who="m.weber", reason="it was the lamp")
    assert rollback(database, "tile", who="m.weber", reason="").version == 1


def test_of_two_promotions_at_once_one_follows_the_other_and_one_model_is_in_force(database: sa.Engine) -> None:
    register_in_force(database, SOUND)
    for _ in range(4):
        register_candidate(database, SOUND)
    together = threading.Barrier(4)

    def run(version: int) -> None:
        together.wait(30)
        promote(database, "tile", version, who=f"person {version}", reason="")

    threads = [threading.Thread(target=run, args=(version,)) for version in range(2, 6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    history = promotions_of(database, "tile")
    assert {row.version for row in history} == {1, 2, 3, 4, 5}
    assert [row.replaced for row in history[:-1]] == [row.version for row in history[1:]]  # one chain
    assert in_force(database) == history[0].version
    assert [row.state for row in list_models(database)].count(ModelState.IN_FORCE) == 1
