"""Rollups against a count of the verdicts themselves, on a real PostgreSQL."""

import threading
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta

import numpy as np
import pytest
import sqlalchemy as sa
import structlog

from infra.errors import DatabaseAwayError
from infra.store.connect import open_database
from infra.store.models import register_in_force
from infra.store.positions import claim
from infra.store.results import VerdictRow, write_batch
from infra.store.rolling import Waiting, roll, waiting
from infra.store.rollups import (
    BUCKET,
    MOST_BUCKETS,
    P_VALUE_BINS,
    RollupBucket,
    rollup_series,
    rollup_sums,
    series_width,
)
from infra.store.tables import ensure_day_partitions, rollup_marks
from scorer.rollups import LOOK_EVERY_S, Roller

from .rows import FIRST, MODEL, NOON, batch, judged, unjudged

_KILL_WHO_WAITS = sa.text(
    "SELECT count(pg_terminate_backend(pid)) FROM pg_locks WHERE NOT granted AND relation = 'verdict_rollups'::regclass "
    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)
NOW = timedelta(0)
HOUR = timedelta(hours=1)
CAMERAS = ("cam-0", "cam-1", "cam-2")


class Frames:
    """Writes random verdicts, and counts them in memory as a rollup should."""

    def __init__(self, database: sa.Engine, seed: int = 0) -> None:
        self.database = database
        self.rng = np.random.default_rng(seed)
        self.models = [register_in_force(database, MODEL).id for _ in range(2)]
        self.written: list[VerdictRow] = []
        with database.begin() as connection:
            ensure_day_partitions(connection, NOON.date(), 1)

    def row(self, **changes: object) -> VerdictRow:
        offset = len(self.written)
        at = NOON + timedelta(minutes=float(self.rng.uniform(-30, 30)))
        seen = {"camera": str(self.rng.choice(CAMERAS)), "product": str(self.rng.choice(["tile", "flange"]))}
        quality = {name: float(np.float32(self.rng.normal())) for name in ("focus", "brightness", "contrast")}
        if self.rng.random() < 0.1:
            quality |= {"score": float("nan"), "model_id": None if self.rng.random() < 0.5 else self.models[0]}
            row = unjudged(str(offset), offset, **seen | {"received_at": at} | quality | changes)
        else:
            score = float(self.rng.normal() + 1)
            state = "DEFECT" if score > 1.5 else "GOOD"
            model = int(self.rng.choice(self.models))
            p_value = int(self.rng.integers(1, 51)) / 50
            values = {"score": score, "p_value": p_value, "received_at": at} | quality
            row = judged(str(offset), offset, model, state, **seen | values | changes)
        self.written.append(row)
        return row

    def write(self, frames: int, **changes: object) -> None:
        rows = [self.row(**changes) for _ in range(frames)]
        write_batch(self.database, [claim(self.database, FIRST, "scorer")], batch(*rows), 7)


@pytest.fixture
def frames(database: sa.Engine) -> Frames:
    return Frames(database)


def roll_all(database: sa.Engine) -> int:
    done = 0
    while due := waiting(database, NOW, 100):
        done += sum(roll(database, one) for one in due)
    return done


Key = tuple[str, datetime, str, int]


def counted(rows: Sequence[VerdictRow]) -> dict[Key, dict[str, object]]:
    """What the rollups of these verdicts must be; told by other means than theirs."""
    groups: dict[Key, list[VerdictRow]] = defaultdict(list)
    for row in rows:
        minute = row.received_at.minute // 10 * 10
        at = row.received_at.replace(minute=minute, second=0, microsecond=0)
        groups[row.camera, at, row.product, row.model_id or 0].append(row)
    return {key: _counted(group) for key, group in groups.items()}


def _counted(rows: list[VerdictRow]) -> dict[str, object]:
    seen = [row for row in rows if row.state != "NO_VERDICT"]
    scores = [row.score for row in seen]
    steps = [0, 0.05, 0.25, 0.5, 0.75, 0.95, 1]
    places = [round((row.p_value or 0) * 50) for row in seen]
    names = ("lowest", "q05", "q25", "median", "q75", "q95", "highest")
    quantiles = np.quantile(np.array(scores, float), steps).tolist() if scores else [None] * 7
    return {
        "frames": len(rows),
        "defects": sum(row.state == "DEFECT" for row in rows),
        "no_verdicts": len(rows) - len(seen),
        "threshold": 1.5 if seen else None,
        "p_values": [places.count(place) for place in range(1, 51)],
        **{name: pytest.approx(value) for name, value in zip(names, quantiles, strict=True)},
        **{
            name: pytest.approx(np.median([getattr(row, name) for row in rows]), rel=1e-6, abs=1e-6)
            for name in ("focus", "brightness", "contrast")
        },
    }


