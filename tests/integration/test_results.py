"""A batch's results in a real PostgreSQL: all of them or none, and each frame once."""

import threading
from dataclasses import asdict, replace
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from infra.bus import Partition
from infra.errors import DatabaseAwayError, StaleEpochError
from infra.store.connect import open_database
from infra.store.models import register_in_force
from infra.store.positions import Claim, claim, stored_positions
from infra.store.results import Batch, HeatmapRow, VerdictRow, Written, write_batch
from infra.store.tables import ledger_counts, verdicts
from infra.store.verdicts import verdict

from .rows import FIRST, MODEL, NOON, SECOND, batch, dead, frame_ids, heat_of, judged, unjudged

DAYS = 7
TABLES = ("verdicts", "heatmaps", "dead_letters", "alerts", "ledger_counts", "camera_runs")


@pytest.fixture
def model_id(database: sa.Engine) -> int:
    return register_in_force(database, MODEL).id


@pytest.fixture
def claims(database: sa.Engine) -> list[Claim]:
    return [claim(database, FIRST, "scorer-1"), claim(database, SECOND, "scorer-1")]


def counts(database: sa.Engine) -> dict[tuple[str, str], int]:
    with database.connect() as connection:
        return {(row.state, row.reason): row.frames for row in connection.execute(sa.select(ledger_counts))}


def positions(database: sa.Engine) -> dict[Partition, int]:
    with database.connect() as connection:
        return stored_positions(connection, "frames")


def is_empty(database: sa.Engine) -> bool:
    with database.connect() as connection:
        return not any(connection.scalar(sa.text(f"SELECT count(*) FROM {table}")) for table in TABLES)


def test_a_batch_is_there_as_a_whole(database: sa.Engine, claims: list[Claim], model_id: int) -> None:
    good, defect = judged("good", 0, model_id), judged("defect", 1, model_id, "DEFECT", partition=1)
    rows = (good, defect, unjudged("unjudged", 2), dead("dead", 3))
    written = write_batch(database, claims, batch(*rows, heatmaps=[heat_of(defect)]), DAYS)
    assert written == Written(frames=4, duplicates=0)
    assert frame_ids(database, "verdicts") == ["good", "defect", "unjudged"]
    assert frame_ids(database, "heatmaps") == ["defect"]
    assert frame_ids(database, "dead_letters") == ["dead"]
    assert frame_ids(database, "alerts") == ["defect"]
    assert counts(database) == {
        ("GOOD", ""): 1,
        ("DEFECT", ""): 1,
        ("NO_VERDICT", "no_model"): 1,
        ("DEAD_LETTER", "broken_image"): 1,
    }
    assert positions(database) == {FIRST: 4, SECOND: 2}


AWKWARD = "\\N \\. \t\r\n ' \" ; -- {} , \x7f 検査 " + "x" * 3000


def test_every_column_comes_back_as_it_was_written(database: sa.Engine, claims: list[Claim], model_id: int) -> None:
    texts = ("result_id", "product", "part_id", "job_id", "run", "sha256", "simulated", "archive_ref")
    row = judged(AWKWARD[:2000], 0, model_id, **dict.fromkeys(texts, AWKWARD))
    row = replace(row, camera="", bus_offset=2**62, sequence=2**63 - 2, captured_at=NOON - timedelta(days=700_000))
    row = replace(row, p_value=1e-300, score=-1.7e308, decode_ms=0.5, score_ms=0.25, scored_at=NOON)
    write_batch(database, claims, batch(row), DAYS)
    with database.connect() as connection:
        (stored,) = connection.execute(sa.select(verdicts)).mappings()
    assert {name: stored[name] for name in asdict(row)} == asdict(row)


