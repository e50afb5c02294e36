"""From pictures to frame messages: numbered without gaps, sent until the bus has them, counted for the ledger."""

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum

import tenacity

from infra.bus import Producer
from infra.errors import ArchiveAwayError, BusAwayError, BusFullError, SpoolFullError, TransientError
from infra.frames import FrameMessage, new_id, sha256_hex, to_headers
from infra.store.tables import SkipReason
from infra.telemetry import get_logger
from ingest.claim_check import ClaimCheck
from ingest.sources import CapturedPicture
from ingest.spool import Spool
from ingest.watch import IngestWatch

_ATTEMPT_S = 3.0  # a longer wait is cut into attempts, so that a request to stop is heard within seconds
_BACKOFF = tenacity.wait_random_exponential(multiplier=0.1, max=5.0)
_PROGRESS_S = 5.0
_NAMES_KEPT = 20

_log = get_logger("ingest")


class WhenFull(StrEnum):
    """What a camera does when its spool is full."""

    WAIT = "wait"  # a folder or a simulator can
    STOP = "stop"  # with an error: a triggered camera may miss no part
    SKIP = "skip"  # a camera that runs freely goes on, and what it skips is counted


@dataclass(frozen=True, slots=True)
class Camera:
    """What all frames of one gateway share.

    Attributes:
        name: The camera; also the message key.
        product: What should be on the pictures.
        topic: Topic of the frame messages.
        max_frame_bytes: Largest body that is sent.
        send_timeout_s: How long the bus may keep one frame waiting before that is an error in the log.
        fps: Frames a second at most; None: as fast as the bus takes them.
    """

    name: str
    product: str
    topic: str
    max_frame_bytes: int
    send_timeout_s: float
    fps: float | None = None


@dataclass(slots=True)
class IngestReport:
    """What became of a run.

    Attributes:
        run: Id of the run, the same in all its frames.
        accepted: Frames that the bus acknowledged, or the spool took; their sequence numbers are 0 to `accepted - 1`.
        refused: Pictures that are too large for the bus and were not sent.
        refused_names: The first of them, by name.
        stopped: True when it was asked to stop before the source ended.
        spooled: True when they went into the spool.
    """

    run: str
    accepted: int = 0
    refused: int = 0
    refused_names: list[str] = field(default_factory=list)
    stopped: bool = False
    spooled: bool = False


