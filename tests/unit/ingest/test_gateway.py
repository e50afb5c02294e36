import hashlib
import itertools
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from infra.errors import BusAwayError, BusFullError, SpoolFullError
from infra.frames import FrameMessage, Header, from_headers
from ingest.gateway import Camera, Gateway, WhenFull
from ingest.sources import CapturedPicture
from ingest.spool import Spool

from ...fake_time import FakeTime

NOON = datetime(2025, 5, 5, 12, tzinfo=UTC)
CAMERA = Camera("cam-1", "plate", "frames", max_frame_bytes=100, send_timeout_s=300.0)


class FakeProducer:
    """A bus that fails as told, then keeps what it is sent."""

    def __init__(self, failures: list[Exception | None] | None = None) -> None:
        self.failures = failures or []
        self.attempts: list[FrameMessage] = []
        self.accepted: list[FrameMessage] = []
        self.keys: set[tuple[str, bytes]] = set()
        self.timeouts: set[float] = set()

    def send(self, topic: str, key: bytes, headers: tuple[Header, ...], value: bytes, timeout_s: float) -> None:
        frame = from_headers(headers, value, key=key, fallback_id="", received_at=NOON)
        self.attempts.append(frame)
        self.keys.add((topic, key))
        self.timeouts.add(timeout_s)
        failure = self.failures.pop(0) if self.failures else None
        if failure is not None:
            raise failure
        self.accepted.append(frame)

    def close(self) -> None:
        pass


def picture(text: str, **fields: str) -> CapturedPicture:
    return CapturedPicture(text.encode(), "image/jpeg", NOON, part_id=text, **fields)


def gateway(producer: FakeProducer, time: FakeTime, camera: Camera = CAMERA, **more: object) -> Gateway:
    given = {"stop": threading.Event(), **more}
    return Gateway(producer, camera, monotonic=time.monotonic, sleep=time.sleep, **given)  # type: ignore[arg-type]


def test_a_picture_becomes_a_complete_frame_message() -> None:
    producer = FakeProducer()
    report = gateway(producer, FakeTime()).send_all([picture("a", job_id="job-7", simulated="scratch")])
    frame = producer.accepted[0]
    assert producer.keys == {("frames", b"cam-1")}
    assert (frame.camera, frame.product, frame.part_id, frame.job_id) == ("cam-1", "plate", "a", "job-7")
    assert (frame.captured_at, frame.content_type, frame.simulated) == (NOON, "image/jpeg", "scratch")
    assert frame.sha256 == hashlib.sha256(b"a").hexdigest()
    assert frame.body == b"a"
    assert (frame.run, frame.sequence) == (report.run, 0)


def test_sequence_has_no_gaps_and_nothing_is_lost_while_the_bus_is_full_or_away() -> None:
    full, away = BusFullError("full"), BusAwayError("away")
    producer = FakeProducer([full, full, None, away, full, away, None, None, away])
    report = gateway(producer, FakeTime()).send_all(picture(name) for name in "abcde")
    assert [frame.part_id for frame in producer.accepted] == list("abcde")
    assert [frame.sequence for frame in producer.accepted] == [0, 1, 2, 3, 4]
    assert report.accepted == 5
    assert len({frame.frame_id for frame in producer.accepted}) == 5


def test_every_attempt_carries_the_same_id_so_that_a_double_is_known() -> None:
    producer = FakeProducer([BusAwayError("no answer")] * 3)
    gateway(producer, FakeTime()).send_all([picture("a")])
    assert len(producer.attempts) == 4
    assert len({(frame.frame_id, frame.sequence) for frame in producer.attempts}) == 1


def test_waiting_backs_off_and_an_attempt_is_short_enough_to_hear_a_stop() -> None:
    producer, time = FakeProducer([BusFullError("full")] * 12), FakeTime()
    gateway(producer, time).send_all([picture("a")])
    assert len(time.sleeps) == 12
    assert all(0 <= seconds <= 5 for seconds in time.sleeps)
    assert max(producer.timeouts) <= 5
    assert sum(time.sleeps[6:]) > sum(time.sleeps[:6])


def test_a_short_send_timeout_is_kept() -> None:
    producer = FakeProducer()
    camera = Camera("c", "p", "frames", max_frame_bytes=100, send_timeout_s=0.5)
    gateway(producer, FakeTime(), camera).send_all([picture("a")])
    assert producer.timeouts == {0.5}


def test_another_error_of_the_bus_is_not_swallowed() -> None:
    with pytest.raises(ValueError, match="a bug"):
        gateway(FakeProducer([ValueError("a bug")]), FakeTime()).send_all([picture("a")])


def test_a_request_to_stop_ends_the_waiting_and_uses_up_no_number() -> None:
    stop, time = threading.Event(), FakeTime()
    producer = FakeProducer([None, *[BusFullError("full")] * 1000])

    def sleep_and_stop(seconds: float) -> None:
        time.sleep(seconds)
        if len(time.sleeps) == 3:
            stop.set()

    halted = Gateway(producer, CAMERA, stop=stop, monotonic=time.monotonic, sleep=sleep_and_stop)
    report = halted.send_all(picture(name) for name in "abc")
    assert report.accepted == 1
    assert report.stopped
    assert [frame.sequence for frame in producer.accepted] == [0]