BROKEN: dict[str, dict[str, Any]] = {
    "a GOOD that is not a number": {"score": float("nan")},
    "a GOOD beyond all bounds": {"score": float("inf")},
    "a GOOD below all bounds": {"score": float("-inf")},
    "a GOOD without a score": {"score": None},
    "a GOOD without a model": {"model_id": None},
    "a GOOD of a model that is not registered": {"model_id": 4711},
    "a GOOD with a reason": {"reason": "why"},
    "a NO_VERDICT without a reason": {"state": "NO_VERDICT", "reason": None},
    "a state that does not exist": {"state": "FINE"},
    "a NUL": {"part_id": "a\0b"},
    "no camera": {"camera": None},
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_a_row_that_is_refused_takes_the_whole_batch_with_it(
    database: sa.Engine, claims: list[Claim], model_id: int, broken: dict[str, Any]
) -> None:
    good, defect = judged("good", 0, model_id), judged("defect", 1, model_id, "DEFECT")
    refused = replace(judged("refused", 2, model_id), **broken)
    whole = batch(good, defect, refused, dead("dead", 3), heatmaps=[heat_of(defect)])
    with pytest.raises(Exception) as caught:  # noqa: PT011 - whatever the driver calls it
        write_batch(database, claims, whole, DAYS)
    assert not isinstance(caught.value, DatabaseAwayError)  # trying again would not help
    assert is_empty(database)
    assert positions(database) == {}
    assert write_batch(database, claims, batch(good, defect), DAYS).frames == 2


@pytest.mark.parametrize("late", ["dead letter", "heatmap"])
def test_what_fails_last_takes_what_went_before_with_it(database: sa.Engine, claims: list[Claim], late: str) -> None:
    row = unjudged("frame", 0)
    if late == "heatmap":
        whole = batch(row, heatmaps=[heat_of(row), heat_of(row)])
    else:
        whole = batch(row, dead("dead", 1, headers="no JSON"))
    with pytest.raises(Exception, match=r"duplicate key|json"):
        write_batch(database, claims, whole, DAYS)
    assert is_empty(database)


def test_who_lost_a_partition_writes_nothing(database: sa.Engine, claims: list[Claim]) -> None:
    claim(database, SECOND, "scorer-2")
    both = batch(unjudged("first", 0), unjudged("second", 1, partition=1))
    with pytest.raises(StaleEpochError, match="frames/1 belongs to scorer-2 now"):
        write_batch(database, claims, both, DAYS)
    assert is_empty(database)
    assert positions(database) == {}


def test_a_partition_that_was_never_claimed_is_refused(database: sa.Engine) -> None:
    with pytest.raises(StaleEpochError, match="nobody"):
        write_batch(database, [Claim(FIRST, 1, None)], batch(unjudged("frame", 0)), DAYS)
    assert is_empty(database)


def test_a_batch_that_is_stored_already_is_left_as_it_is(
    database: sa.Engine, claims: list[Claim], model_id: int
) -> None:
    whole = batch(judged("defect", 0, model_id, "DEFECT"), dead("dead", 1), unjudged("other", 2, partition=1))
    assert write_batch(database, claims, whole, DAYS).frames == 3
    before = counts(database)
    assert write_batch(database, claims, whole, DAYS) == Written(frames=0, duplicates=0)
    assert counts(database) == before
    assert frame_ids(database, "alerts") == ["defect"]


def test_an_empty_batch_is_nothing(database: sa.Engine) -> None:
    assert write_batch(database, [], Batch([], [], [], {}), DAYS) == Written(frames=0, duplicates=0)


def test_a_frame_that_came_twice_in_a_batch_gets_the_verdict_of_the_first(
    database: sa.Engine, claims: list[Claim], model_id: int
) -> None:
    again, first = judged("frame", 5, model_id, "DEFECT"), judged("frame", 2, model_id)
    written = write_batch(database, claims, batch(again, first, heatmaps=[heat_of(again), heat_of(first)]), DAYS)
    assert written == Written(frames=1, duplicates=1)
    assert counts(database) == {("GOOD", ""): 1, ("DUPLICATE", ""): 1}
    assert frame_ids(database, "alerts") == []
    with database.connect() as connection:
        assert connection.scalars(sa.text("SELECT received_at FROM heatmaps")).all() == [first.received_at]
    assert positions(database) == {FIRST: 6}


@pytest.mark.parametrize("partition", [0, 1])
@pytest.mark.parametrize("first", [unjudged("frame", 0), dead("frame", 0)], ids=["verdict", "dead letter"])
@pytest.mark.parametrize("again", [unjudged("frame", 9), dead("frame", 9)], ids=["as verdict", "as dead letter"])
def test_a_frame_that_comes_again_later_is_counted_and_not_judged_again(
    database: sa.Engine, claims: list[Claim], first: VerdictRow, again: VerdictRow, partition: int
) -> None:
    write_batch(database, claims, batch(first), DAYS)
    written = write_batch(database, claims, batch(replace(again, partition=partition)), DAYS)
    assert written == Written(frames=0, duplicates=1)
    assert len(frame_ids(database, "verdicts") + frame_ids(database, "dead_letters")) == 1
    assert counts(database)["DUPLICATE", ""] == 1
    assert positions(database)[Partition("frames", partition)] == 10


@pytest.mark.parametrize("together", [True, False], ids=["in one batch", "one after the other"])
def test_two_cameras_may_number_their_frames_alike(
    database: sa.Engine, claims: list[Claim], model_id: int, together: bool
) -> None:
    left = [judged("1", 0, model_id, "DEFECT", camera="left"), judged("2", 1, model_id, camera="left")]
    right = [judged("1", 0, model_id, "DEFECT", camera="right", bus_offset=2), unjudged("2", 3, camera="right")]
    letters = [dead("3", 4, camera="left"), dead("3", 5, camera="right"), dead("3", 6, camera="")]
    heat = [heat_of(left[0]), heat_of(right[0])]
    assert left[0].received_at == right[0].received_at
    if together:
        whole = [batch(*right, *left, *letters, heatmaps=heat)]
    else:
        whole = [batch(*left, heatmaps=heat[:1]), batch(*right, heatmaps=heat[1:]), batch(*letters)]
    written = [write_batch(database, claims, each, DAYS, fill_outbox=True) for each in whole]
    assert sum(each.frames for each in written) == 7
    assert sum(each.duplicates for each in written) == 0
    with database.connect() as connection:
        for table in ("heatmaps", "alerts"):
            found = connection.execute(sa.text(f"SELECT camera, frame_id FROM {table} ORDER BY camera")).all()
            assert found == [("left", "1"), ("right", "1")]
        in_outbox = connection.execute(sa.text("SELECT camera, frame_id FROM outbox ORDER BY id")).all()
    of_left, of_right = [("left", "1"), ("left", "2")], [("right", "1"), ("right", "2")]
    assert in_outbox == [*of_left, *of_right, ("left", "3"), ("right", "3"), ("", "3")]
    for camera, state in (("left", "GOOD"), ("right", "NO_VERDICT")):
        first, second = verdict(database, camera, "1"), verdict(database, camera, "2")
        assert first is not None
        assert second is not None
        assert (first.state, second.state) == ("DEFECT", state)
    again = batch(replace(right[0], bus_offset=9), replace(letters[2], bus_offset=10))
    assert write_batch(database, claims, again, DAYS) == Written(frames=0, duplicates=2)


def test_a_verdict_and_a_dead_letter_in_one_batch_are_one_frame(database: sa.Engine, claims: list[Claim]) -> None:
    written = write_batch(database, claims, batch(dead("frame", 3), unjudged("frame", 2)), DAYS)
    assert written == Written(frames=1, duplicates=1)
    assert (frame_ids(database, "verdicts"), frame_ids(database, "dead_letters")) == (["frame"], [])


def test_an_id_is_recognised_as_far_back_as_the_settings_say(database: sa.Engine, claims: list[Claim]) -> None:
    write_batch(database, claims, batch(unjudged("frame", 0)), DAYS)
    within = replace(unjudged("frame", 1), received_at=NOON + timedelta(days=DAYS))
    assert write_batch(database, claims, batch(within), DAYS) == Written(frames=0, duplicates=1)
    beyond = replace(unjudged("frame", 2), received_at=NOON + timedelta(days=DAYS, seconds=1))
    assert write_batch(database, claims, batch(beyond), DAYS) == Written(frames=1, duplicates=0)


def test_every_defect_is_an_alert_and_nothing_else_is(database: sa.Engine, claims: list[Claim], model_id: int) -> None:
    rows = [judged(state.lower(), offset, model_id, state) for offset, state in enumerate(["GOOD", "DEFECT"])]
    write_batch(database, claims, batch(*rows, unjudged("none", 2), dead("dead", 3)), DAYS)
    with database.connect() as connection:
        (alert,) = connection.execute(sa.text("SELECT kind, camera, product, received_at, frame_id, state FROM alerts"))
    assert tuple(alert) == ("defect", "cam", "tile", rows[1].received_at, "defect", "open")


def test_only_the_partitions_of_the_batch_move_on(database: sa.Engine, claims: list[Claim]) -> None:
    write_batch(database, claims[:1], batch(unjudged("a", 6)), DAYS)
    write_batch(database, claims[1:], batch(dead("b", 2, partition=1)), DAYS)
    write_batch(database, claims[:1], batch(unjudged("c", 7)), DAYS)
    assert positions(database) == {FIRST: 8, SECOND: 3}


def test_workers_that_write_at_the_same_time_do_not_stand_in_each_others_way(
    database: sa.Engine, claims: list[Claim]
) -> None:
    cameras = ["a", "b", "c"]
    failures: list[Exception] = []

    def work(mine: Claim, order: list[str]) -> None:
        try:
            for step in range(10):
                rows = [
                    unjudged(f"{mine.partition.number}/{step}/{camera}", 3 * step + place, camera=camera, run="r")
                    for place, camera in enumerate(order)
                ]
                rows = [replace(row, partition=mine.partition.number, sequence=step) for row in rows]
                write_batch(database, [mine], batch(*rows), DAYS)
        except Exception as error:
            failures.append(error)

    threads = [
        threading.Thread(target=work, args=(mine, order))
        for mine, order in zip(claims, (cameras, cameras[::-1]), strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    assert counts(database) == {("NO_VERDICT", "no_model"): 20}
    assert len(frame_ids(database, "verdicts")) == 60


def test_an_absent_database_is_said_to_be_away() -> None:
    nowhere = open_database("postgresql://nobody@127.0.0.1:1/none")
    with pytest.raises(DatabaseAwayError) as caught:
        write_batch(nowhere, [], Batch([], [HeatmapRow(NOON, "cam", "f", b"")], [], {}), DAYS)
    assert "\n" not in str(caught.value)
    nowhere.dispose()