def stored(database: sa.Engine) -> dict[Key, dict[str, object]]:
    with database.connect() as connection:
        rows = connection.execute(sa.text("SELECT * FROM verdict_rollups")).mappings().all()
    key = ("camera", "at", "product", "model_id")
    return {
        (row["camera"], row["at"], row["product"], row["model_id"]): {
            name: value for name, value in row.items() if name not in (*key, "rolled_at")
        }
        for row in rows
    }


def marks(database: sa.Engine) -> int:
    with database.connect() as connection:
        return connection.scalar(sa.select(sa.func.count()).select_from(rollup_marks)) or 0


def test_rollups_are_a_count_of_the_verdicts_after_each_of_many_random_batches(frames: Frames) -> None:
    for size in (1, 40, 3, 200, 7):
        frames.write(size)
        roll_all(frames.database)
        assert stored(frames.database) == counted(frames.written)
        assert marks(frames.database) == 0
    assert sum(sum(row["p_values"]) for row in stored(frames.database).values()) > 200  # type: ignore[misc, arg-type]


def test_a_verdict_that_comes_late_is_counted_and_one_that_comes_again_is_not(frames: Frames) -> None:
    frames.write(50, camera="cam-0", product="tile")
    roll_all(frames.database)
    late = NOON - timedelta(minutes=25)
    frames.write(1, camera="cam-0", product="tile", received_at=late)
    again = frames.written[3]
    rows = [VerdictRow(**{**{n: getattr(again, n) for n in VerdictRow.__dataclass_fields__}, "bus_offset": 999})]
    write_batch(frames.database, [claim(frames.database, FIRST, "scorer")], batch(*rows), 7)
    assert roll_all(frames.database) == 1
    assert stored(frames.database) == counted(frames.written)


def test_a_roller_that_is_killed_leaves_everything_to_the_next_one(frames: Frames) -> None:
    frames.write(50)
    due, before = waiting(frames.database, NOW, 1)[0], marks(frames.database)
    caught: list[Exception] = []

    def roll_until_killed() -> None:
        try:
            roll(frames.database, due)
        except DatabaseAwayError as error:
            caught.append(error)

    with frames.database.begin() as connection:
        connection.execute(sa.text("LOCK TABLE verdict_rollups"))  # it has taken its marks away, and can go no further
        roller = threading.Thread(target=roll_until_killed)
        roller.start()
        while not connection.scalar(_KILL_WHO_WAITS):
            assert roller.is_alive()
        roller.join(60)
    assert len(caught) == 1
    assert (stored(frames.database), marks(frames.database)) == ({}, before)
    roll_all(frames.database)
    assert stored(frames.database) == counted(frames.written)


def test_what_is_committed_while_a_roller_counts_stays_marked(frames: Frames) -> None:
    frames.write(20, camera="cam-0", received_at=NOON)
    due = Waiting("cam-0", NOON)
    with frames.database.connect() as slow, slow.begin():
        late = (
            'INSERT INTO verdicts SELECT (json_populate_record(v, \'{"frame_id": "late"}\')).* FROM verdicts v LIMIT 1'
        )
        slow.execute(sa.text(late))  # a batch that has not been committed yet
        assert roll(frames.database, due)
        assert marks(frames.database) == 0
    assert waiting(frames.database, NOW, 10) == [due]
    roll_all(frames.database)
    assert sum(int(str(row["frames"])) for row in stored(frames.database).values()) == 21


def test_rollers_and_writers_at_once_leave_nothing_out(frames: Frames) -> None:
    stop, errors = threading.Event(), []

    def go_on() -> None:
        try:
            while not stop.is_set():
                for due in waiting(frames.database, NOW, 20):
                    roll(frames.database, due)
        except Exception as error:
            errors.append(error)

    rollers = [threading.Thread(target=go_on) for _ in range(3)]
    for roller in rollers:
        roller.start()
    for _ in range(40):
        frames.write(15)
    stop.set()
    for roller in rollers:
        roller.join(60)
    assert errors == []
    roll_all(frames.database)
    assert stored(frames.database) == counted(frames.written)


