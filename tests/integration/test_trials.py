"""Frames that kill the process: the guilty one becomes a dead letter, and no other one with it."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa

from infra.bus import Partition, Record
from infra.errors import DatabaseAwayError, DeadLetterLimitError
from infra.store.alerts import acknowledge
from infra.store.models import RegisteredModel
from infra.store.positions import Claim, advance, claim
from infra.store.tables import alerts, dead_letters, verdicts
from scorer.trials import Trials

from .line import Line
from .scorer_that_dies import POISON

LAUNCHER = Path(__file__).with_name("scorer_that_dies.py")
FIRST, SECOND = Partition("frames", 0), Partition("frames", 1)
NOON = datetime(2026, 3, 3, 12, tzinfo=UTC)


def records(partition: Partition, *offsets: int) -> list[Record]:
    return [Record(partition, offset, None, (), b"", NOON) for offset in offsets]


class Scorers:
    """Scorers that come one after the other; each is killed at work or finishes it."""

    def __init__(self, database: sa.Engine) -> None:
        self.database = database
        self.trials = Trials(database, "nobody")
        self.claims: list[Claim] = []

    def restart(self) -> "Scorers":
        self.trials = Trials(self.database, "worker")
        self.claims = [claim(self.database, partition, "worker") for partition in (FIRST, SECOND)]
        for mine in self.claims:
            self.trials.claimed(mine)
        return self

    def begin(self, work: list[Record]) -> None:
        self.trials.begin(self.claims, work)

    def finish(self, work: list[Record]) -> None:
        with self.database.begin() as connection:
            advance(connection, {record.partition: record.offset + 1 for record in work})

    def attempts_at(self, *work: Record) -> list[int]:
        return [self.trials.attempts_at(record) for record in work]


@pytest.fixture
def scorers(database: sa.Engine) -> Scorers:
    return Scorers(database).restart()


def test_what_was_finished_is_no_suspect(scorers: Scorers) -> None:
    work = records(FIRST, 3, 4, 7)
    scorers.begin(work)
    scorers.finish(work)
    assert scorers.restart().trials.groups(records(FIRST, 8, 9)) == [records(FIRST, 8, 9)]


def test_an_unfinished_batch_is_tried_one_at_a_time_and_what_follows_together(scorers: Scorers) -> None:
    scorers.begin(records(FIRST, 3, 7) + records(SECOND, 5))
    scorers.restart()
    more = records(FIRST, 3, 7, 8) + records(SECOND, 5, 6) + records(FIRST, 9)
    alone = [records(FIRST, 3), records(FIRST, 7), records(SECOND, 5)]
    assert scorers.trials.groups(more) == [*alone, records(FIRST, 8) + records(SECOND, 6) + records(FIRST, 9)]


def test_only_the_frame_that_is_alone_when_it_kills_is_worn_out(scorers: Scorers) -> None:
    before, guilty, behind = records(FIRST, 3, 4, 5)
    (other,) = records(SECOND, 8)
    scorers.begin([before, guilty, behind, other])
    assert scorers.restart().attempts_at(before, guilty, behind, other) == [1, 1, 1, 1]
    scorers.begin([before])
    scorers.finish([before])
    scorers.begin([guilty])
    assert scorers.restart().attempts_at(guilty, behind, other) == [2, 1, 1]
    assert not scorers.trials.worn_out(guilty)
    assert scorers.trials.groups([guilty, behind]) == [[guilty], [behind]]
    scorers.begin([guilty])
    assert scorers.restart().attempts_at(guilty, behind, other) == [3, 1, 1]
    assert scorers.trials.worn_out(guilty)
    scorers.finish([guilty])  # as a dead letter
    assert scorers.restart().attempts_at(behind, other) == [0, 1]


def test_a_frame_alone_on_the_bus_is_counted_the_same(scorers: Scorers) -> None:
    work = records(FIRST, 0)
    for attempts in range(3):
        assert scorers.attempts_at(*work) == [attempts]
        scorers.begin(work)
        scorers.restart()
    assert scorers.trials.worn_out(work[0])


def test_an_attempt_that_was_withdrawn_is_not_counted_but_its_batch_goes_one_at_a_time(scorers: Scorers) -> None:
    work = records(FIRST, 0, 1)
    for _ in range(4):
        scorers.begin(work)
        scorers.trials.withdraw(scorers.claims, work)
        assert scorers.restart().attempts_at(*work) == [0, 0]
        assert scorers.trials.groups(work) == [[work[0]], [work[1]]]


def test_a_worker_that_lost_its_partition_writes_no_attempt_down(scorers: Scorers, database: sa.Engine) -> None:
    work = records(FIRST, 0)
    stale = Scorers(database).restart()
    scorers.restart()
    stale.begin(work)
    assert scorers.restart().attempts_at(*work) == [0]


def test_an_absent_database_is_said(scorers: Scorers) -> None:
    scorers.trials.database = sa.create_engine("postgresql+psycopg://nobody@127.0.0.1:1/none")
    with pytest.raises(DatabaseAwayError):
        scorers.begin(records(FIRST, 0))


PutInForce = Callable[[], RegisteredModel]


def run_scorer(line: Line) -> int:
    """Run a scorer in a process of its own; return its exit code."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DIFFERLINE_")}
    settings = {
        "DIFFERLINE_DATA_DIR": str(line.settings.data_dir),
        "DIFFERLINE_DATABASE_URL": str(line.settings.database_url),
        "DIFFERLINE_REDIS_URL": str(line.settings.redis_url),
    }
    done = subprocess.run(
        [sys.executable, str(LAUNCHER)], env=environment | settings, capture_output=True, timeout=200, check=False
    )
    assert done.returncode in (0, -signal.SIGKILL), done.stderr.decode()[-3000:]
    return done.returncode


