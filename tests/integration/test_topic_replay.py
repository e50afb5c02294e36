"""Replay from the topic: frames that the bus still has scored again, kept in the archive or not, beside the scorers."""

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
import redis
import sqlalchemy as sa
from typer.testing import CliRunner

import trainer.life.topic_replay
from infra.archive import open_archive
from infra.bus import Observer, Partition
from infra.bus.connect import open_observer
from infra.clock import utc_now
from infra.errors import ArchiveAwayError
from infra.frames import FrameMessage
from infra.pictures import encode_png
from infra.store.models import RegisteredModel
from infra.store.promotions import ModelRow, model_row
from infra.store.second_verdicts import changed_verdicts
from infra.store.tables import SecondSource, VerdictState, positions, second_verdicts, verdicts
from scorer.worker import Worker
from trainer.fit import FittedModel
from trainer.life.commands import replay_app
from trainer.life.refit import Workshop
from trainer.life.topic_replay import ReplayedFromTopic, replay_from_topic
from trainer.register import save

from ..small_model import PRODUCT, part_picture
from .curated import new_workshop
from .line import Line
from .rows import register_candidate

PutInForce = Callable[[], RegisteredModel]
RUN = CliRunner()


@pytest.fixture
def workshop(line: Line) -> Workshop:
    return replace(new_workshop(line.database, line.settings), clock=utc_now)


@pytest.fixture
def candidate(line: Line, workshop: Workshop, fitted: FittedModel, put_in_force: PutInForce) -> ModelRow:
    """A second version of the small model, beside the one in force."""
    put_in_force()
    register_candidate(line.database, save(workshop.models_folder, fitted, "test"))
    return model_row(line.database, PRODUCT, 2)


def part(line: Line, number: int, *, scratched: bool = False, **changes: object) -> FrameMessage:
    picture = part_picture(100 + number)
    if scratched:
        picture[20:40, 30:50] = 255 - picture[20:40, 30:50]
    return replace(line.frame(encode_png(picture)), part_id=f"part {number}", **changes)  # type: ignore[arg-type]


def judged(line: Line, monkeypatch: pytest.MonkeyPatch, *frames: FrameMessage) -> Worker:
    """Send frames and have them judged, on a bus that drops none of them: as Kafka, within its retention."""
    worker = line.worker(batch_frames=4)
    monkeypatch.setattr(worker.consumer, "done_until", lambda _: None)
    for frame in frames:
        line.send(frame)
        time.sleep(0.002)  # the bus tells times by the millisecond: each frame has one of its own
    worker.run(until_idle_s=0.3)
    return worker


def again(line: Line, workshop: Workshop, model: ModelRow, **window: object) -> ReplayedFromTopic:
    bus = open_observer(line.settings, line.engines)
    now = utc_now()
    span = {"since": now - timedelta(hours=1), "until": now + timedelta(hours=1)} | window
    try:
        return replay_from_topic(workshop, bus, model, **span)  # type: ignore[arg-type]
    finally:
        bus.close()


def change(line: Line, frame_id: str, **values: object) -> None:
    with line.database.begin() as connection:
        connection.execute(sa.update(verdicts).where(verdicts.c.frame_id == frame_id).values(**values))


