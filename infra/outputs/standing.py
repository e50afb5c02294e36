"""Whether verdicts are in time, for each camera and output: the fail-safe.

An output says NO_VERDICT for a camera, whatever its newest verdict was, when

    stopped   frames of it wait on the bus and no verdict has come for as long as the deadline; or nothing was heard of it for
              `silent_after_s` and ingest did not end it; or the database could not be asked for as long as the deadline
    late      its newest verdict reached this peer later than the deadline after the bus had the frame; or one that this peer
              still waits for is older than that

and for all cameras before the database was asked once. A camera that was ended and has all its verdicts is in time: nothing
more is expected of it. All waiting is counted by a clock that only grows, so nothing looks fresh because a clock was set back.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from infra.outputs.delivered import Delivered, LastVerdict
from infra.outputs.sink import CameraStanding, Standing
from infra.store.line_pace import CameraPace
from infra.store.tables import VerdictState

_LEAST_PATIENCE_S = 3.0  # the database is asked once a second
_FORGOTTEN_S = 86_400.0  # a camera that nothing was heard of for a day is no longer expected


class NotInTime(StrEnum):
    """Why the verdicts of a camera do not count."""

    LATE = "late"
    STOPPED = "stopped"


@dataclass(slots=True)
class _Progress:
    pace: CameraPace
    looked_at: float
    judged_at: float  # when a verdict came last, or when none was waited for
    heard_at: float


class Watchdog:
    """Looks after the cameras of all outputs; one thread tells it what the database says, others ask."""

    def __init__(
        self, deadline_s: float, silent_after_s: float | None, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        """Begin without having asked.

        Args:
            deadline_s: How long a frame may wait for its verdict, in seconds.
            silent_after_s: How long a camera may say nothing, in seconds; None: as long as it likes.
            monotonic: A clock that only grows, in seconds.
        """
        self._deadline_s = deadline_s
        self._silent_after_s = silent_after_s
        self._monotonic = monotonic
        self._looked_at: float | None = None
        self._cameras: Mapping[str, _Progress] = {}

    def looked(self, paces: Iterable[CameraPace]) -> None:
        """Note how far the cameras have come."""
        now = self._monotonic()
        before, cameras = self._cameras, dict[str, _Progress]()
        for pace in paces:
            known = before.get(pace.camera)
            progress = known or _Progress(pace, now, now, now - pace.heard_s)
            was = progress.pace
            judged = pace.run != was.run or pace.accounted != was.accounted or not pace.waiting
            heard = pace.run != was.run or (pace.accepted, pace.accounted) != (was.accepted, was.accounted)
            judged_at, heard_at = now if judged else progress.judged_at, now if heard else progress.heard_at
            cameras[pace.camera] = _Progress(pace, now, judged_at, heard_at)
        self._cameras = cameras
        self._looked_at = now

    def standing(self, alive: int, at: datetime, delivered: Delivered) -> Standing:
        """Return the standing of one output.

        Args:
            alive: Its heartbeat counter.
            at: The time (UTC).
            delivered: What its peer has.
        """
        fresh, behind, last = self._fresh(), delivered.behind(), delivered.last()
        cameras, expected_in_time = {}, True
        for camera in sorted(self._cameras.keys() | last.keys()):
            newest = last.get(camera)
            reason = self._reason(camera, newest, behind) if fresh else NotInTime.STOPPED
            if reason is not None and not self._forgotten(camera, newest):
                expected_in_time = False
            cameras[camera] = CameraStanding(
                camera=camera,
                in_time=reason is None,
                last_state=VerdictState.NO_VERDICT.value if reason else newest.state if newest else None,
                last_result_id=newest.result_id if newest else None,
                last_at=newest.committed_at if newest else None,
                reason=reason,
            )
        return Standing(alive, at, cameras, in_time=fresh and not behind and expected_in_time)

    def _fresh(self) -> bool:
        patience_s = max(self._deadline_s, _LEAST_PATIENCE_S)
        return self._looked_at is not None and self._monotonic() - self._looked_at <= patience_s

    def _reason(self, camera: str, newest: LastVerdict | None, behind: bool) -> NotInTime | None:
        progress = self._cameras.get(camera)
        if progress is not None and progress.pace.ended and not progress.pace.waiting:
            return NotInTime.LATE if behind else None
        if progress is not None and progress.looked_at - progress.judged_at > self._deadline_s:
            return NotInTime.STOPPED
        if behind:
            return NotInTime.LATE
        if self._silent(progress, newest):
            return NotInTime.STOPPED
        return NotInTime.LATE if newest is not None and newest.late else None

    def _silent(self, progress: _Progress | None, newest: LastVerdict | None) -> bool:
        heard = self._heard_at(progress, newest)
        return self._silent_after_s is not None and self._monotonic() - heard > self._silent_after_s

    def _forgotten(self, camera: str, newest: LastVerdict | None) -> bool:
        return self._monotonic() - self._heard_at(self._cameras.get(camera), newest) > _FORGOTTEN_S

    @staticmethod
    def _heard_at(progress: _Progress | None, newest: LastVerdict | None) -> float:
        return max(progress.heard_at if progress else -1e18, newest.heard_at if newest else -1e18)
