"""OpenCV's capture, as a live camera needs it: quiet, with time-outs, and with its errors in our words."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import cv2

from ingest.shaping import Pixels

_OPTIONS_VARIABLE = "OPENCV_FFMPEG_CAPTURE_OPTIONS"
_opening = threading.Lock()  # the environment is the process's


class Capture(Protocol):
    """A camera that is open."""

    def grab(self) -> bool:
        """Wait for the next picture, as long as the time-out; False when there is none."""
        ...

    def age_s(self) -> float:
        """Say how long ago the grabbed picture was captured, by the camera's or the kernel's stamp; 0 where unknown."""
        ...

    def retrieve(self) -> Pixels | None:
        """Decode the grabbed picture; None when that fails."""
        ...

    def release(self) -> None:
        """Close it."""
        ...


class OpenCvCapture:
    """A `cv2.VideoCapture` as a `Capture`."""

    def __init__(self, capture: "cv2.VideoCapture") -> None:
        """Take over a capture that is open."""
        self._capture = capture

    def grab(self) -> bool:
        """Wait for the next picture, as long as the capture's time-out."""
        return bool(self._capture.grab())

    def age_s(self) -> float:
        """Say how old the grabbed picture is, in seconds: unknown, taken for new."""
        return 0.0

    def retrieve(self) -> Pixels | None:
        """Return the grabbed picture, (H, W, 3) uint8 in BGR; None when it cannot be decoded."""
        done, pixels = self._capture.retrieve()
        return pixels if done and pixels is not None and pixels.size else None

    def release(self) -> None:
        """Close it."""
        self._capture.release()

    def get(self, what: int) -> float:
        """Return a property of the capture."""
        return float(self._capture.get(what))


def opened(
    source: str, backend: int, parameters: dict[int, float], ffmpeg_options: str | None = None
) -> "cv2.VideoCapture | None":
    """Open a capture, without a word on standard error; None when OpenCV cannot.

    FFmpeg would print parts of an address that it cannot read, and with them parts of a password.

    Args:
        source: An address, a file or a device.
        backend: One of OpenCV's.
        parameters: OpenCV's properties, by number.
        ffmpeg_options: FFmpeg's own, as `name;value|name;value`, unless the environment has others; None: none, also
            where the environment has some, since what is right for a stream loses frames of a file.
    """
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    flat = [int(value) for pair in parameters.items() for value in pair]
    with _opening, _environment(ffmpeg_options):
        try:
            capture = cv2.VideoCapture(source, backend, flat)
        except cv2.error:
            return None
    if capture.isOpened():
        return capture
    capture.release()
    return None


@contextmanager
def _environment(ffmpeg_options: str | None) -> Iterator[None]:
    """Say to FFmpeg what OpenCV passes on from the environment alone."""
    os.environ["OPENCV_FFMPEG_LOGLEVEL"] = "-8"  # AV_LOG_QUIET
    before = os.environ.pop(_OPTIONS_VARIABLE, None)
    if ffmpeg_options is not None:
        os.environ[_OPTIONS_VARIABLE] = before or ffmpeg_options
    try:
        yield
    finally:
        os.environ.pop(_OPTIONS_VARIABLE, None)
        if before is not None:
            os.environ[_OPTIONS_VARIABLE] = before