def test_frames_that_the_archive_never_kept_are_scored_again_and_what_differs_is_listed(
    line: Line, workshop: Workshop, candidate: ModelRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = [part(line, number, scratched=number >= 10) for number in range(12)]
    judged(line, monkeypatch, *frames)
    for frame in frames:  # on record as GOOD, and not in the archive
        change(line, frame.frame_id, state="GOOD", archive_ref=None)
    before = [sorted(line.rows(table), key=str) for table in (verdicts, positions)]
    held = redis.Redis.from_url(line.engines.redis_url)
    streams = {key: held.xlen(key) for key in held.keys("differline:bus:*:*")}
    done = again(line, workshop, candidate)
    assert done == ReplayedFromTopic(frames=12, judgeable=12, found=12, scored=12)
    assert str(done) == "12 frames scored now, 0 before, of 12 on the topic that can be judged, of 12 in the window"
    assert [sorted(line.rows(table), key=str) for table in (verdicts, positions)] == before
    assert {key: held.xlen(key) for key in held.keys("differline:bus:*:*")} == streams
    differing = changed_verdicts(line.database, candidate.id)
    assert [(row.part_id, row.before, row.after) for row in differing if row.part_id in {"part 10", "part 11"}] == [
        ("part 10", VerdictState.GOOD, VerdictState.DEFECT),
        ("part 11", VerdictState.GOOD, VerdictState.DEFECT),
    ]
    assert {row.source for row in differing} == {SecondSource.REPLAY}


def test_what_cannot_be_scored_is_counted_and_named_and_never_fatal(
    line: Line, workshop: Workshop, candidate: ModelRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, other = part(line, 0), part(line, 1)
    black = line.frame(encode_png(part_picture(0) * 0))
    garbage, nameless = line.frame(b"no picture"), line.frame(b"", product="")
    strange = part(line, 2, product="cap")
    judged(line, monkeypatch, good, other, black, garbage, nameless, strange)
    change(line, other.frame_id, sha256="0" * 64)
    line.send(good)  # again, as a producer does whose answer was lost
    done = again(line, workshop, candidate)
    assert (done.frames, done.judgeable, done.found, done.scored, done.gone) == (3, 2, 2, 1, 0)
    assert (done.lost, done.unreadable, done.no_verdict) == (1, 1, 2)
    wrong = next(line for line in done.named if "hash_mismatch" in line)
    assert wrong.startswith(f"cam/{other.frame_id}: hash_mismatch: the body has {other.sha256}, judged was 000")
    assert any(line.startswith("frames/") and "missing_product" in line for line in done.named)
    assert "2 messages of the window have no verdict of their own" in str(done)
    assert "not scored: cam/" in str(done)


def test_of_many_bad_messages_a_hundred_are_named(line: Line, workshop: Workshop, candidate: ModelRow) -> None:
    line.send(*(line.frame(b"", product="") for _ in range(103)))
    done = again(line, workshop, candidate)
    assert (done.unreadable, len(done.named)) == (103, 100)
    assert str(done).endswith("\nand 3 more")


def test_names_from_outside_reach_no_terminal_as_commands() -> None:
    done = ReplayedFromTopic(0, 0)
    done.name("cam/\x1b]0;gone\x07", "a\nb")
    assert done.named == ["cam/\\x1b]0;gone\\x07: a\\nb"]


def test_only_frames_of_the_window_are_scored(
    line: Line, workshop: Workshop, candidate: ModelRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged(line, monkeypatch, *(part(line, number) for number in range(6)))
    times = sorted(row.received_at for row in line.rows(verdicts))
    done = again(line, workshop, candidate, since=times[1], until=times[4])
    expected = [time for time in times if times[1] <= time < times[4]]
    assert (done.frames, done.scored) == (len(expected), len(expected))
    assert sorted(row.received_at for row in line.rows(second_verdicts)) == expected


def test_frames_that_the_bus_has_dropped_are_said_to_be_gone(
    line: Line, workshop: Workshop, candidate: ModelRow
) -> None:
    line.send(*(part(line, number) for number in range(5)))
    line.worker().run(until_idle_s=0.3)  # on Redis Streams what is scored is dropped
    done = again(line, workshop, candidate)
    assert (done.frames, done.found, done.gone, done.scored) == (5, 0, 5, 0)
    assert "5 verdicts of the window are of frames that are no longer on the topic" in str(done)
    assert line.rows(second_verdicts) == []


def test_an_interrupted_replay_goes_on_where_it_was(
    line: Line, workshop: Workshop, candidate: ModelRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer.life.topic_replay, "FRAMES_AT_ONCE", 2)
    archive = open_archive(line.settings.archive_location)
    archive.prepare()
    bodies = [part(line, number) for number in range(6)]
    claims = [replace(frame, body=b"", dataref=archive.write(frame.body)) for frame in bodies]
    judged(line, monkeypatch, *claims)
    reads = iter(range(100))
    real = workshop.archive.read

    def fail_at_the_fourth(ref: str) -> bytes:
        if next(reads) == 3:
            raise ArchiveAwayError("the archive is away")
        return real(ref)

    monkeypatch.setattr(workshop.archive, "read", fail_at_the_fourth)
    with pytest.raises(ArchiveAwayError):
        again(line, workshop, candidate)
    assert len(line.rows(second_verdicts)) == 2
    Path(line.settings.archive_location, claims[5].dataref or "").write_bytes(b"altered")
    done = again(line, workshop, candidate)
    assert (done.before, done.scored, done.lost) == (2, 3, 1)
    assert "hash_mismatch" in done.named[0]


def test_a_verdict_whose_frame_came_while_the_clock_had_jumped_back_is_found(
    line: Line, workshop: Workshop, candidate: ModelRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its time is of the window, but it lies behind frames that were received after the window."""
    frames = [part(line, number) for number in range(4)]
    judged(line, monkeypatch, *frames)
    times = {row.frame_id: row.received_at for row in line.rows(verdicts)}
    real = trainer.life.topic_replay.records_of
    back = times[frames[0].frame_id] + timedelta(microseconds=1)
    change(line, frames[3].frame_id, received_at=back)

    def as_kafka_has_it(bus: Observer, spans: dict[Partition, object], at_once: int) -> object:
        for records in real(bus, spans, at_once):  # type: ignore[arg-type]
            yield [
                replace(record, received_at=back)
                if frames[3].frame_id.encode() in dict(record.headers).values()
                else record
                for record in records
            ]

    monkeypatch.setattr(trainer.life.topic_replay, "records_of", as_kafka_has_it)
    done = again(line, workshop, candidate, since=times[frames[0].frame_id], until=back + timedelta(microseconds=1))
    assert (done.frames, done.found, done.gone) == (2, 2, 0)


def test_the_command_reads_the_topic(
    line: Line, candidate: ModelRow, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    frames = [part(line, number) for number in range(3)]
    judged(line, monkeypatch, *frames)
    change(line, frames[1].frame_id, state="DEFECT", archive_ref=None)
    for name in ("data_dir", "database_url", "redis_url"):
        monkeypatch.setenv(f"DIFFERLINE_{name.upper()}", str(getattr(line.settings, name)))
    monkeypatch.setenv("DIFFERLINE_EXTRACTOR", "random")
    window = ["--from", (utc_now() - timedelta(hours=1)).isoformat(), "--to", utc_now().isoformat()]
    file = tmp_path / "changed.csv"
    asked = ["--product", PRODUCT, *window, "--model", str(candidate.version), "--source", "topic"]
    ran = RUN.invoke(replay_app, [*asked, "--changed", str(file)])
    assert ran.exit_code == 0, ran.output
    assert "3 frames scored now, 0 before, of 3 on the topic that can be judged, of 3 in the window" in ran.stdout
    assert "part 1" in ran.stdout
    assert "part 1," in file.read_text()


@pytest.mark.kafka
def test_on_kafka_a_replay_reads_beside_a_scorer_that_scores(
    kafka_line: Line, fitted: FittedModel, put_in_force: PutInForce
) -> None:
    line = kafka_line
    workshop = replace(new_workshop(line.database, line.settings), clock=utc_now)
    put_in_force()
    register_candidate(line.database, save(workshop.models_folder, fitted, "test"))
    candidate = model_row(line.database, PRODUCT, 2)
    line.send(*(part(line, number, camera=f"cam {number % 3}", run=f"run {number % 3}") for number in range(12)))
    worker = line.worker()
    worker.run(until_idle_s=2)
    assert len(line.rows(verdicts)) == 12
    thread = threading.Thread(target=worker.run)
    thread.start()
    line.send(*(part(line, number, camera="cam 9", run="run 9") for number in range(12, 18)))
    first = again(line, workshop, candidate, until=max(row.received_at for row in line.rows(verdicts)))
    deadline = time.monotonic() + 90
    while len(line.rows(verdicts)) < 18:
        thread.join(0.2)
        assert thread.is_alive()
        assert time.monotonic() < deadline
    generation = worker.consumer.generation()
    done = again(line, workshop, candidate)
    assert (done.frames, done.found, done.gone, done.before, done.scored) == (
        18,
        18,
        0,
        first.scored,
        18 - first.scored,
    )
    assert worker.consumer.generation() == generation  # nobody took a partition from it
    worker.stop.set()
    thread.join(60)
    assert len(line.rows(second_verdicts)) == len({row.frame_id for row in line.rows(second_verdicts)}) == 18
    assert len(line.rows(verdicts)) == 18
