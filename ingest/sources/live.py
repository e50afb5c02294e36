"""A camera that runs whether we keep up or not: read by a thread of its own that never waits for the bus.

The thread keeps the newest pictures, a bounded number. When they are not fetched fast enough, because the bus holds up and
there is no spool or it is full, the oldest ones go, and are counted as skipped. When the camera is gone it is opened again,
with backoff, for ever, and what it owes meanwhile is counted as its own.
"""

import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Protocol

import tenacity

from infra.clock import Clock, utc_now
from infra.errors import CameraAwayError, CameraLoginError, SourceError
from infra.store.tables import SkipReason
from infra.telemetry import get_logger
from ingest.away import FramesOwed
from ingest.sources.opencv import Capture
from ingest.sources.shots import NewestShots, Shot
from ingest.trigger import OuterTrigger, Thinning

NEWEST_KEPT = 8
_BACKOFF = tenacity.wait_random_exponential(multiplier=0.25, max=3.0)
_AFTER_LOGIN = tenacity.wait_fixed(30.0)  # cameras lock out a user who comes with a wrong password too often
_TICK_S = 0.2
_SAY_AGAIN_S = 30.0
_BROKEN_IN_A_ROW = 100

_log = get_logger("ingest")

OnSkipped = Callable[[int, str], None]


class Opener(Protocol):
    """Opens a camera, in a moment or within its time-out."""

    def __call__(self) -> Capture:
        """Open it.

        Raises:
            CameraAwayError: It does not answer; the text is for a person and holds no password.
        """
        ...


