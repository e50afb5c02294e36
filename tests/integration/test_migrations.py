"""Databases of earlier revisions, filled, brought to the newest one; and programs of the release before, which go on."""

from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from importlib.resources import files

import pytest
import sqlalchemy as sa
import structlog
from alembic import command
from alembic.config import Config

from infra.store import verdicts as verdict_store
from infra.store.curation_queue import CurationCounts, curation_counts, frames_as_they_stand, open_stretch
from infra.store.drift import drift_rows
from infra.store.gaps import Gap, untold_gaps
from infra.store.ledger import Accounted, count
from infra.store.outbox import DeadLetter, OutboxKey, OutboxKind, PublishedVerdict
from infra.store.output_cursors import output_turn
from infra.store.positions import claim
from infra.store.results import write_batch
from infra.store.rolling import roll, waiting
from infra.store.rollups import rollup_sums
from infra.store.schema import migrate
from infra.store.tables import ensure_day_partitions
from scorer.drift import DriftAlarm

from .rows import FIRST, NOON, batch, heat_of, unjudged

LATE = NOON + timedelta(days=1)
UNPREPARED = NOON + timedelta(days=90)  # lies in the default partition
FRAMES = [(NOON, "a", "1"), (NOON, "b", "2"), (LATE, "a", "3"), (UNPREPARED, "b", "4")]
_VERDICT = """
INSERT INTO verdicts (received_at, frame_id, result_id, topic, partition, bus_offset, camera, product, sha256, captured_at,
                      state, reason)
VALUES (:at, :frame, 'result ' || :frame, 'frames', 0, 0, :camera, 'tile', repeat('0', 64), :at, 'NO_VERDICT', 'black')
"""
_HEATMAP = (
    "INSERT INTO heatmaps (received_at, frame_id, png) VALUES (:at, :frame, convert_to('png ' || :frame, 'UTF8'))"
)
_OUTBOX = "INSERT INTO outbox (kind, received_at, frame_id) VALUES ('verdict', :at, :frame)"
_DEAD_LETTER = """
INSERT INTO dead_letters (received_at, topic, partition, bus_offset, frame_id, camera, reason, detail, headers)
VALUES (:at, 'frames', 0, 9, 'dead', 'a', 'broken_image', '', '{}')
"""
_OUTBOX_OF_DEAD = "INSERT INTO outbox (kind, received_at, frame_id) VALUES ('dead_letter', :at, 'dead')"


def bring_to(database: sa.Engine, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(files("infra.store") / "migrations"))
    with database.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


def write_as_before(database: sa.Engine, *frames: tuple[datetime, str, str]) -> None:
    """What a scorer of revision 0003 writes."""
    with database.begin() as connection:
        for at, camera, frame in frames:
            for statement in (_VERDICT, _HEATMAP, _OUTBOX):
                connection.execute(sa.text(statement), {"at": at, "camera": camera, "frame": frame})


@pytest.fixture
def of_0003(bare_database: sa.Engine) -> Iterator[sa.Engine]:
    """A filled database of revision 0003."""
    bring_to(bare_database, "0003")
    with bare_database.begin() as connection:
        ensure_day_partitions(connection, NOON.date(), 2)
    write_as_before(bare_database, *FRAMES)
    with bare_database.begin() as connection:
        connection.execute(
            sa.text("INSERT INTO heatmaps (received_at, frame_id, png) VALUES (:at, 'x', '')"), {"at": NOON}
        )
        for statement in (_DEAD_LETTER, _OUTBOX_OF_DEAD):
            connection.execute(sa.text(statement), {"at": NOON})
    return bare_database


def keys_of(database: sa.Engine, table: str) -> set[str]:
    """The primary keys of a table and of all of its partitions, in PostgreSQL's words."""
    query = sa.text(
        "SELECT pg_get_constraintdef(c.oid) FROM pg_partition_tree(:table) t JOIN pg_constraint c ON c.conrelid = t.relid "
        "WHERE c.contype = 'p'"
    )
    with database.connect() as connection:
        found = list(connection.scalars(query, {"table": table}))
        tables = connection.scalar(sa.text("SELECT count(*) FROM pg_partition_tree(:table)"), {"table": table})
    assert len(found) == tables
    return set(found)


