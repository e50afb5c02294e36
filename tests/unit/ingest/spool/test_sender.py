"""Emptying a spool: in order, each frame once unless the answer was lost, and never in the camera's way."""

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from prometheus_client import generate_latest

from infra.errors import BusAwayError, BusFullError
from infra.frames import FrameMessage, Header, from_headers
from ingest.spool import Spool, SpoolSender
from ingest.spool.files import pragma
from ingest.watch import IngestWatch

NOON = datetime(2025, 5, 5, 12, tzinfo=UTC)
WAIT_S = 20.0


class FakeBus:
    """Takes frames while it is `here`; an answer may be lost."""

    def __init__(self) -> None:
        self.here = threading.Event()
        self.here.set()
        self.lose_answers = 0
        self.frames: list[tuple[str, int]] = []
        self.changed = threading.Condition()
        self.failure: Exception | None = None

    def send(self, topic: str, key: bytes, headers: tuple[Header, ...], value: bytes, timeout_s: float) -> None:
        assert (topic, key) == ("frames", b"cam")
        assert timeout_s <= 5  # so that a request to stop is heard
        if self.failure:
            raise self.failure
        if not self.here.is_set():
            raise BusAwayError("away")
        frame = from_headers(headers, value, key=key, fallback_id="", received_at=NOON)
        with self.changed:
            self.frames.append((frame.run or "", frame.sequence or 0))
            self.changed.notify_all()
        if self.lose_answers:
            self.lose_answers -= 1
            raise BusFullError("no answer")

    def wait_for(self, count: int) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.frames) >= count, WAIT_S)

    def close(self) -> None:
        pass


def frame(sequence: int, run: str = "run") -> FrameMessage:
    return FrameMessage(f"{run}-{sequence}", "cam", "p", NOON, b"x" * 100, run=run, sequence=sequence)


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    with Spool(tmp_path / "spool.sqlite3", "cam", max_bytes=10**7) as opened:
        yield opened


def sender(spool: Spool, bus: FakeBus, sent: list[int] | None = None, **more: float) -> SpoolSender:
    watch = IngestWatch("cam", 60.0)
    told = [] if sent is None else sent
    return SpoolSender(spool, bus, "frames", watch=watch, on_sent=lambda f: told.append(f.sequence or 0), **more)


def test_frames_of_the_outage_go_out_before_those_after_it_and_each_is_told(spool: Spool) -> None:
    bus, sent = FakeBus(), []  # type: ignore[var-annotated]
    with sender(spool, bus, sent):
        spool.append(frame(0))
        bus.wait_for(1)
        bus.here.clear()
        for sequence in range(1, 20):
            spool.append(frame(sequence))
        bus.here.set()
        spool.append(frame(20))
        bus.wait_for(21)
    assert [sequence for _, sequence in bus.frames] == list(range(21))
    assert sent == list(range(21))
    assert spool.frames == 0


def test_what_an_earlier_run_left_goes_first(spool: Spool) -> None:
    for sequence in range(3):
        spool.append(frame(sequence, "old"))
    bus = FakeBus()
    with sender(spool, bus):
        spool.append(frame(0, "new"))
        bus.wait_for(4)
    assert bus.frames == [("old", 0), ("old", 1), ("old", 2), ("new", 0)]


def test_a_frame_without_an_answer_is_sent_again_under_its_number(spool: Spool) -> None:
    bus, sent = FakeBus(), []  # type: ignore[var-annotated]
    bus.lose_answers = 1
    with sender(spool, bus, sent):
        spool.append(frame(0))
        spool.append(frame(1))
        bus.wait_for(3)
    assert [sequence for _, sequence in bus.frames] == [0, 0, 1]
    assert sent == [0, 1]


def test_a_request_to_stop_lets_frames_go_out(spool: Spool) -> None:
    bus = FakeBus()
    with sender(spool, bus):
        for sequence in range(50):
            spool.append(frame(sequence))
    assert len(bus.frames) == 50
    assert spool.frames == 0


def test_a_request_to_stop_while_the_bus_is_away_leaves_them_on_disk(
    spool: Spool, capsys: pytest.CaptureFixture[str]
) -> None:
    bus = FakeBus()
    bus.here.clear()
    with sender(spool, bus, last_sends_s=0.2):
        spool.append(frame(0))
    assert (bus.frames, spool.frames) == ([], 1)
    assert "spool.left" in capsys.readouterr().out


def test_the_fill_level_is_served(spool: Spool) -> None:
    bus = FakeBus()
    bus.here.clear()
    for sequence in range(3):
        spool.append(frame(sequence))
    emptying = sender(spool, bus, last_sends_s=0.1)
    with emptying:
        pass
    text = generate_latest(emptying._watch.metrics.registry).decode()
    assert 'differline_ingest_spool_frames{camera="cam"} 3.0' in text
    assert f'differline_ingest_spool_bytes{{camera="cam"}} {float(spool.bytes)}' in text
    assert 'differline_ingest_spool_limit_bytes{camera="cam"} 1e+07' in text


def test_disk_use_shrinks_although_the_camera_goes_on(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingest.spool.disk._SHRINK_ABOVE", 0)
    monkeypatch.setattr("ingest.spool.disk._SHRINK_PAGES", 8)
    bus = FakeBus()
    bus.here.clear()
    for sequence in range(30):
        spool.append(replace(frame(sequence), body=bytes(100_000)))
    pages = pragma(spool._file.taking, "page_count")
    with sender(spool, bus):
        bus.here.set()
        sequence = 30
        deadline = time.monotonic() + WAIT_S
        while pragma(spool._file.taking, "page_count") >= pages / 2:
            assert time.monotonic() < deadline
            bus.wait_for(sequence)
            time.sleep(0.02)  # less than what the sender calls idle
            spool.append(frame(sequence))
            sequence += 1


def test_a_bug_in_the_thread_reaches_the_camera(spool: Spool) -> None:
    bus = FakeBus()
    bus.failure = ValueError("a bug")
    emptying = sender(spool, bus)
    spool.append(frame(0))
    with pytest.raises(ValueError, match="a bug"), emptying:
        emptying._thread.join(WAIT_S)
    with pytest.raises(ValueError, match="a bug"):
        emptying.check()
    assert spool.frames == 1
