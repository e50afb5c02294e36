"""The open frames in the order in which they teach most, and decisions on what somebody saw, on a real PostgreSQL."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from infra.store import curation_queue
from infra.store.audit import newest
from infra.store.curation import NewDecision, decide, decide_as_seen, newest_decisions, open_frames
from infra.store.curation_queue import (
    CurationCounts,
    curation_counts,
    frames_as_they_stand,
    open_stretch,
    products_to_curate,
    stretch_query,
)
from infra.store.models import register_in_force
from infra.store.positions import claim
from infra.store.results import write_batch
from infra.store.schema import prepare_days
from infra.store.tables import FrameDecision

from .rows import FIRST, MODEL, NOON, batch, judged, unjudged
from .test_verdict_queries import plan_nodes, rows_read

RELEASED, REJECTED, OPEN = FrameDecision.RELEASED, FrameDecision.REJECTED, FrameDecision.OPEN
Keep = Callable[..., str]
QUARANTINE = 0.05
_MANY = """
INSERT INTO verdicts (received_at, frame_id, result_id, topic, partition, bus_offset, camera, product, sha256, captured_at,
                      scored_at, state, model_id, score, p_value, threshold, views, archive_ref)
SELECT :now + n * interval '1 ms', 'many-' || n, 'many-' || n, 'frames', 1, n, 'cam', 'tile',
       encode(sha256(n::text::bytea), 'hex'), :now, :now, 'GOOD', :model, 1, 0.06 + n % 900 / 1000.0, 1.5, 8, 'x'
FROM generate_series(1, :frames) AS n
"""
_RELEASE_MANY = """
INSERT INTO decisions (product, sha256, decision, who, reason)
SELECT 'tile', sha256, 'released', 'm.weber', 'good' FROM verdicts WHERE p_value < 0.5
"""


@pytest.fixture
def keep(database: sa.Engine) -> Keep:
    """Judge a frame of the line whose picture is kept; returns the picture's hash."""
    with database.begin() as connection:
        prepare_days(connection, NOON)
    model = register_in_force(database, MODEL)
    mine = claim(database, FIRST, "scorer")
    counted = iter(range(10**6))

    def run(name: str, p_value: float | None = 0.5, state: str = "GOOD", **changes: Any) -> str:
        number = next(counted)
        kept = {"sha256": name.ljust(64, "0"), "archive_ref": "x"} | changes
        if state == "NO_VERDICT":
            row = unjudged(name, number, **kept)
        else:
            row = judged(name, number, model.id, state, **{"p_value": p_value, **kept})
        write_batch(database, [mine], batch(row), 7)
        return row.sha256

    return run


def queue(database: sa.Engine, *, quarantined: bool = False) -> str:
    stretch = open_stretch(database, "tile", QUARANTINE, quarantined=quarantined)
    return "".join(sha256[0] for sha256 in stretch.sha256)


def seen(*sha256: str, decision: FrameDecision = RELEASED, who: str = "m.weber") -> list[NewDecision]:
    return [NewDecision("tile", each, decision, who, "light as usual") for each in sha256]


def test_what_is_nearest_to_the_threshold_comes_first_and_quarantine_is_apart(database: sa.Engine, keep: Keep) -> None:
    for number, (name, p_value) in enumerate([("a", 0.7), ("b", 0.06), ("c", 0.05), ("d", 0.04), ("e", 0.9)]):
        keep(name, p_value, job_id=f"order {number}")
    keep("1", 0.001, "DEFECT")
    keep("2", 0.009, "DEFECT")
    keep("3", state="NO_VERDICT")
    keep("4", 0.3, archive_ref=None)
    keep("5", None)
    assert queue(database) == "cbae"
    assert sorted(queue(database, quarantined=True)) == ["1", "2", "3", "5", "d"]
    assert queue(database, quarantined=True).index("d") < queue(database, quarantined=True).index("2")
    assert queue(database, quarantined=True).index("2") < queue(database, quarantined=True).index("1")
    assert curation_counts(database, "tile", QUARANTINE) == CurationCounts(4, 5, 0, 0)
    assert open_stretch(database, "cap", QUARANTINE, quarantined=False).sha256 == ()


def test_one_of_each_camera_and_production_run_comes_before_a_second_one(database: sa.Engine, keep: Keep) -> None:
    for name in "abcd":
        keep(name, 0.1, camera="cam-1", job_id="monday")
    keep("e", 0.2, camera="cam-1", job_id="tuesday")
    keep("f", 0.3, camera="cam-2", job_id="monday")
    assert queue(database) == "aefbcd"


