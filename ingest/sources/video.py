"""A video file as a camera: its frames in order, as fast as they are fetched."""

import threading
from collections.abc import Iterator
from pathlib import Path

import cv2

from infra.clock import Clock, utc_now
from infra.errors import SourceError
from infra.telemetry import get_logger
from ingest.sources.opencv import opened
from ingest.sources.shots import Shot
from ingest.trigger import OuterTrigger, Thinning, Trigger

_TICK_S = 0.2
_TOLERATED = 2  # containers count a frame or two that cannot be shown

_log = get_logger("ingest")


class VideoFile:
    """The frames of a video file; an iterable of `Shot`.

    A frame counts as captured when it is read, as the picture of a folder does. Time of the video itself decides which ones
    are taken at so many a second.
    """

    def __init__(
        self,
        path: Path,
        stop: threading.Event,
        *,
        thinning: Thinning,
        trigger: OuterTrigger | None = None,
        clock: Clock = utc_now,
    ) -> None:
        """Open the file.

        Args:
            path: The file; FFmpeg reads it.
            stop: Ends the waiting for a trigger when set.
            thinning: Which frames are taken, by the video's own time.
            trigger: The next frame is taken for each of its lines.
            clock: Source of `captured_at`.

        Raises:
            SourceError: It is no file, or no video.
        """
        if not path.is_file():
            raise SourceError(f"{path} is not a file")
        self._path = path
        self._stop = stop
        self._thinning = thinning
        self._trigger = trigger
        self._clock = clock
        capture = opened(str(path.resolve()), cv2.CAP_FFMPEG, {})
        if capture is None:
            raise SourceError(f"{path} is no video that FFmpeg reads")
        self._capture = capture

    def __iter__(self) -> Iterator[Shot]:
        """Decode one frame after the other.

        Raises:
            SourceError: The file promises frames and has none that can be decoded.
        """
        number = 0
        promised = int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        try:
            while not self._stop.is_set() and self._capture.grab():
                at_s = number / fps if fps > 0 else float(number)
                number += 1
                if self._trigger is None and not self._thinning.takes(at_s):
                    continue
                trigger = None
                if self._trigger is not None and (trigger := self._next_trigger(self._trigger)) is None:
                    return
                done, pixels = self._capture.retrieve()
                if done and pixels is not None:
                    yield Shot(pixels, self._clock(), f"{self._path.name} frame {number}", trigger)
        finally:
            self._capture.release()
        if number == 0:
            raise SourceError(f"{self._path} holds no frame that FFmpeg can decode")
        if number + _TOLERATED < promised and not self._stop.is_set():
            _log.error("video_ends_early", file=self._path.name, frames=number, promised=promised)

    def _next_trigger(self, trigger: OuterTrigger) -> Trigger | None:
        while not self._stop.is_set():
            line = trigger.wait(_TICK_S)
            if line is not None:
                return line
            if trigger.ended.is_set() and not trigger.waiting:
                return None
        return None