class LiveCamera:
    """The pictures of a live camera, until asked to stop; an iterable of `Shot`."""

    def __init__(
        self,
        name: str,
        open_camera: Opener,
        stop: threading.Event,
        *,
        thinning: Thinning,
        trigger: OuterTrigger | None = None,
        on_skipped: OnSkipped,
        newest_kept: int = NEWEST_KEPT,
        clock: Clock = utc_now,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Open nothing yet.

        Args:
            name: The camera, for the log.
            open_camera: Opens it; called again whenever it is gone.
            stop: Ends the iteration when set.
            thinning: Which pictures are taken, where there is no outer trigger.
            trigger: One picture is taken for each of its lines.
            on_skipped: Told how many frames could not be handed in, `bus_away` or `camera_away`; from the reader's thread.
            newest_kept: How many pictures wait to be fetched at most.
            clock: Source of `captured_at`.
            monotonic: The clock for everything else, in seconds.
        """
        self._name = name
        self._open = open_camera
        self._stop = stop
        self._thinning = thinning
        self._trigger = trigger
        self._on_skipped = on_skipped
        self._clock = clock
        self._monotonic = monotonic
        self._owed = FramesOwed()
        self._kept = NewestShots(newest_kept)
        self._failure: BaseException | None = None
        self._ended = threading.Event()
        self._log = _log.bind(camera=name)
        self._said_at = float("-inf")
        self._away_since: float | None = None
        self._owed_in_gap = 0
        self._count = 0
        self._thread = threading.Thread(target=self._work, name=f"camera {name}", daemon=True)

    def __iter__(self) -> Iterator[Shot]:
        """Hand out the pictures as they come.

        Raises:
            SourceError: The camera gives what cannot be used.
        """
        self._thread.start()
        try:
            while (shot := self._next()) is not None:
                yield shot
        finally:
            self._ended.set()
            self._thread.join()

    def _next(self) -> Shot | None:
        while True:
            over = self._failure is not None or self._stop.is_set() or self._ended.is_set()  # before the last look
            shot = self._kept.get(0.0 if over else _TICK_S)
            if shot is not None:
                return shot
            if over and self._failure is not None:
                raise self._failure
            if over:
                return None

    def _work(self) -> None:
        try:
            while not self.over():
                capture = self._opened()
                if capture is None:
                    return
                try:
                    self._read(capture)
                finally:
                    capture.release()
        except BaseException as error:  # handed to the thread that iterates, which raises it
            self._failure = error
        finally:
            self._ended.set()

    def over(self) -> bool:
        """Say whether nobody wants another picture."""
        no_more = self._trigger is not None and self._trigger.ended.is_set() and not self._trigger.waiting
        return self._stop.is_set() or self._ended.is_set() or no_more

    def _opened(self) -> Capture | None:
        """Try until the camera is there; None when asked to stop."""
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(CameraAwayError),
            wait=self._backoff,
            stop=lambda _: self.over(),
            sleep=self._wait,
            before_sleep=lambda state: self._say_away(str(state.outcome.exception() if state.outcome else "")),
        )
        try:
            return retrying(self._open_with_picture)
        except tenacity.RetryError:
            return None

    def _open_with_picture(self) -> Capture:
        """Open the camera and wait for its first picture: one that opens and sends nothing is not there."""
        if self.over():
            raise CameraAwayError("asked to stop")
        capture = self._open()
        if capture.grab():
            return capture
        capture.release()
        raise CameraAwayError("it opens, and sends no picture in time")

    def _backoff(self, state: tenacity.RetryCallState) -> float:
        refused = isinstance(state.outcome and state.outcome.exception(), CameraLoginError)
        return _AFTER_LOGIN(state) if refused else _BACKOFF(state)

    def _wait(self, seconds: float) -> None:
        until = self._monotonic() + seconds
        while not self.over() and self._monotonic() < until:
            self._tell_away()
            self._stop.wait(min(_TICK_S, seconds))

    def _read(self, capture: Capture) -> None:
        """Read from a camera whose first picture is grabbed, until it sends no more."""
        broken, grabbed = 0, True
        while not self.over():
            if not (grabbed or capture.grab()):
                if self.over():
                    return
                self._say_away("it sends no more")
                self._tell_away()
                return
            grabbed = False
            now_s = self._monotonic()
            age_s = capture.age_s()
            trigger = None
            if self._trigger is not None:
                trigger = self._trigger.taken(now_s - age_s)
                self._tell_missed(now_s)
                if trigger is None:
                    self._back(now_s)
                    continue
            elif not self._thinning.takes(now_s - age_s):
                continue
            pixels = capture.retrieve()
            if pixels is None:
                broken += 1
                self._on_skipped(1, SkipReason.CAMERA_AWAY)
                if broken == _BROKEN_IN_A_ROW:
                    raise SourceError(f"{broken} pictures in a row from camera {self._name} cannot be decoded")
                continue
            broken = 0
            self._back(now_s)
            self._count += 1
            captured_at = self._clock() - timedelta(seconds=age_s)
            self._keep(Shot(pixels, captured_at, f"{self._name} picture {self._count}", trigger))

    def _keep(self, shot: Shot) -> None:
        free = self._kept.put(shot, in_place_of_oldest=shot.trigger is None)
        if not free:
            self._on_skipped(1, SkipReason.BUS_AWAY)
            self._say("frames_skipped", f"{self._kept.bound} pictures wait already: the bus holds up")
        if not free and shot.trigger is not None:
            raise SourceError(f"the bus holds camera {self._name} up, and a triggered camera may miss no part")

    def _back(self, now_s: float) -> None:
        self._tell(self._owed.frame(now_s) if self._trigger is None else 0)
        if self._away_since is not None:
            self._log.info("camera_back", away_s=round(now_s - self._away_since, 1), owed=self._owed_in_gap)
        self._away_since, self._owed_in_gap = None, 0

    def _say_away(self, reason: str) -> None:
        if self._away_since is None:
            self._away_since = self._monotonic()
            self._said_at = float("-inf")
        self._say("camera_away", reason)

    def _say(self, event: str, reason: str) -> None:
        now_s = self._monotonic()
        if now_s - self._said_at >= _SAY_AGAIN_S:
            self._said_at = now_s
            self._log.warning(event, reason=reason)

    def _tell_away(self) -> None:
        now_s = self._monotonic()
        if self._trigger is None:
            self._tell(self._owed.away(now_s))
        else:
            self._tell_missed(now_s)

    def _tell_missed(self, now_s: float) -> None:
        if self._trigger is not None:
            self._tell(self._trigger.missed(now_s))

    def _tell(self, owed: int) -> None:
        if owed:
            self._owed_in_gap += owed
            self._on_skipped(owed, SkipReason.CAMERA_AWAY)
