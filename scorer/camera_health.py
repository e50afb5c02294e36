"""Watches the cameras themselves: silent, frozen, black, over-exposed, out of focus, or with a clock that is off."""

import math
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

import sqlalchemy as sa
from structlog.typing import FilteringBoundLogger

from infra.picture_quality import PictureQuality
from infra.store.camera_health import raise_trouble, silent_cameras
from infra.store.tables import CameraTrouble, NoVerdictReason
from scorer.decode import DecodedFrame
from scorer.models import LoadedModel

if TYPE_CHECKING:
    from scorer.judge import Scored

_BEHIND_FRAMES = 50  # a clock that is behind shows as a lag of all of these,
_BEHIND_SPREAD_S = 2.0  # of nearly the same length; frames that waited somewhere have lags of many lengths
_LOOK_EVERY_S = 10.0
_BLURRED_FRAMES = 5  # in a row
_BLURRED = math.log(4)  # the edges of the least sharp calibration picture have four times the energy
_OF_PICTURE = {
    NoVerdictReason.FROZEN: CameraTrouble.FROZEN,
    NoVerdictReason.BLACK: CameraTrouble.BLACK,
    NoVerdictReason.OVER_EXPOSED: CameraTrouble.OVER_EXPOSED,
}


@dataclass
class _Shown:
    """What a camera shows, and in how many frames one after the other."""

    sha256: str = ""
    frame_id: str = ""
    equal: int = 0


@dataclass
class _Camera:
    """What is remembered of a camera."""

    frame_id: str = ""
    blurred: int = 0
    lags_s: deque[float] = field(default_factory=lambda: deque(maxlen=_BEHIND_FRAMES))
    troubles: frozenset[CameraTrouble] = frozenset()


class Frozen:
    """Tells which frames show what the camera has shown all along.

    A camera's noise never repeats: equal bytes, frame after frame, are a buffer that nobody fills any more.

    Args:
        after: Equal pictures in a row that are still believed; 0 believes all.
    """

    def __init__(self, after: int) -> None:
        self._after = after
        self._cameras: dict[str, _Shown] = {}

    def looks_frozen(self, frame: DecodedFrame) -> bool:
        """Take note of a camera's next frame. The same frame, seen again, counts once."""
        if self._after == 0:
            return False
        camera = self._cameras.setdefault(frame.message.camera, _Shown())
        if frame.sha256 != camera.sha256:
            camera.sha256, camera.equal = frame.sha256, 0
        if frame.message.frame_id != camera.frame_id:
            camera.frame_id = frame.message.frame_id
            camera.equal += 1
        return camera.equal > self._after


class CameraHealth:
    """Raises the alerts of cameras in trouble, one when it begins; frames of any scorer are its own cameras'.

    Args:
        database: Where alerts and runs are.
        log: Where events go.
        silent_after_s: How long a camera may say nothing; None: for ever.
        clock_skew_s: How far its clock may be off.
        monotonic: The clock, in seconds.
    """

    def __init__(
        self,
        database: sa.Engine,
        log: FilteringBoundLogger,
        silent_after_s: float | None,
        clock_skew_s: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._log = log
        self._silent_after_s = silent_after_s
        self._clock_skew_s = clock_skew_s
        self._monotonic = monotonic
        self._cameras: dict[str, _Camera] = {}
        self._least_sharp: dict[int, float] = {}  # by model: of its calibration pictures
        self._next_look = 0.0

    def saw(self, scored: "Iterable[Scored]") -> None:
        """Take note of frames that were stored, and what was decided about them, in their order.

        Raises:
            DatabaseAwayError: PostgreSQL does not answer; seeing them again is safe.
        """
        for frame, found in scored:
            camera = self._cameras.setdefault(frame.message.camera, _Camera())
            if frame.message.frame_id != camera.frame_id:
                camera.frame_id = frame.message.frame_id
                camera.lags_s.append((frame.record.received_at - frame.message.captured_at).total_seconds())
                camera.blurred = camera.blurred + 1 if self._is_blurred(frame, found.model) else 0
            troubles = self._troubles(camera, found.reason)
            for trouble in sorted(troubles - camera.troubles):
                self._tell(frame, trouble)
            camera.troubles = troubles

    def look(self) -> None:
        """Look for silent cameras, every few seconds; any number of scorers may, one of them raises the alert.

        Raises:
            DatabaseAwayError: PostgreSQL does not answer.
        """
        if self._silent_after_s is None or self._monotonic() < self._next_look:
            return
        self._next_look = self._monotonic() + _LOOK_EVERY_S
        for camera, heard in silent_cameras(self._database, timedelta(seconds=self._silent_after_s)):
            if raise_trouble(self._database, camera, CameraTrouble.SILENT, heard, told_since=heard):
                self._log.warning("camera.trouble", camera=camera, trouble=CameraTrouble.SILENT)

    def _troubles(self, camera: _Camera, reason: NoVerdictReason | None) -> frozenset[CameraTrouble]:
        found = set()
        if reason in _OF_PICTURE:
            found.add(_OF_PICTURE[reason])
        if camera.blurred >= _BLURRED_FRAMES:
            found.add(CameraTrouble.OUT_OF_FOCUS)
        lags = camera.lags_s
        if lags and lags[-1] < -self._clock_skew_s:
            found.add(CameraTrouble.CLOCK_AHEAD)
        if len(lags) == _BEHIND_FRAMES and min(lags) > self._clock_skew_s and max(lags) - min(lags) < _BEHIND_SPREAD_S:
            found.add(CameraTrouble.CLOCK_BEHIND)
        return frozenset(found)

    def _is_blurred(self, frame: DecodedFrame, model: LoadedModel | None) -> bool:
        """Far less sharp than every calibration picture; unknown, and so not, for models that kept no quality."""
        if model is None:
            return False
        usual = model.detector.manifest.calibration_quality
        if model.row.id not in self._least_sharp and usual:
            self._least_sharp[model.row.id] = min(PictureQuality(*quality).sharpness for quality in usual)
        return bool(usual) and frame.quality.sharpness < self._least_sharp[model.row.id] - _BLURRED

    def _tell(self, frame: DecodedFrame, trouble: CameraTrouble) -> None:
        message, at = frame.message, frame.record.received_at
        frame_id, product = message.frame_id, message.product
        if raise_trouble(self._database, message.camera, trouble, at, frame_id=frame_id, product=product):
            self._log.warning("camera.trouble", camera=message.camera, trouble=trouble)
