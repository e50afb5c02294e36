import io
import os
import threading
import time
from pathlib import Path

import pytest

from infra.errors import SettingsError
from infra.frames import MAX_TEXT
from ingest.trigger import OuterTrigger, Thinning, Trigger, parsed_trigger

WAIT_S = 20.0


def taken(thinning: Thinning, fps: float, count: int) -> list[int]:
    return [number for number in range(count) if thinning.takes(number / fps)]


def test_every_nth_picture_beginning_with_the_first() -> None:
    assert taken(Thinning(), 25, 5) == [0, 1, 2, 3, 4]
    assert taken(Thinning(every=3), 25, 10) == [0, 3, 6, 9]


@pytest.mark.parametrize(
    ("fps", "asked", "seconds", "expected"), [(25, 5, 10, 50), (30, 7, 20, 140), (10, 10, 10, 100)]
)
def test_so_many_a_second_are_taken_in_the_long_run(fps: float, asked: float, seconds: int, expected: int) -> None:
    assert abs(len(taken(Thinning(fps=asked), fps, int(fps * seconds))) - expected) <= 1


def test_a_camera_slower_than_asked_gives_all_it_has() -> None:
    assert len(taken(Thinning(fps=10), 4, 40)) == 40


def test_after_a_pause_the_pictures_are_not_made_up_for() -> None:
    thinning = Thinning(fps=1)
    assert thinning.takes(0.0)
    assert thinning.takes(100.0)
    assert [thinning.takes(100.0 + step / 10) for step in range(1, 9)] == [False] * 8


@pytest.mark.parametrize(
    ("line", "part", "job"),
    [
        (b"SN-1", "SN-1", None),
        (b"SN-1\torder 7\r", "SN-1", "order 7"),
        (b"", None, None),
        (b"\torder 7", None, "order 7"),
        (b"caf\xe9\x00", "caf\ufffd", None),
        (b"x" * 5000, "x" * MAX_TEXT, None),
    ],
)
def test_a_line_names_a_part_and_after_a_tab_its_job(line: bytes, part: str | None, job: str | None) -> None:
    assert parsed_trigger(line, 1.0) == Trigger(1.0, part, job)


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    path = tmp_path / "trigger"
    os.mkfifo(path)
    return path


def wait_for(trigger: OuterTrigger, count: int) -> None:
    began = time.monotonic()
    while trigger.waiting < count:
        assert time.monotonic() - began < WAIT_S
        time.sleep(0.01)


def test_each_line_takes_the_first_picture_after_it_and_no_other(pipe: Path) -> None:
    clock = Clock()
    with OuterTrigger(pipe, patience_s=2, monotonic=clock) as trigger:
        assert trigger.taken(clock.now_s) is None
        pipe.write_text("A\nB\tjob\n")
        wait_for(trigger, 2)
        assert trigger.taken(99.9) is None  # captured before
        assert trigger.taken(100.1) == Trigger(100.0, "A")
        assert trigger.taken(100.2) == Trigger(100.0, "B", "job")
        assert trigger.taken(100.3) is None


def test_a_line_that_finds_no_picture_in_time_is_counted_once_and_gets_no_later_one(pipe: Path) -> None:
    clock = Clock()
    with OuterTrigger(pipe, patience_s=2, monotonic=clock) as trigger:
        pipe.write_text("A\nB\n")
        wait_for(trigger, 2)
        assert trigger.missed(102.0) == 0
        assert trigger.missed(102.1) == 2
        assert trigger.missed(200.0) == 0
        assert trigger.taken(200.0) is None


def test_a_pipe_outlives_its_writers(pipe: Path) -> None:
    with OuterTrigger(pipe, patience_s=2) as trigger:
        for name in "AB":
            pipe.write_text(name + "\n")
        wait_for(trigger, 2)
        assert not trigger.ended.is_set()


def test_more_lines_than_parts_can_be_are_refused_and_counted(pipe: Path) -> None:
    with OuterTrigger(pipe, patience_s=1000, monotonic=Clock()) as trigger:
        pipe.write_text("X\n" * 66)
        wait_for(trigger, 64)
        missed, began = 0, time.monotonic()
        while missed < 2:
            assert time.monotonic() - began < WAIT_S
            missed += trigger.missed(100.0)
            time.sleep(0.01)
        assert trigger.waiting == 64


def test_half_a_line_waits_for_the_rest(pipe: Path) -> None:
    with OuterTrigger(pipe, patience_s=2) as trigger:
        with pipe.open("w") as writer:
            writer.write("SN-")
            writer.flush()
            time.sleep(0.1)
            assert trigger.waiting == 0
            writer.write("1\n")
        wait_for(trigger, 1)
        found = trigger.wait(1)
        assert found is not None
        assert found.part_id == "SN-1"


def test_standard_input_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading) as standard_input:
        monkeypatch.setattr("sys.stdin", standard_input)
        with OuterTrigger("-", patience_s=2) as trigger:
            os.write(writing, b"A\nlast without newline")
            os.close(writing)
            assert trigger.ended.wait(WAIT_S)
            assert [trigger.wait(1), trigger.wait(1)] != [None, None]
            assert trigger.wait(0) is None


def test_a_regular_file_as_standard_input_is_read_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "parts").write_text("".join(f"P{number}\n" for number in range(200)))
    with (tmp_path / "parts").open() as standard_input:
        monkeypatch.setattr("sys.stdin", standard_input)
        with OuterTrigger("-", patience_s=float("inf")) as trigger:
            parts = [trigger.wait(5) for _ in range(200)]
    assert [part and part.part_id for part in parts] == [f"P{number}" for number in range(200)]


@pytest.mark.parametrize("kind", ["missing", "file"])
def test_what_is_no_named_pipe_is_refused_with_the_command_that_makes_one(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "trigger"
    if kind == "file":
        path.write_text("")
    with pytest.raises(SettingsError, match="mkfifo"):
        OuterTrigger(path, patience_s=1)


def test_a_standard_input_without_a_file_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("A\n"))
    with pytest.raises(SettingsError, match="standard input"):
        OuterTrigger("-", patience_s=1)


def test_closing_does_not_wait_for_a_line(pipe: Path) -> None:
    began = time.monotonic()
    with OuterTrigger(pipe, patience_s=2):
        pass
    assert time.monotonic() - began < 2
    assert "trigger" not in {thread.name for thread in threading.enumerate()}
