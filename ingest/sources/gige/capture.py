"""A GigE Vision camera as a `Capture`: the process that reads it, its messages, and what its own count says is missing."""

import json
import os
import selectors
import struct
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from infra.errors import CameraAwayError, SourceError
from infra.telemetry import get_logger
from ingest.shaping import Pixels
from ingest.sources.gige.pixel_formats import FORMATS, NAMES, picture
from ingest.sources.gige.stamps import StampClock
from ingest.sources.opencv import Capture

READER = Path(__file__).with_name("reader.py")
FREE, SOFTWARE = "free", "software"
_TICK_S = 0.2
_END_S = 2.0
_OPEN_S = 10.0  # Aravis looks for an id on all networks
_LARGEST_BODY = 512 * 2**20
_LENGTHS = struct.Struct(">II")
_WRAP = 65535  # GigE Vision 1 counts to here and goes on with 1

_log = get_logger("ingest")


@dataclass(frozen=True, slots=True)
class GigeOptions:
    """What is asked of a camera.

    Attributes:
        id: Aravis' id of it, such as `Basler-12345678`, or its IP address; None: the first one that is found.
        pixel_format: GenICam's name; None: what it is set to.
        trigger: `free`, `software` (this machine triggers it, `fps` times a second) or a line of its own, such as `Line1`.
        fps: Pictures a second.
    """

    id: str | None = None
    pixel_format: str | None = None
    trigger: str = FREE
    fps: float | None = None


class GigeCapture:
    """Reads what the reader's process writes."""

    def __init__(
        self,
        process: "subprocess.Popen[bytes]",
        options: GigeOptions,
        *,
        timeout_s: float,
        over: Callable[[], bool],
        on_lost: Callable[[int], None],
    ) -> None:
        """Take over a process that was started; `opened` has to be called before anything else."""
        assert process.stdout is not None  # noqa: S101 - whoever started it asked for a pipe
        self._process = process
        self._fd = process.stdout.fileno()
        self._options = options
        self._timeout_s = timeout_s
        self._over = over
        self._on_lost = on_lost
        self._stamps = StampClock()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._fd, selectors.EVENT_READ)
        self._last_number: int | None = None
        self._frame: dict[str, Any] = {}
        self._body = bytearray()
        self._captured_ns = 0

    def opened(self) -> None:
        """Wait until the camera is open.

        Raises:
            CameraAwayError: It does not answer.
            SourceError: It cannot do what is asked.
        """
        try:
            told = self._message(time.monotonic() + self._timeout_s + _OPEN_S)
        except TimeoutError:
            raise CameraAwayError("it does not answer in time") from None
        if told is None:
            raise CameraAwayError("the process that reads it has ended")
        if told["kind"] != "opened":
            raise CameraAwayError(str(told.get("reason")))
        if told["format"] not in NAMES:
            raise SourceError(
                f"the camera sends {told['format']}; what can be read is {', '.join(NAMES)}: name one with --pixel-format"
            )
        _log.info("gige.opened", vendor=told["vendor"], model=told["model"], format=told["format"])

    def grab(self) -> bool:
        """Wait for the next picture; of a camera that waits for its own trigger, as long as it is there."""
        deadline = time.monotonic() + self._timeout_s
        try:
            while (told := self._message(deadline)) is not None:
                if told["kind"] == "frame":
                    self._count(told["number"])
                    self._frame = told
                    self._captured_ns = self._stamps.captured_ns(told["stamp_ns"], told["system_ns"])
                    return True
                if told["kind"] == "alive" and self._options.trigger not in (FREE, SOFTWARE):
                    deadline = time.monotonic() + self._timeout_s
        except TimeoutError:
            pass
        except CameraAwayError as error:
            _log.warning("gige.away", reason=str(error))
        return False

    def age_s(self) -> float:
        """Say how long ago the picture was captured, by the camera's own clock."""
        return max(0.0, (time.time_ns() - self._captured_ns) / 1e9)

    def retrieve(self) -> Pixels | None:
        """Return the picture in BGR or grey; None when it did not come whole.

        Raises:
            SourceError: Its format is none that can be read.
        """
        code = self._frame["format"]
        if code not in FORMATS:
            raise SourceError(f"the camera sends the pixel format {code:#010x}; what can be read is {', '.join(NAMES)}")
        return picture(code, self._frame["width"], self._frame["height"], self._body)

    def release(self) -> None:
        """End the process, so that the camera is free."""
        self._selector.close()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._process.terminate()
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _count(self, number: int) -> None:
        if self._last_number is not None:
            missing = number - self._last_number - 1
            if missing < 0:  # it went on with 1, or it began anew
                missing = missing + _WRAP if self._last_number > _WRAP - 1000 else 0
            if missing:
                self._on_lost(missing)
        self._last_number = number

    def _message(self, deadline: float) -> dict[str, Any] | None:
        """Return the next header, its body in `_body`; None at the end of the pipe or when it is over."""
        try:
            head, size = _LENGTHS.unpack(self._exactly(_LENGTHS.size, deadline))
            if head > 2**16 or size > _LARGEST_BODY:
                raise CameraAwayError("the process that reads it has said what cannot be")
            told: dict[str, Any] = json.loads(self._exactly(head, deadline))
            self._body = self._exactly(size, deadline)
        except EOFError:
            return None
        if told["kind"] == "refused":
            raise SourceError(f"the camera cannot do what is asked: {told['reason']}")
        if told["kind"] == "away":
            raise CameraAwayError(str(told["reason"]))
        return told

    def _exactly(self, size: int, deadline: float) -> bytearray:
        found = bytearray(size)
        view, at = memoryview(found), 0
        while at < size:
            if self._over():
                raise EOFError
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            if self._selector.select(min(left, _TICK_S)):
                count = os.readv(self._fd, [view[at:]])
                if not count:
                    raise EOFError
                at += count
        return found


def open_gige(
    options: GigeOptions,
    *,
    python: Path,
    timeout_s: float,
    over: Callable[[], bool],
    on_lost: Callable[[int], None],
) -> Capture:
    """Open a camera.

    Args:
        options: Which one, and how.
        python: The Python that has PyGObject and Aravis.
        timeout_s: How long a picture may take, in seconds.
        over: Asked whether to wait no longer.
        on_lost: Told how many pictures are missing by the camera's own count.

    Raises:
        CameraAwayError: It does not answer.
        SourceError: It cannot do what is asked, or Aravis is not installed.
    """
    asked = json.dumps(asdict(options))
    try:
        process = subprocess.Popen(  # noqa: S603 - our own program with our own arguments
            [str(python), str(READER), asked],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            env={name: value for name, value in os.environ.items() if not name.startswith("PYTHON")},
            start_new_session=True,  # Ctrl-C is for the command, which ends it in order
        )
    except OSError as error:
        raise SourceError(f"{python} cannot be run: {error.strerror or error}; see DIFFERLINE_GIGE_PYTHON") from error
    capture = GigeCapture(process, options, timeout_s=timeout_s, over=over, on_lost=on_lost)
    try:
        capture.opened()
    except BaseException:
        with suppress(OSError):
            capture.release()
        raise
    return capture