def test_stretches_follow_each_other_and_neither_lose_nor_repeat_a_frame(
    database: sa.Engine, keep: Keep, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, name in enumerate("abcdefghijk"):
        keep(name, 0.1 if number < 6 else 0.04, job_id=str(number % 2))
    monkeypatch.setattr(curation_queue, "STRETCH", 4)
    for quarantined, expected in ((False, "abcdef"), (True, "ghijk")):
        found, after = [], None
        while True:
            stretch = open_stretch(database, "tile", QUARANTINE, quarantined=quarantined, after=after)
            found += stretch.sha256
            after = stretch.last
            if after is None:
                break
        assert "".join(sorted(each[0] for each in found)) == expected


def test_a_picture_is_its_newest_frame_and_its_newest_decision_whichever_comes_first(
    database: sa.Engine, keep: Keep
) -> None:
    decide(database, seen("a".ljust(64, "0")))  # before the line has seen it
    assert frames_as_they_stand(database, "tile", ["a".ljust(64, "0")]) == []
    picture = keep("a", 0.5, received_at=NOON + timedelta(hours=1))
    older = keep("b", 0.01, "DEFECT", sha256=picture, received_at=NOON)
    assert older == picture
    (stands,) = frames_as_they_stand(database, "tile", [picture])
    assert (stands.frame.frame_id, stands.frame.state, stands.decision) == ("a", "GOOD", RELEASED)
    assert (queue(database), queue(database, quarantined=True)) == ("", "")
    decide(database, seen(picture, decision=OPEN))
    assert queue(database) == "a"
    assert [frame.frame_id for frame in open_frames(database, "tile")] == ["a"]
    assert curation_counts(database, "tile", QUARANTINE) == CurationCounts(1, 0, 0, 0)


def test_who_comes_second_decides_nothing_and_is_told_what_stands(database: sa.Engine, keep: Keep) -> None:
    first, second = keep("a"), keep("b")
    done = decide_as_seen(database, seen(first, decision=REJECTED, who="o.lang"), {first: None})
    assert list(done.recorded) == [first]
    late = decide_as_seen(database, seen(first, second), {first: None, second: None})
    assert list(late.recorded) == [second]
    assert [(each.sha256, each.who, each.decision) for each in late.overtaken] == [(first, "o.lang", REJECTED)]
    # The second one takes back its own decision, and not one that followed it.
    assert decide_as_seen(database, seen(second, decision=OPEN), late.recorded).overtaken == ()
    gone = decide_as_seen(database, seen(second, decision=OPEN), late.recorded)
    assert (gone.recorded, [each.decision for each in gone.overtaken]) == ({}, [OPEN])
    assert [(each.who, each.decision) for each in newest_decisions(database, "tile")] == [
        ("o.lang", REJECTED),
        ("m.weber", OPEN),
    ]
    assert [(row.who, row.action, row.detail) for row in newest(database, 9, "product tile")] == [
        ("m.weber", OPEN, {"sha256": [second]}),
        ("m.weber", RELEASED, {"sha256": [second]}),
        ("o.lang", REJECTED, {"sha256": [first]}),
    ]
    assert decide_as_seen(database, [], {}).recorded == {}


def test_products_are_those_with_pictures_by_name(database: sa.Engine, keep: Keep) -> None:
    assert products_to_curate(database) == []
    keep("a", product="tile")
    keep("b", product="cap")
    keep("c", product="cap")
    decide(database, [replace(seen("d".ljust(64, "0"))[0], product="ring")])
    assert products_to_curate(database) == ["cap", "ring", "tile"]


def test_a_page_reads_a_stretch_of_the_index_whatever_was_decided_before(database: sa.Engine, keep: Keep) -> None:
    keep("a")
    frames = 20_000
    with database.begin() as connection:
        model = connection.scalar(sa.text("SELECT id FROM models"))
        connection.execute(sa.text(_MANY), {"now": NOON, "model": model, "frames": frames})
        connection.execute(sa.text(_RELEASE_MANY))
    with database.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("VACUUM ANALYZE curation"))
    questions = {
        "open": stretch_query("tile", QUARANTINE, quarantined=False, after=None),
        "quarantined": stretch_query("tile", 0.99, quarantined=True, after=None),
    }
    for name, query in questions.items():
        scans = [node for node in plan_nodes(database, query) if node.get("Relation Name") == "curation"]
        assert scans, name
        assert {node["Node Type"] for node in scans} <= {"Index Scan"}, name
        assert sum(map(rows_read, scans)) <= curation_queue.STRETCH + 1, name
