"""A clock that jumps back: the model in force stays, no frame is lost, doubled or called late, and nothing waits for ever.

PostgreSQL's clock cannot be set here: rows that it stamped before the jump are moved into the future instead.
"""

import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import redis
import sqlalchemy as sa
import structlog
from apscheduler.triggers.base import BaseTrigger
from structlog.testing import capture_logs

from infra.bus import Partition
from infra.bus.redis_streams import RedisStreamsConsumer
from infra.clock import ClockWatch, utc_now
from infra.errors import BusAwayError
from infra.refit_due import DueRule, look_due
from infra.store import alerts as alert_store
from infra.store.alerts import AlertFilter
from infra.store.curation import NewDecision, decide, newest_decisions
from infra.store.drift import SeenVerdict, camera_turn
from infra.store.models import RegisteredModel, models_in_force, register_in_force
from infra.store.positions import claim
from infra.store.promotions import list_models, promote, promotions_of, rollback
from infra.store.results import write_batch
from infra.store.runs import report_accepted, report_ended
from infra.store.schema import prepare_days
from infra.store.tables import (
    AlertState,
    CameraTrouble,
    FrameDecision,
    alerts,
    camera_runs,
    dead_letters,
    decisions,
    models,
    promotions,
    verdicts,
)
from scorer.camera_health import CameraHealth
from trainer.life.schedule import run_schedule

from .line import Line
from .rows import FIRST, MODEL, NOON, batch, dead, register_candidate, unjudged

PutInForce = Callable[[], RegisteredModel]
HOUR = timedelta(hours=1)
SOUND = replace(MODEL, attainable_rate=0.01)


def move_on(database: sa.Engine, column: sa.Column[Any], by: timedelta = HOUR) -> None:
    """Stamp what is there as a clock did that was ahead; now it is set back."""
    with database.begin() as connection:
        connection.execute(sa.update(column.table).values({column: column + by}))


def test_on_redis_frames_are_judged_once_and_none_is_late(line: Line, put_in_force: PutInForce) -> None:
    """The stream's ids stay where the clock was; the clocks of camera and scorer are an hour behind them."""
    put_in_force()
    partition = Partition(line.settings.frames_topic, 0)
    stream = f"differline:bus:{partition.topic}:{partition.number}"
    worker = line.worker(late_after_s=60.0, partitions=1, batch_frames=4)
    line.send(line.frame())
    worker.run(until_idle_s=0.3)
    ahead_ms = int((utc_now() + HOUR).timestamp() * 1000)
    with redis.Redis.from_url(line.engines.redis_url) as client:
        streams = client.keys("differline:bus:*:*")
        for name in streams:  # as if a frame had come before the jump
            client.xadd(name, {"body": b"", "ce_source": "cam", "ce_product": "part"}, id=f"{ahead_ms}-0")
    assert stream.encode() in streams
    line.send(*(line.frame() for _ in range(6)))
    worker.run(until_idle_s=0.3)
    worker.judge.clock = lambda: utc_now() - 2 * HOUR  # and the scorer's own clock jumps, too
    line.send(*(line.frame() for _ in range(5)))
    worker.run(until_idle_s=0.3)
    rows = line.rows(verdicts)
    assert sorted(row.sequence for row in rows) == list(range(12))
    assert {row.reason for row in rows} == {None}
    ledger = line.ledger()
    assert ledger.balanced
    assert sum(camera.dead_lettered.get("empty_body", 0) for camera in ledger.cameras) == len(streams)