def messages(database: sa.Engine) -> list[tuple[str, str]]:
    """Camera and frame of what the relay would publish, in its order."""
    with output_turn(database, "test") as turn:
        assert turn is not None
        rows = [row for kind in OutboxKind for row in turn.take(kind, OutboxKey(0, 0), 100)]
    rows.sort(key=lambda row: row.key)
    found = []
    for row in rows:
        match row.content:
            case PublishedVerdict(verdict=verdict):
                found.append((verdict.camera, verdict.frame_id))
            case DeadLetter(camera=camera, frame_id=frame_id):
                found.append((camera, frame_id))
            case None:
                raise AssertionError("a message without its result")
    return found


def test_revision_0004_gives_each_heatmap_the_camera_of_its_frame(of_0003: sa.Engine) -> None:
    migrate(of_0003, NOON)
    for at, camera, frame in FRAMES:
        assert verdict_store.heatmap(of_0003, camera, frame, at) == f"png {frame}".encode()
        assert verdict_store.heatmap(of_0003, "another", frame, at) is None
    with of_0003.connect() as connection:
        without = connection.scalars(sa.text("SELECT frame_id FROM heatmaps WHERE camera = ''")).all()
    assert without == ["x"]  # whose verdict was not there


def test_revision_0004_changes_the_keys_of_all_partitions_those_to_come_too(of_0003: sa.Engine) -> None:
    migrate(of_0003, NOON)
    with of_0003.begin() as connection:
        ensure_day_partitions(connection, (NOON + timedelta(days=30)).date(), 1)
    for table in ("verdicts", "heatmaps"):
        assert keys_of(of_0003, table) == {"PRIMARY KEY (received_at, camera, frame_id)"}


def test_what_was_judged_before_revision_0004_is_recognised_after_it(of_0003: sa.Engine) -> None:
    migrate(of_0003, NOON)
    again, other = unjudged("1", 5, camera="a"), unjudged("1", 6, camera="b")
    written = write_batch(of_0003, [claim(of_0003, FIRST, "new")], batch(again, other), 7, fill_outbox=True)
    assert (written.frames, written.duplicates) == (1, 1)


def test_messages_that_waited_through_revision_0004_are_published(of_0003: sa.Engine) -> None:
    migrate(of_0003, NOON)
    assert messages(of_0003) == [*((camera, frame) for _, camera, frame in FRAMES), ("a", "dead")]


def test_a_scorer_of_revision_0003_goes_on_beside_one_of_0004(of_0003: sa.Engine) -> None:
    migrate(of_0003, NOON)
    with of_0003.begin() as connection:
        connection.execute(sa.text("DELETE FROM outbox"))
    write_as_before(of_0003, (LATE, "a", "8"))
    new = unjudged("8", 5, camera="b")
    write_batch(of_0003, [claim(of_0003, FIRST, "new")], batch(new, heatmaps=[heat_of(new)]), 7, fill_outbox=True)
    assert messages(of_0003) == [("a", "8"), ("b", "8")]
    assert verdict_store.heatmap(of_0003, "a", "8", LATE) == b"png 8"
    assert verdict_store.heatmap(of_0003, "b", "8", new.received_at) == b"png of 8"


def test_revision_0005_finds_the_gaps_that_were_there_before_it(of_0003: sa.Engine) -> None:
    with of_0003.begin() as connection:
        runs = (
            "INSERT INTO camera_runs (camera, run, last_sequence, accounted) VALUES ('a', 'r', 9, 8), ('b', 'r', 9, 10)"
        )
        connection.execute(sa.text(runs))
    migrate(of_0003, NOON)
    assert untold_gaps(of_0003) == [Gap("a", "r", 2)]


def test_verdicts_of_before_revision_0009_have_no_quality_and_are_looked_at_all_the_same(of_0003: sa.Engine) -> None:
    migrate(of_0003, NOON)
    DriftAlarm(of_0003, structlog.get_logger(), lambda _: None, lambda: NOON).look()
    assert drift_rows(of_0003) == []  # the ledger knows no camera yet
    write_as_before(of_0003, (LATE, "a", "8"))  # a scorer of before, beside a new one
    watching = DriftAlarm(of_0003, structlog.get_logger(), lambda _: None, lambda: NOON)
    with of_0003.begin() as connection:
        count(connection, [Accounted("a", "NO_VERDICT", "black", None, None)])
    watching.look()
    assert [(row.camera, row.product, row.kind, row.parts) for row in drift_rows(of_0003)] == [
        ("a", "tile", "quality", 0)
    ]


