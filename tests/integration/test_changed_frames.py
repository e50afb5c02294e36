"""Frames of which another model says something else: by index, a page at a time, newest first."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from infra.store import changed_frames
from infra.store.changed_frames import ChangedFrame, changed_page, changed_page_query, looked, seen_since_registered
from infra.store.connect import transaction
from infra.store.curation import NewDecision, decide
from infra.store.models import register_in_force
from infra.store.positions import claim
from infra.store.promotions import model_row
from infra.store.results import write_batch
from infra.store.second_verdicts import SecondVerdict, Seen, add_second
from infra.store.tables import FrameDecision, SecondSource, VerdictState

from .rows import FIRST, MODEL, NOON, batch, judged, register_candidate, unjudged

GOOD, DEFECT, NO_VERDICT = VerdictState.GOOD, VerdictState.DEFECT, VerdictState.NO_VERDICT
SAYS = (GOOD, DEFECT, DEFECT, GOOD, GOOD)
ON_RECORD = (GOOD, GOOD, DEFECT, DEFECT, NO_VERDICT)


@pytest.fixture
def candidate(database: sa.Engine) -> int:
    """A candidate that looked on at five frames: the second it rejects, the fourth and fifth it accepts."""
    first = register_in_force(database, MODEL)
    second = register_candidate(database, MODEL)
    rows = [
        unjudged(f"frame {place}", place, sha256=f"{place:064}")
        if state is NO_VERDICT
        else judged(f"frame {place}", place, first.id, state, sha256=f"{place:064}", part_id=f"part {place}")
        for place, state in enumerate(ON_RECORD)
    ]
    seconds = [says(second.id, place, state) for place, state in enumerate(SAYS)]
    write_batch(database, [claim(database, FIRST, "scorer")], replace(batch(*rows), seconds=seconds), 7)
    return second.id


def says(model_id: int, place: int, state: VerdictState) -> SecondVerdict:
    at = NOON + timedelta(milliseconds=place)
    return SecondVerdict(
        model_id, at, "cam", f"frame {place}", SecondSource.SHADOW, "tile", state, 3.5, 0.25, 2.5, 8, NOON
    )


def names(found: Sequence[ChangedFrame]) -> list[str]:
    return [each.frame_id for each in found]


def test_changed_frames_come_newest_first_with_both_verdicts(database: sa.Engine, candidate: int) -> None:
    found = changed_page(database, candidate, None, None, 10)
    assert names(found) == ["frame 4", "frame 3", "frame 1"]
    assert [(each.before, each.after) for each in found] == [(NO_VERDICT, GOOD), (DEFECT, GOOD), (GOOD, DEFECT)]
    rejected = found[2]
    assert (rejected.score_before, rejected.p_value_before, rejected.threshold_before) == (1.0, 0.5, 1.5)
    assert (rejected.score_after, rejected.p_value_after, rejected.threshold_after) == (3.5, 0.25, 2.5)
    assert (rejected.version_before, rejected.part_id, rejected.source) == (1, "part 1", SecondSource.SHADOW)
    assert rejected.decision is FrameDecision.OPEN


def test_pages_and_filters(database: sa.Engine, candidate: int) -> None:
    assert names(changed_page(database, candidate, DEFECT, None, 10)) == ["frame 1"]
    assert names(changed_page(database, candidate, GOOD, None, 10)) == ["frame 4", "frame 3"]
    assert changed_page(database, candidate + 1, None, None, 10) == []
    first = changed_page(database, candidate, None, None, 2)
    second = changed_page(database, candidate, None, first[-1].key, 2)
    assert names(first) + names(second) == ["frame 4", "frame 3", "frame 1"]


def test_frames_of_one_moment_are_neither_skipped_nor_doubled(database: sa.Engine, candidate: int) -> None:
    (first_model,) = [model_row(database, "tile", 1)]
    moment = NOON + timedelta(seconds=1)
    rows = [
        judged("same", 100 + place, first_model.id, GOOD, received_at=moment, camera=f"cam {place}", sha256="a" * 64)
        for place in range(5)
    ]
    seconds = [
        replace(says(candidate, 0, DEFECT), received_at=moment, camera=f"cam {place}", frame_id="same")
        for place in range(5)
    ]
    write_batch(database, [claim(database, FIRST, "scorer")], replace(batch(*rows), seconds=seconds), 7)
    found, after = [], None
    while page := changed_page(database, candidate, None, after, 2):
        found += [each.camera for each in page]
        after = page[-1].key
    assert found == ["cam 0", "cam 1", "cam 2", "cam 3", "cam 4", "cam", "cam", "cam"]


def test_the_newest_frames_are_counted(database: sa.Engine, candidate: int, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = looked(database, candidate)
    assert (seen.frames, seen.defects, seen.rejects, seen.accepts) == (5, 2, 1, 2)
    monkeypatch.setattr(changed_frames, "COUNTED_FRAMES", 2)
    seen = looked(database, candidate)
    assert (seen.frames, seen.defects, seen.rejects, seen.accepts) == (2, 0, 0, 2)


def test_only_pictures_released_after_the_model_was_registered_can_be_its_false_alarms(
    database: sa.Engine, candidate: int
) -> None:
    row = model_row(database, "tile", 2)

    def release(place: int, decision: FrameDecision = FrameDecision.RELEASED) -> None:
        decide(database, [NewDecision("tile", f"{place:064}", decision, "m.weber", "looked at")])

    release(1)
    release(2)
    release(0)
    release(3, FrameDecision.REJECTED)
    assert seen_since_registered(database, candidate, row.registered_at) == Seen(5, 2, 3, 3, 2)
    with database.begin() as connection:  # as if it had been released before, and so was learned from
        moved = "UPDATE decisions SET decided_at = decided_at - interval '1 day' WHERE sha256 = :picture"
        connection.execute(sa.text(moved), {"picture": f"{1:064}"})
    release(1)
    assert seen_since_registered(database, candidate, row.registered_at) == Seen(5, 2, 3, 2, 1)


def test_the_verdict_on_record_is_put_beside_by_the_database(database: sa.Engine, candidate: int) -> None:
    """Whoever writes it, and whatever they claim."""
    with transaction(database) as connection:
        assert add_second(connection, [replace(says(candidate, 0, GOOD), frame_id="never judged")]) == 1
        connection.execute(sa.text("INSERT INTO second_verdicts (model_id, received_at, camera, frame_id, source, product, "
                                   "state, score, p_value, threshold, views, scored_at, state_before) SELECT model_id - 1, "
                                   "received_at, camera, frame_id, source, product, state, score, p_value, threshold, views, "
                                   "scored_at, 'DEFECT' FROM second_verdicts WHERE frame_id = 'frame 0'"))  # fmt: skip
        rows = connection.execute(sa.text("SELECT frame_id, state_before FROM second_verdicts")).all()
    assert sorted(rows, key=str) == sorted(
        [
            *((f"frame {place}", state) for place, state in enumerate(ON_RECORD)),
            ("frame 0", GOOD),
            ("never judged", None),
        ],
        key=str,
    )


def test_a_page_is_read_from_the_index_of_the_changed(database: sa.Engine, candidate: int) -> None:
    many = """
        INSERT INTO second_verdicts
        SELECT :model, CAST(:noon AS timestamptz) - n * interval '1 second', 'cam', 'f' || n, 'shadow', 'tile', 'GOOD', 1, 0.5,
               2, 8, now()
        FROM generate_series(1, 20000) AS n
    """
    with database.begin() as connection:
        connection.execute(sa.text(many), {"model": candidate, "noon": NOON})
        connection.execute(sa.text("ANALYZE second_verdicts"))
    first = changed_page(database, candidate, None, None, 1)[0]
    for after in (None, first.key):
        plan = plan_of(database, changed_page_query(candidate, GOOD, after, 9))
        assert "second_verdicts_changed" in plan, plan
        assert "Seq Scan on second_verdicts" not in plan


def plan_of(database: sa.Engine, query: sa.Select[Any]) -> str:
    compiled = query.compile(dialect=database.dialect)
    with database.connect() as connection:
        return "\n".join(row[0] for row in connection.exec_driver_sql(f"EXPLAIN {compiled}", compiled.params))