def test_redis_ids_that_no_offset_holds_are_an_error_and_no_loss(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.xadd("differline:bus:frames:0", {"body": b"1"}, id=f"5000-{2**20 - 1}")
        client.xadd("differline:bus:frames:0", {"body": b"2"}, id=f"5000-{2**20}")
        consumer = RedisStreamsConsumer(redis_url, "frames", 1)
        consumer.seek_to_beginning(Partition("frames", 0))
        (first,) = consumer.poll(1, 0.1)
        assert first.value == b"1"
        with pytest.raises(BusAwayError, match="its clock jumped far back; frames stay on the bus"):
            consumer.poll(1, 0.1)
        assert client.xlen("differline:bus:frames:0") == 2
        consumer.close()


@pytest.fixture
def _days(database: sa.Engine) -> None:
    with database.begin() as connection:
        prepare_days(connection, NOON)


@pytest.mark.usefixtures("_days")
def test_on_kafka_what_a_broker_received_earlier_is_written_and_a_frame_sent_again_is_known(
    database: sa.Engine,
) -> None:
    mine = [claim(database, FIRST, "scorer")]
    write_batch(database, mine, batch(unjudged("a", 0), unjudged("b", 1)), 7)
    later = [unjudged(frame, offset, received_at=NOON - HOUR) for offset, frame in enumerate("bcd", start=2)]
    written = write_batch(database, mine, batch(*later), 7)
    assert (written.frames, written.duplicates) == (2, 1)
    assert claim(database, FIRST, "scorer").next_offset == 5


@pytest.mark.usefixtures("_days")
def test_drift_goes_on_where_it_was_when_the_clock_of_the_bus_is_there_again(database: sa.Engine) -> None:
    mine = [claim(database, FIRST, "scorer")]

    def seen() -> list[str]:
        with camera_turn(database, "cam") as turn:
            assert turn is not None
            turn.rows()
            found: list[SeenVerdict] = turn.verdicts(NOON - 24 * HOUR, 100)
            return [verdict.frame_id for verdict in found]

    write_batch(database, mine, batch(unjudged("a", 0), unjudged("b", 1, received_at=NOON - HOUR)), 7)
    assert seen() == ["b", "a"]
    with camera_turn(database, "cam") as turn:
        assert turn is not None
        turn.rows()
        assert turn.verdicts(NOON - 24 * HOUR, 100)[-1].cursor.at == NOON


def test_a_model_is_in_force_by_its_promotion_and_not_by_the_time_of_it(database: sa.Engine) -> None:
    register_in_force(database, SOUND)
    register_candidate(database, SOUND)
    move_on(database, models.c.registered_at)
    move_on(database, promotions.c.done_at)
    register_candidate(database, SOUND)
    promote(database, "tile", 3, who="m.weber", reason="")
    assert [row.version for row in list_models(database)] == [3, 2, 1]
    assert [row.version for row in promotions_of(database, "tile")] == [3, 1]
    assert rollback(database, "tile", who="m.weber", reason="").version == 1
    assert models_in_force(database)["tile"].version == 1


def test_the_newest_decision_is_the_last_one_that_was_made(database: sa.Engine) -> None:
    first = NewDecision("tile", "0" * 64, FrameDecision.RELEASED, "m.weber", "")
    decide(database, [first])
    move_on(database, decisions.c.decided_at)
    decide(database, [replace(first, decision=FrameDecision.REJECTED)])
    (newest,) = newest_decisions(database, "tile")
    assert newest.decision is FrameDecision.REJECTED


def test_a_model_of_the_future_is_not_old_and_is_said(database: sa.Engine) -> None:
    register_in_force(database, SOUND)
    decide(database, [NewDecision("tile", "0" * 64, FrameDecision.RELEASED, "m.weber", "")])
    move_on(database, models.c.registered_at)
    rule = DueRule(timedelta(days=30), 2)
    with capture_logs() as logs:
        assert look_due(database, "tile", rule, utc_now()).reasons == ()
    (told,) = logs
    assert (told["event"], told["version"], told["log_level"]) == ("model.of_the_future", 1, "warning")
    assert 3500 < told["seconds"] <= 3600
    decide(database, [NewDecision("tile", "1" * 64, FrameDecision.RELEASED, "m.weber", "")])
    assert look_due(database, "tile", rule, utc_now()).reasons == (
        "2 pictures were released that version 1 does not know",
    )
    with capture_logs() as logs:
        assert look_due(database, "tile", rule, utc_now() + 31 * 24 * HOUR).reasons[0] == "version 1 is 30 days old"
    assert logs == []


def silent(database: sa.Engine) -> list[str]:
    health = CameraHealth(database, structlog.get_logger(), 60.0, 5.0, lambda: 1000.0)
    health.look()
    return [alert.camera for alert in alert_store.list_alerts(database) if alert.detail == CameraTrouble.SILENT]


def test_a_camera_is_not_silent_for_the_clock_and_its_silence_is_told_again(database: sa.Engine) -> None:
    report_accepted(database, "cam", "run", 1)
    move_on(database, camera_runs.c.updated_at)
    assert silent(database) == []
    move_on(database, camera_runs.c.updated_at, -HOUR - timedelta(seconds=61))
    assert silent(database) == ["cam"]
    for one in alert_store.list_alerts(database, AlertFilter(AlertState.OPEN)):
        alert_store.acknowledge(database, one.id, "m.weber", "plugged in")
    assert silent(database) == ["cam"]  # told once
    move_on(database, alerts.c.opened_at)  # the clock was set back; then it speaks, and falls silent again
    report_accepted(database, "cam", "run", 2)
    move_on(database, camera_runs.c.updated_at, timedelta(seconds=-61))
    assert silent(database) == ["cam", "cam"]
    assert silent(database) == ["cam", "cam"]


def test_a_run_that_ended_in_the_future_does_not_hide_a_silent_camera(database: sa.Engine) -> None:
    report_accepted(database, "cam", "before", 1)
    report_ended(database, "cam", "before")
    move_on(database, camera_runs.c.updated_at)
    report_accepted(database, "cam", "behind", 1)  # by a clock that was set back
    assert silent(database) == []
    with database.begin() as connection:
        older = sa.update(camera_runs).where(camera_runs.c.run == "behind")
        connection.execute(older.values(updated_at=camera_runs.c.updated_at - timedelta(seconds=61)))
    assert silent(database) == ["cam"]


@pytest.mark.usefixtures("_days")
def test_dead_letters_of_the_future_do_not_stop_the_scorers(database: sa.Engine) -> None:
    mine = [claim(database, FIRST, "scorer")]
    write_batch(database, mine, batch(*(dead(f"frame {n}", n) for n in range(3))), 7, dead_letters_per_minute=3)
    move_on(database, dead_letters.c.committed_at)
    more = batch(*(dead(f"frame {n}", n) for n in range(3, 6)))
    assert write_batch(database, mine, more, 7, dead_letters_per_minute=3).frames == 3


class ByAWrongClock(BaseTrigger):  # type: ignore[misc]  # APScheduler has no types
    """Names a time that is years ahead, until it is asked again."""

    asked = 0

    def get_next_fire_time(self, _previous: datetime | None, now: datetime) -> datetime | None:
        self.asked += 1
        return now + (timedelta(days=3650) if self.asked == 1 else timedelta(seconds=0.2))


def test_a_schedule_that_began_by_a_wrong_clock_does_not_wait_for_years(tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    stop = threading.Event()
    threading.Timer(20, stop.set).start()
    times = iter([NOON, NOON, NOON - 365 * 24 * HOUR])
    last = [NOON]

    def clock() -> datetime:
        last[0] = next(times, last[0])
        return last[0]

    code = f"open({str(ran)!r}, 'a').write('x')"

    def end_when_it_ran() -> None:
        while not (ran.exists() or stop.wait(0.05)):
            pass
        stop.set()

    looks = threading.Thread(target=end_when_it_ran)
    looks.start()
    with capture_logs() as logs:
        run_schedule(
            ByAWrongClock(), [sys.executable, "-c", code], structlog.get_logger(), stop, ClockWatch(clock, lambda: 0.0)
        )
    looks.join(30)
    assert ran.exists()
    assert "schedule.clock_jumped_back" in [log["event"] for log in logs]


def test_a_schedule_whose_clock_is_right_keeps_its_times() -> None:
    stop = threading.Event()
    threading.Timer(2, stop.set).start()
    trigger = ByAWrongClock()
    run_schedule(trigger, [sys.executable, "-c", ""], structlog.get_logger(), stop)
    assert trigger.asked == 1