def test_a_frame_that_kills_the_process_three_times_becomes_a_dead_letter(line: Line, put_in_force: PutInForce) -> None:
    put_in_force()
    frames = [line.frame(camera=f"cam{number % 2}") for number in range(6)]
    frames = [replace(frame, run=frame.camera, sequence=number // 2) for number, frame in enumerate(frames)]
    guilty = replace(frames[3], body=frames[3].body + POISON, sha256=None)
    frames[3] = guilty
    line.send(*frames)
    assert [run_scorer(line) for _ in range(4)] == [-signal.SIGKILL] * 3 + [0]
    (letter,) = line.rows(dead_letters)
    assert (letter.frame_id, letter.reason) == (guilty.frame_id, "killed_the_process")
    assert line.worker().judge.archive.read(letter.body_ref) == guilty.body
    innocent = [frame.frame_id for frame in frames if frame is not guilty]
    assert sorted(row.frame_id for row in line.rows(verdicts)) == sorted(innocent)
    assert line.ledger().balanced


def test_dead_letters_stop_at_their_limit_and_the_rest_stays_on_the_bus(line: Line) -> None:
    frames = [
        line.frame(product="unheard-of") if number in (0, 5) else line.frame(b"no picture") for number in range(7)
    ]
    line.send(*frames)
    with pytest.raises(DeadLetterLimitError, match="dead_letters_per_minute allows 3"):
        line.worker(dead_letters_per_minute=3).run(until_idle_s=0.3)
    assert line.rows(dead_letters) == line.rows(verdicts) == []  # they were all in one batch
    for _ in range(4):
        with pytest.raises(DeadLetterLimitError):
            line.worker(dead_letters_per_minute=3).run(until_idle_s=0.3)
    assert [row.frame_id for row in line.rows(dead_letters)] == [frame.frame_id for frame in frames[1:4]]
    assert [row.frame_id for row in line.rows(verdicts)] == [frames[0].frame_id]
    (camera,) = line.ledger().cameras
    assert (camera.missing, camera.accounted) == (0, 4)
    (alert,) = line.rows(alerts)
    assert (alert.kind, alert.state, alert.camera) == ("dead_letters", "open", "cam")

    assert acknowledge(line.database, alert.id, "somebody", "cleaned the lens")
    with pytest.raises(DeadLetterLimitError):
        line.worker(dead_letters_per_minute=3).run(until_idle_s=0.3)
    assert len(line.rows(alerts)) == 2
    line.worker(dead_letters_per_minute=5).run(until_idle_s=0.3)
    assert {row.reason for row in line.rows(dead_letters)} == {"not_an_image"}  # none was held to kill the process
    assert len(line.rows(dead_letters)) == 5
    assert line.ledger().balanced


def test_dead_letters_of_more_than_a_minute_ago_do_not_count(line: Line, database: sa.Engine) -> None:
    for _ in range(3):
        line.send(*(line.frame(b"no picture") for _ in range(3)))
        line.worker(dead_letters_per_minute=3).run(until_idle_s=0.3)
        with database.begin() as connection:
            connection.execute(sa.text("UPDATE dead_letters SET committed_at = committed_at - interval '61 s'"))
    assert len(line.rows(dead_letters)) == 9