def test_a_camera_that_another_roller_has_is_left_to_it(frames: Frames) -> None:
    frames.write(5, camera="cam-0", received_at=NOON)
    frames.write(5, camera="cam-1", received_at=NOON)
    lock = sa.text("SELECT pg_advisory_xact_lock(hashtext('rollups'), hashtext('cam-0'))")
    with frames.database.begin() as connection:
        connection.execute(lock)
        assert not roll(frames.database, Waiting("cam-0", NOON))
        assert roll(frames.database, Waiting("cam-1", NOON))
    assert roll(frames.database, Waiting("cam-0", NOON))
    assert not roll(frames.database, Waiting("cam-0", NOON))  # nothing is left


def test_ten_minutes_that_go_on_wait_and_the_longest_marked_come_first(frames: Frames) -> None:
    frames.write(1, camera="cam-1", received_at=NOON)
    frames.write(1, camera="cam-0", received_at=NOON)
    frames.write(1, camera="cam-0", received_at=NOON + BUCKET)
    frames.write(1, camera="cam-1", received_at=NOON)
    with frames.database.begin() as connection:
        connection.execute(
            sa.text("UPDATE rollup_marks SET marked_at = now() - interval '2 hours' WHERE camera = 'cam-0'")
        )
    assert waiting(frames.database, HOUR, 10) == [Waiting("cam-0", NOON + BUCKET), Waiting("cam-0", NOON)]
    assert waiting(frames.database, NOW, 10)[2:] == [Waiting("cam-1", NOON)]
    assert len(waiting(frames.database, NOW, 1)) == 1


def whole(rows: Sequence[VerdictRow]) -> tuple[int, int, int, list[int]]:
    every = [_counted([row]) for row in rows]
    histogram = np.sum([row["p_values"] for row in every], axis=0).tolist()
    return len(rows), *(sum(row[n] for row in every) for n in ("defects", "no_verdicts")), histogram  # type: ignore[return-value, misc]


def test_a_series_of_one_product_is_its_rollups(frames: Frames) -> None:
    frames.write(300, camera="cam-0")
    roll_all(frames.database)
    own = [row for row in frames.written if row.product == "tile" and row.model_id == frames.models[1]]
    found = rollup_series(frames.database, "cam-0", NOON - HOUR, NOON + HOUR, product="tile", model_id=frames.models[1])
    assert found.width == BUCKET
    expected = counted(own)
    assert [bucket.at for bucket in found.buckets] == sorted(at for _, at, _, _ in expected)
    for bucket in found.buckets:
        values = expected["cam-0", bucket.at, "tile", frames.models[1]]
        assert {name: getattr(bucket, name) for name in values} == values | {"p_values": tuple(values["p_values"])}  # type: ignore[arg-type]
        assert bucket.model_ids == (frames.models[1],)


def test_merged_buckets_add_counts_and_p_values_and_take_the_mean_of_quantiles(frames: Frames) -> None:
    frames.write(400, camera="cam-0")
    frames.write(50, camera="cam-1")
    roll_all(frames.database)
    found = rollup_series(frames.database, "cam-0", NOON - timedelta(days=365), NOON + timedelta(days=1))
    own = [row for row in frames.written if row.camera == "cam-0"]
    assert sum(bucket.frames for bucket in found.buckets) == 400
    assert len(found.buckets) <= 2  # an hour, in buckets of more than a day
    sums = np.sum([bucket.p_values for bucket in found.buckets], axis=0).tolist()
    frames_in, defects, no_verdicts = (
        sum(getattr(b, n) for b in found.buckets) for n in ("frames", "defects", "no_verdicts")
    )
    assert (frames_in, defects, no_verdicts, sums) == whole(own)
    scores = [row.score for row in own if row.state != "NO_VERDICT"]
    assert min(b.lowest or 0 for b in found.buckets) == min(s for s in scores if s is not None)
    assert max(b.highest or 0 for b in found.buckets) == max(s for s in scores if s is not None)
    (one,) = [bucket for bucket in found.buckets if bucket.frames > 1]
    parts = [v for v in counted(own).values() if v["median"].expected is not None]  # type: ignore[attr-defined]
    weights = [int(str(v["frames"])) - int(str(v["no_verdicts"])) for v in parts]
    assert one.median == pytest.approx(np.average([v["median"].expected for v in parts], weights=weights))  # type: ignore[attr-defined]
    assert one.model_ids == tuple(sorted(frames.models))