def test_a_stop_between_frames_finishes_the_frame_in_hand() -> None:
    stop, producer = threading.Event(), FakeProducer()

    def endless() -> Iterator[CapturedPicture]:
        for index in range(10**6):
            if index == 3:
                stop.set()
            yield picture(str(index))

    report = gateway(producer, FakeTime(), stop=stop).send_all(endless())
    assert report.accepted == len(producer.accepted) == 4


def test_a_picture_too_large_for_the_bus_is_named_and_leaves_no_gap() -> None:
    producer = FakeProducer()
    huge = CapturedPicture(b"x" * 101, "image/png", NOON, part_id="huge", name="huge.png")
    just = CapturedPicture(b"x" * 100, "image/png", NOON, part_id="just")
    report = gateway(producer, FakeTime()).send_all([picture("a"), huge, just, picture("b")])
    assert [(frame.part_id, frame.sequence) for frame in producer.accepted] == [("a", 0), ("just", 1), ("b", 2)]
    assert (report.accepted, report.refused, report.refused_names) == (3, 1, ["huge.png"])


def test_an_empty_picture_is_sent() -> None:
    producer = FakeProducer()
    gateway(producer, FakeTime()).send_all([CapturedPicture(b"", "image/jpeg", NOON, part_id="empty")])
    assert [frame.body for frame in producer.accepted] == [b""]


def test_frames_are_paced() -> None:
    time = FakeTime()
    camera = Camera("c", "p", "frames", max_frame_bytes=100, send_timeout_s=1, fps=10)
    gateway(FakeProducer(), time, camera).send_all(picture(name) for name in "abcde")
    assert time.now - 1000 == pytest.approx(0.5)


def test_a_camera_that_was_held_up_does_not_hurry_after() -> None:
    time = FakeTime()
    camera = Camera("c", "p", "frames", max_frame_bytes=100, send_timeout_s=1, fps=10)
    sent_at: list[float] = []

    def held_up() -> Iterator[CapturedPicture]:
        for index in range(6):
            if index == 2:
                time.now += 60
            sent_at.append(time.now)
            yield picture(str(index))

    gateway(FakeProducer(), time, camera).send_all(held_up())
    gaps = [later - sooner for sooner, later in itertools.pairwise(sent_at[2:])]
    assert gaps == pytest.approx([0.0, 0.1, 0.1], abs=0.001)


def test_the_count_is_told_after_each_acknowledged_frame() -> None:
    told: list[int] = []
    producer = FakeProducer([None, BusFullError("full")])
    gateway(producer, FakeTime(), on_accepted=told.append).send_all(picture(name) for name in "abc")
    assert told == [1, 2, 3]


def test_each_gateway_is_a_run_of_its_own() -> None:
    runs = {gateway(FakeProducer(), FakeTime()).send_all([]).run for _ in range(3)}
    assert len(runs) == 3


@pytest.fixture
def two_frames(tmp_path: Path) -> Iterator[Spool]:
    """A spool with room for two frames."""
    with Spool(tmp_path / "spool.sqlite3", "cam-1", max_bytes=2100) as spool:
        yield spool


def spooled(spool: Spool, **more: object) -> Gateway:
    return Gateway(spool, CAMERA, stop=threading.Event(), **more)  # type: ignore[arg-type]


def parts(spool: Spool) -> list[tuple[str | None, int | None]]:
    found = []
    while (oldest := spool.first()) is not None:
        found.append((oldest.frame.part_id, oldest.frame.sequence))
        spool.remove(oldest)
    return found


def test_a_triggered_camera_stops_with_an_error_when_its_spool_is_full(two_frames: Spool) -> None:
    line = spooled(two_frames, when_full=WhenFull.STOP)
    with pytest.raises(SpoolFullError):
        line.send_all(picture(name) for name in "abc")
    assert line.report.accepted == 2
    assert parts(two_frames) == [("a", 0), ("b", 1)]


def test_a_camera_that_runs_freely_counts_what_it_skips_and_uses_up_no_number(
    two_frames: Spool,
) -> None:
    skipped: list[tuple[int, str]] = []
    line = spooled(
        two_frames, when_full=WhenFull.SKIP, on_skipped=lambda count, reason: skipped.append((count, reason))
    )
    line.send_all(picture(name) for name in "abcd")
    assert skipped == [(1, "bus_away"), (1, "bus_away")]
    assert parts(two_frames) == [("a", 0), ("b", 1)]
    line.send_all([picture("e")])
    assert parts(two_frames) == [("e", 2)]


def test_a_folder_waits_until_its_spool_has_room(two_frames: Spool) -> None:
    line = spooled(two_frames, when_full=WhenFull.WAIT, sleep=lambda _: taken.extend(parts(two_frames)))
    taken: list[tuple[str | None, int | None]] = []
    line.send_all(picture(name) for name in "abcd")
    assert [*taken, *parts(two_frames)] == [("a", 0), ("b", 1), ("c", 2), ("d", 3)]


def test_a_clients_id_is_the_frames_id_and_is_remembered(two_frames: Spool) -> None:
    frame = spooled(two_frames).send(picture("a"), frame_id="theirs")
    assert frame is not None
    assert frame.frame_id == "theirs"
    assert two_frames.known("theirs") is not None