def test_verdicts_of_before_revision_0011_and_of_scorers_of_before_it_are_added_up(of_0003: sa.Engine) -> None:
    bring_to(of_0003, "0010")
    migrate(of_0003, NOON)
    assert frames_added_up(of_0003) == {"a": 2, "b": 2}
    write_as_before(of_0003, (LATE, "a", "8"), (LATE, "a", "9"))
    assert frames_added_up(of_0003) == {"a": 4, "b": 2}


def frames_added_up(database: sa.Engine) -> Counter[str]:
    for due in waiting(database, timedelta(0), 10):
        assert roll(database, due)
    found: Counter[str] = Counter()
    for total in rollup_sums(database, NOON - timedelta(days=1), NOON + timedelta(days=365)):
        found[total.camera] += total.frames
    return found


def test_what_was_kept_and_decided_before_revision_0012_is_found_on_the_curate_page(bare_database: sa.Engine) -> None:
    bring_to(bare_database, "0011")
    kept = _VERDICT.replace("reason)", "reason, archive_ref)").replace("'black')", "'black', 'x')")
    decided = (
        "INSERT INTO decisions (product, sha256, decision, who, reason) VALUES ('tile', :sha256, :decision, 'x', 'x')"
    )
    with bare_database.begin() as connection:
        ensure_day_partitions(connection, NOON.date(), 2)
        for at, camera, frame in FRAMES[:2]:
            connection.execute(
                sa.text(kept.replace("repeat('0', 64)", ":frame")), {"at": at, "camera": camera, "frame": frame}
            )
        for sha256, decision in (("1", "released"), ("1", "rejected"), ("imported", "released")):
            connection.execute(sa.text(decided), {"sha256": sha256, "decision": decision})
    migrate(bare_database, NOON)
    assert curation_counts(bare_database, "tile", 0.05) == CurationCounts(0, 1, 1, 1)
    assert open_stretch(bare_database, "tile", 0.05, quarantined=True).sha256 == ("2",)
    (stands,) = frames_as_they_stand(bare_database, "tile", ["1"])
    assert (stands.frame.run, stands.frame.camera, stands.decision) == ("a//2026-03-03", "a", "rejected")


def test_revision_0015_puts_the_verdict_on_record_beside_what_other_models_said(bare_database: sa.Engine) -> None:
    bring_to(bare_database, "0014")
    with bare_database.begin() as connection:
        ensure_day_partitions(connection, NOON.date(), 1)
        model = (
            "INSERT INTO models (product, version, state, folder, flow_sha256, manifest_sha256, preset, threshold, "
            "false_alarm_rate, attainable_rate, views, heat_scale, training_frames, calibration_frames, registered_by) "
            "VALUES ('tile', 1, 'candidate', '', '', '', '', 1, 0.1, 0.1, 1, 1, 1, 1, 'x')"
        )
        second = (
            "INSERT INTO second_verdicts (model_id, received_at, camera, frame_id, source, product, state, score, p_value, "
            "threshold, views, scored_at) VALUES (1, :at, 'a', :frame, 'shadow', 'tile', 'GOOD', 1, 0.5, 2, 8, :at)"
        )
        connection.execute(sa.text(model))
        connection.execute(sa.text(_VERDICT), {"at": NOON, "camera": "a", "frame": "1"})
        for frame in ("1", "of which no verdict is kept"):
            connection.execute(sa.text(second), {"at": NOON, "frame": frame})
    migrate(bare_database, NOON)
    with bare_database.connect() as connection:
        found = connection.execute(
            sa.text("SELECT frame_id, state_before FROM second_verdicts ORDER BY frame_id")
        ).all()
    assert [tuple(row) for row in found] == [("1", "NO_VERDICT"), ("of which no verdict is kept", None)]