def test_ten_minutes_at_the_ends_of_a_series_are_in_it_as_a_whole(frames: Frames) -> None:
    for minutes in (-1, 0, 10, 20):  # the first moment of ten minutes is theirs
        frames.write(1, camera="cam-0", received_at=NOON + timedelta(minutes=minutes))
    roll_all(frames.database)
    since, until = NOON + timedelta(minutes=5), NOON + timedelta(minutes=12)
    found = rollup_series(frames.database, "cam-0", since, until)
    assert [bucket.at for bucket in found.buckets] == [NOON, NOON + BUCKET]
    assert sum(total.frames for total in rollup_sums(frames.database, since, until)) == 2


def test_a_time_without_frames_and_frames_without_a_score_are_no_zeros(frames: Frames) -> None:
    row = unjudged("blank", 0, camera="cam-0")
    write_batch(frames.database, [claim(frames.database, FIRST, "scorer")], batch(row), 7)
    roll_all(frames.database)
    assert rollup_series(frames.database, "cam-0", NOON - HOUR, NOON - BUCKET).buckets == ()
    nothing = (None,) * 8
    (found,) = rollup_series(frames.database, "cam-0", NOON, NOON + HOUR).buckets
    assert found == RollupBucket(NOON, 1, 0, 1, *nothing, (0,) * P_VALUE_BINS, None, None, None, ())
    (total,) = rollup_sums(frames.database, NOON, NOON + HOUR)
    assert (total.model_id, total.first_at, total.last_at) == (None, NOON, NOON)


def test_sums_are_by_camera_product_and_model(frames: Frames) -> None:
    frames.write(200)
    roll_all(frames.database)
    expected: dict[tuple[str, str, int | None], list[VerdictRow]] = defaultdict(list)
    for row in frames.written:
        expected[row.camera, row.product, row.model_id].append(row)
    found = rollup_sums(frames.database, NOON - HOUR, NOON + HOUR)
    assert {
        (t.camera, t.product, t.model_id): (t.frames, t.defects, t.no_verdicts, list(t.p_values)) for t in found
    } == {key: whole(rows) for key, rows in expected.items()}
    of_one = rollup_sums(frames.database, NOON - HOUR, NOON + HOUR, camera="cam-0", product="tile")
    assert {(t.camera, t.product) for t in of_one} == {("cam-0", "tile")}


def test_a_series_has_so_many_buckets_at_most() -> None:
    for span in (BUCKET, HOUR, timedelta(days=1), timedelta(days=40, minutes=1), timedelta(days=1000)):
        width = series_width(NOON, NOON + span)
        assert width % BUCKET == timedelta(0)
        assert width * MOST_BUCKETS >= span
        assert width == BUCKET or (width - BUCKET) * MOST_BUCKETS < span


def test_a_scorer_counts_in_turns_and_goes_on_after_ten_minutes_that_cannot_be_counted(frames: Frames) -> None:
    frames.write(30)
    log = structlog.testing.CapturingLogger()
    roller = Roller(frames.database, log)
    assert roller.turn() == 0  # marked a moment ago
    with frames.database.begin() as connection:
        connection.execute(sa.text("UPDATE rollup_marks SET marked_at = now() - interval '2 minutes'"))
        limit = "ALTER TABLE verdict_rollups ADD CONSTRAINT no_cam_0 CHECK (camera <> 'cam-0')"
        connection.execute(sa.text(limit))
    assert roller.turn() > 0
    roller.close()
    assert stored(frames.database) == {key: row for key, row in counted(frames.written).items() if key[0] != "cam-0"}
    assert {call.kwargs["camera"] for call in log.calls} == {"cam-0"}
    assert marks(frames.database) > 0  # they wait for somebody to mend it


def test_a_scorer_looks_now_and_then(frames: Frames) -> None:
    now, turns = [0.0], []
    roller = Roller(frames.database, structlog.get_logger(), lambda: now[0])
    roller.turn = lambda: turns.append(now[0]) or 0  # type: ignore[method-assign, assignment, func-returns-value]
    for second in range(0, 61, 5):
        now[0] = second
        roller.look()
        assert roller._under_way is not None
        roller._under_way.result(30)
    roller.close()
    assert turns == [0, LOOK_EVERY_S, 2 * LOOK_EVERY_S]


def test_a_scorer_leaves_an_absent_database_to_the_next_turn() -> None:
    nowhere, log = open_database("postgresql://nobody@127.0.0.1:1/none"), structlog.testing.CapturingLogger()
    roller = Roller(nowhere, log)
    assert roller.turn() == 0
    roller.close()
    assert [call.args for call in log.calls] == [("rollups.away",)]