class Gateway:
    """Sends the pictures of one camera to the bus; one gateway is one run.

    A sequence number is used up only once the bus acknowledged its frame. While the bus is full or away the gateway waits
    and tries the same message again; it never leaves one out. Only a request to stop ends the waiting. With a spool a number
    is used up once its frame is on disk, and a `SpoolSender` does the waiting.
    """

    def __init__(
        self,
        target: Producer | Spool,
        camera: Camera,
        *,
        stop: threading.Event,
        claim_check: ClaimCheck | None = None,
        when_full: WhenFull = WhenFull.WAIT,
        on_skipped: Callable[[int, str], None] = lambda _count, _reason: None,
        on_accepted: Callable[[int], None] = lambda _: None,
        run: str | None = None,
        watch: IngestWatch | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] | None = None,
    ) -> None:
        """Put a gateway together; nothing is sent yet.

        Args:
            target: The bus, or the camera's spool.
            camera: What all frames share.
            stop: Set from outside when the run should end after the frame in hand.
            claim_check: Where pictures go that are too large for the bus; None: all of them travel.
            when_full: What it does when the spool is full; for the bus it always waits.
            on_skipped: Told how many frames were skipped and why, with `WhenFull.SKIP`.
            on_accepted: Told the number of acknowledged frames after each one.
            run: Id of the run; a new one when left out.
            watch: Told what becomes of each picture; one that nobody looks at when left out.
            monotonic: Clock for pacing and progress, in seconds.
            sleep: Waits for so many seconds; by default a wait that a request to stop cuts short.
        """
        self.report = IngestReport(run=run or new_id(), spooled=isinstance(target, Spool))
        self._target = target
        self._waits_for: tuple[type[TransientError], ...] = (BusFullError, BusAwayError, ArchiveAwayError)
        self._skips = when_full is WhenFull.SKIP
        if when_full is WhenFull.WAIT:
            self._waits_for += (SpoolFullError,)
        self._on_skipped = on_skipped
        self._camera = camera
        self._stop = stop
        self._claim_check = claim_check
        self._on_accepted = on_accepted
        self._watch = watch or IngestWatch(camera.name, camera.send_timeout_s, monotonic)
        self._monotonic = monotonic
        self._sleep = sleep or tenacity.sleep_using_event(stop)
        self._progress_at = monotonic() + _PROGRESS_S
        self._log = _log.bind(camera=camera.name, product=camera.product, run=self.report.run)

    def send_all(self, pictures: Iterable[CapturedPicture]) -> IngestReport:
        """Send every picture of a source, paced; return when it ends or when asked to stop."""
        self._log.info("run_started", fps=self._camera.fps)
        source = iter(pictures)
        due = self._monotonic()
        while not self._stop.is_set():
            picture = next(source, None)
            if picture is None:
                break
            self.send(picture)
            due = self._wait_for_next(due)
        self.report.stopped = self._stop.is_set()
        self._log.info(
            "run_ended", accepted=self.report.accepted, refused=self.report.refused, stopped=self._stop.is_set()
        )
        return self.report

    def _wait_for_next(self, due: float) -> float:
        """Wait for the next frame's time; a camera that was held up goes on at its pace and does not hurry after."""
        if self._camera.fps is None:
            return due
        now = self._monotonic()
        due = max(due + 1.0 / self._camera.fps, now)
        if due > now:
            self._sleep(due - now)
        return due

    def send(self, picture: CapturedPicture, frame_id: str | None = None) -> FrameMessage | None:
        """Send one picture, under an id that a client gave if it gave one; None: it is not sent, which was said.

        Raises:
            SpoolFullError: The spool is full, with `WhenFull.STOP`.
        """
        if len(picture.body) > self._camera.max_frame_bytes:
            self._refuse(picture)
            return None
        frame = FrameMessage(
            frame_id=frame_id or new_id(),
            camera=self._camera.name,
            product=picture.product or self._camera.product,
            captured_at=picture.captured_at,
            body=picture.body,
            content_type=picture.content_type,
            sha256=sha256_hex(picture.body),
            part_id=picture.part_id,
            job_id=picture.job_id,
            run=self.report.run,
            sequence=self.report.accepted,
            simulated=picture.simulated,
        )
        try:
            acknowledged = self._acknowledged(frame, remember=frame_id is not None)
        except SpoolFullError as error:
            self._watch.put_down()
            if not self._skips:
                raise
            self._on_skipped(1, SkipReason.BUS_AWAY)
            self._show_skipping(error)
            return None
        if not acknowledged:
            self._log.warning("frame_not_sent", part_id=frame.part_id, sequence=frame.sequence, reason="asked to stop")
            return None
        self.report.accepted += 1
        self._watch.accepted()
        self._on_accepted(self.report.accepted)
        self._show_progress()
        return frame

    def _refuse(self, picture: CapturedPicture) -> None:
        self.report.refused += 1
        self._watch.refused()
        name = picture.name or picture.part_id or "without a name"
        if len(self.report.refused_names) < _NAMES_KEPT:
            self.report.refused_names.append(name)
        limit = self._camera.max_frame_bytes
        self._log.error("picture_refused", picture=name, reason=f"larger than max_frame_bytes ({limit})")

    def _acknowledged(self, frame: FrameMessage, *, remember: bool) -> bool:
        """Try until the bus or the spool has the frame; False only when asked to stop.

        An attempt that ended without an answer may have arrived: the next one carries the same id and sequence, by which
        the scorer knows a double.
        """
        began = self._monotonic()
        self._watch.sending()
        try:
            for attempt in tenacity.Retrying(
                retry=tenacity.retry_if_exception_type(self._waits_for),
                wait=_BACKOFF,
                stop=tenacity.stop_when_event_set(self._stop),
                sleep=self._sleep,
                before_sleep=lambda state: self._show_waiting(state, self._monotonic() - began),
            ):
                with attempt:
                    self._hand_over(frame, remember)
        except tenacity.RetryError:
            self._watch.put_down()
            return False
        return True

    def _hand_over(self, frame: FrameMessage, remember: bool) -> None:
        if isinstance(self._target, Spool):
            self._target.append(frame, remember=remember)
            return
        message = self._claim_check.check_in(frame) if self._claim_check else frame
        attempt_s = min(_ATTEMPT_S, self._camera.send_timeout_s)
        self._target.send(self._camera.topic, frame.camera.encode(), to_headers(message), message.body, attempt_s)

    def _show_skipping(self, error: SpoolFullError) -> None:
        now = self._monotonic()
        if now >= self._progress_at:
            self._progress_at = now + _PROGRESS_S
            self._log.error("frames_skipped", accepted=self.report.accepted, reason=str(error))

    def _show_progress(self) -> None:
        now = self._monotonic()
        if now >= self._progress_at:
            self._progress_at = now + _PROGRESS_S
            self._log.info("progress", accepted=self.report.accepted, refused=self.report.refused)

    def _show_waiting(self, state: tenacity.RetryCallState, waited_s: float) -> None:
        error = state.outcome.exception() if state.outcome else None
        self._watch.retrying(error)
        now = self._monotonic()
        if now < self._progress_at and state.attempt_number > 1:
            return
        self._progress_at = now + _PROGRESS_S
        event = self._log.error if waited_s >= self._camera.send_timeout_s else self._log.warning
        event("bus_waiting", accepted=self.report.accepted, waited_s=round(waited_s, 1), reason=str(error))
