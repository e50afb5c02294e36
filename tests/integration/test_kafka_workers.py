"""Scorers in a Kafka consumer group: they share, take over and give way, and nothing is lost or judged twice."""

import threading
from collections.abc import Callable

import pytest
import sqlalchemy as sa

from infra.bus import Partition
from infra.errors import PositionLostError
from infra.kept_positions import kept_positions, move_position
from infra.store.models import RegisteredModel
from infra.store.position_reset import reset_position
from infra.store.positions import claim
from infra.store.runs import report_accepted
from infra.store.tables import verdicts
from scorer.worker import Worker

from .line import RUN, Line

PutInForce = Callable[[], RegisteredModel]
PATIENCE_S = 90


@pytest.fixture
def line(kafka_line: Line) -> Line:
    return kafka_line


def in_background(worker: Worker) -> threading.Thread:
    thread = threading.Thread(target=worker.run)
    thread.start()
    return thread


def until(line: Line, happens: Callable[[], bool]) -> None:
    waiting = threading.Event()
    for _ in range(PATIENCE_S * 5):
        if happens():
            return
        waiting.wait(0.2)
    raise AssertionError(f"it did not happen; {len(line.rows(verdicts))} verdicts")


def stop(*pairs: tuple[Worker, threading.Thread]) -> None:
    for worker, thread in pairs:
        worker.stop.set()
        thread.join(60)
        assert not thread.is_alive()


def test_scorers_that_join_and_leave_judge_every_frame_once(line: Line, put_in_force: PutInForce) -> None:
    put_in_force()
    frames = [line.frame(camera=f"cam {number % 8}") for number in range(60)]
    for frame in frames:
        object.__setattr__(frame, "run", f"run of {frame.camera}")
    first, second = line.worker(), line.worker()
    line.send(*frames[:30])
    one = in_background(first)
    until(line, lambda: len(line.rows(verdicts)) >= 4)
    two = in_background(second)
    line.send(*frames[30:])
    until(line, lambda: bool(second.consumer.assigned()) and len(first.consumer.assigned()) == 2)
    stop((first, one))
    first.consumer.close()
    until(line, lambda: len(line.rows(verdicts)) == 60)
    stop((second, two))
    assert sorted(row.frame_id for row in line.rows(verdicts)) == sorted(frame.frame_id for frame in frames)
    assert second.totals.frames > 0


def test_a_scorer_that_was_fenced_off_writes_nothing_gives_way_and_goes_on(
    line: Line, put_in_force: PutInForce, database: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_in_force()
    worker = line.worker()
    judge, stolen = worker.judge.judge, []

    def judge_while_another_claims(*arguments: object) -> object:
        batch = judge(*arguments)  # type: ignore[arg-type]
        if not stolen:
            stolen.append(len(line.rows(verdicts)))
            claim(database, next(iter(batch.next_offsets)), "another")
        return batch

    monkeypatch.setattr(worker.judge, "judge", judge_while_another_claims)
    line.send(*[line.frame() for _ in range(10)])
    running = in_background(worker)
    until(line, lambda: len(line.rows(verdicts)) == 10)
    stop((worker, running))
    assert stolen == [0]
    assert (worker.totals.frames, worker.totals.duplicates) == (10, 0)
    assert line.ledger().balanced


def test_after_a_topic_was_made_anew_scorers_stop_until_a_person_has_moved_the_position(
    line: Line, put_in_force: PutInForce, database: sa.Engine
) -> None:
    put_in_force()
    line.send(*[line.frame() for _ in range(3)])
    everywhere = [Partition(line.settings.frames_topic, number) for number in range(line.settings.partitions)]
    for partition in everywhere:
        reset_position(database, partition, "the topic before", lambda _: 5000)
    stopped = line.worker()
    with pytest.raises(PositionLostError, match="`differline positions`"):
        stopped.run(until_idle_s=2)
    stopped.consumer.close()
    states = {kept.state for kept in kept_positions(line.settings, line.engines)}
    assert states == {"BEHIND THE END"}
    for partition in everywhere:
        name = f"{partition.topic}/{partition.number}"
        moved = move_position(line.settings, line.engines, name, "oldest", skip_frames=False)
        assert (moved.before, moved.after, moved.skipped, moved.again) == (5000, 0, 0, 0)
    assert line.worker().run(until_idle_s=2).frames == 3
    assert {(kept.state, kept.waiting) for kept in kept_positions(line.settings, line.engines)} == {("", 0)}
    assert line.ledger().balanced


def test_the_ledger_of_a_kafka_line_counts_what_waits_without_joining_the_scorers(
    line: Line, put_in_force: PutInForce, database: sa.Engine
) -> None:
    put_in_force()
    worker = line.worker()
    report_accepted(database, "cam", RUN, 4)
    line.send(*[line.frame() for _ in range(3)])
    assert worker.run(until_idle_s=2).frames == 3
    generation = worker.consumer.generation()
    line.send(line.frame())
    (camera,) = line.ledger().cameras
    assert (camera.received, camera.good + camera.defect, camera.waiting, camera.missing) == (4, 3, 1, 0)
    for _ in range(5):
        worker.consumer.poll(1, 0.1)
    assert worker.consumer.generation() == generation
