"""Which of a camera's pictures are taken: every one, every N-th, at most so many a second, or one for each outer trigger.

An outer trigger is a line of text: on standard input, or in a named pipe (`mkfifo`), into which whatever sees the part writes
the part's id, and after a tab the job if there is one; an empty line is a part without id. Each line takes one picture, the
first that was captured after it. A line that finds no picture in time is a part that nobody saw: it is counted as the
camera's, and never given the picture of a later part.
"""

import io
import os
import queue
import selectors
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from infra.errors import SettingsError
from infra.frames import MAX_TEXT
from infra.telemetry import get_logger

STANDARD_INPUT = "-"
_WAITING = 64  # triggers that may wait; more in so short a time are no parts
_TICK_S = 0.2
_LONGEST_LINE = 4096

_log = get_logger("ingest")


@dataclass(frozen=True, slots=True)
class Trigger:
    """One line of an outer trigger.

    Attributes:
        at_s: When it came, by the monotonic clock, in seconds.
        part_id: The part, if it was named.
        job_id: Its job, if it was named.
    """

    at_s: float
    part_id: str | None = None
    job_id: str | None = None


class Thinning:
    """Takes every N-th picture, and of those at most so many a second."""

    def __init__(self, every: int = 1, fps: float | None = None) -> None:
        """Begin with the first picture.

        Args:
            every: 1: every picture; N: the first of each N.
            fps: Pictures a second at most, by the time they were captured; None: as many as come.
        """
        self._every = every
        self._interval_s = None if fps is None else 1.0 / fps
        self._seen = 0
        self._due_s: float | None = None

    def takes(self, at_s: float) -> bool:
        """Say whether the picture that was captured at this monotonic time is taken."""
        of_these = self._seen % self._every == 0
        self._seen += 1
        if not of_these:
            return False
        if self._interval_s is None:
            return True
        slack_s = self._interval_s / 10  # a camera of the very pace that is asked for comes a little early now and then
        if self._due_s is not None and at_s < self._due_s - slack_s:
            return False
        late = self._due_s is None or at_s > self._due_s + self._interval_s
        self._due_s = (at_s if late or self._due_s is None else self._due_s) + self._interval_s
        return True


class OuterTrigger:
    """Reads trigger lines in a thread of its own; a context manager."""

    def __init__(
        self, source: str | Path, *, patience_s: float, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        """Open the pipe; reading begins when it is entered.

        Args:
            source: A named pipe, or `-` for standard input.
            patience_s: How long a line waits for its picture, in seconds.
            monotonic: The clock, in seconds.

        Raises:
            SettingsError: There is no such pipe, or it is something else.
        """
        self._patience_s = patience_s
        self._monotonic = monotonic
        self._lines: queue.Queue[Trigger] = queue.Queue(_WAITING)
        self._refused = 0
        self._closing = threading.Event()
        self.ended = threading.Event()  # standard input was closed: there will be no more
        self._descriptor = _opened(str(source))
        self._thread = threading.Thread(target=self._read, name="trigger", daemon=True)

    def __enter__(self) -> "OuterTrigger":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._thread.join()
        os.close(self._descriptor)

    def taken(self, captured_s: float) -> Trigger | None:
        """Return the trigger that a picture of this monotonic time belongs to; None: to none."""
        with self._lines.mutex:
            if not self._lines.queue or self._lines.queue[0].at_s > captured_s:
                return None
        return self._lines.get_nowait()  # only this thread takes

    def missed(self, now_s: float) -> int:
        """Return how many triggers found no picture in time since the last call, and let go of them."""
        count, self._refused = self._refused, 0
        while True:
            with self._lines.mutex:
                if not self._lines.queue or now_s - self._lines.queue[0].at_s <= self._patience_s:
                    return count
            gone = self._lines.get_nowait()
            count += 1
            _log.error("trigger_without_picture", part_id=gone.part_id, job_id=gone.job_id, waited_s=self._patience_s)

    def wait(self, timeout_s: float) -> Trigger | None:
        """Wait for the next trigger, whenever it came: for a source that waits for us, such as a file."""
        try:
            return self._lines.get(timeout=timeout_s)
        except queue.Empty:
            return None

    @property
    def waiting(self) -> int:
        """How many triggers wait for a picture."""
        return self._lines.qsize()

    def _read(self) -> None:
        rest = b""
        with selectors.DefaultSelector() as selector:
            with suppress(PermissionError):  # standard input is a file, which never waits
                selector.register(self._descriptor, selectors.EVENT_READ)
            while not self._closing.is_set():
                if selector.get_map() and not selector.select(_TICK_S):
                    continue
                read = os.read(self._descriptor, io.DEFAULT_BUFFER_SIZE)
                if not read:
                    break
                *lines, rest = (rest + read).split(b"\n")
                for line in lines:
                    self._put(line)
                rest = rest[-_LONGEST_LINE:]
        if rest:
            self._put(rest)
        self.ended.set()

    def _put(self, line: bytes) -> None:
        trigger = parsed_trigger(line, self._monotonic())
        while not self._closing.is_set():
            try:
                self._lines.put(trigger, timeout=_TICK_S)
            except queue.Full:
                if self._patience_s == float("inf"):
                    continue  # a file is fed as fast as it is read
                self._refused += 1
                _log.error("trigger_refused", part_id=trigger.part_id, reason=f"{_WAITING} wait already")
            return


def parsed_trigger(line: bytes, at_s: float) -> Trigger:
    """Read a trigger's line: a part id, and after a tab the job; what no message can carry is left out."""
    part, _, job = line.decode("utf-8", "replace").rstrip("\r").partition("\t")
    return Trigger(at_s, *(_carried(text) for text in (part, job)))


def _carried(text: str) -> str | None:
    return "".join(c for c in text if c.isprintable()).strip()[:MAX_TEXT] or None


def _opened(source: str) -> int:
    if source == STANDARD_INPUT:
        try:
            return os.dup(sys.stdin.fileno())
        except (AttributeError, OSError, ValueError) as error:  # io.UnsupportedOperation is both of the latter
            raise SettingsError("the trigger is standard input, and there is none") from error
    if not Path(source).is_fifo():
        raise SettingsError(f"the trigger {source} is not a named pipe; make one with: mkfifo {source}")
    try:
        return os.open(source, os.O_RDWR)  # for writing too, so that it does not end with the first writer
    except OSError as error:
        raise SettingsError(f"the trigger {source} cannot be read: {error.strerror or error}") from error
