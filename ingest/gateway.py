"""From pictures to frame messages: numbered without gaps, sent until the bus has them, counted for the ledger."""

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import tenacity

from infra.bus import Producer
from infra.errors import ArchiveAwayError, BusAwayError, BusFullError
from infra.frames import FrameMessage, new_id, sha256_hex, to_headers
from infra.telemetry import get_logger
from ingest.claim_check import ClaimCheck
from ingest.sources import CapturedPicture
from ingest.watch import IngestWatch

_ATTEMPT_S = 3.0  # a longer wait is cut into attempts, so that a request to stop is heard within seconds
_BACKOFF = tenacity.wait_random_exponential(multiplier=0.1, max=5.0)
_PROGRESS_S = 5.0
_NAMES_KEPT = 20

_log = get_logger("ingest")


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
        accepted: Frames that the bus acknowledged; their sequence numbers are 0 to `accepted - 1`.
        refused: Pictures that are too large for the bus and were not sent.
        refused_names: The first of them, by name.
        stopped: True when it was asked to stop before the source ended.
    """

    run: str
    accepted: int = 0
    refused: int = 0
    refused_names: list[str] = field(default_factory=list)
    stopped: bool = False


class Gateway:
    """Sends the pictures of one camera to the bus; one gateway is one run.

    A sequence number is used up only once the bus acknowledged its frame. While the bus is full or away the gateway waits
    and tries the same message again; it never leaves one out. Only a request to stop ends the waiting.
    """

    def __init__(
        self,
        producer: Producer,
        camera: Camera,
        *,
        stop: threading.Event,
        claim_check: ClaimCheck | None = None,
        on_accepted: Callable[[int], None] = lambda _: None,
        run: str | None = None,
        watch: IngestWatch | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] | None = None,
    ) -> None:
        """Put a gateway together; nothing is sent yet.

        Args:
            producer: The bus.
            camera: What all frames share.
            stop: Set from outside when the run should end after the frame in hand.
            claim_check: Where pictures go that are too large for the bus; None: all of them travel.
            on_accepted: Told the number of acknowledged frames after each one.
            run: Id of the run; a new one when left out.
            watch: Told what becomes of each picture; one that nobody looks at when left out.
            monotonic: Clock for pacing and progress, in seconds.
            sleep: Waits for so many seconds; by default a wait that a request to stop cuts short.
        """
        self.report = IngestReport(run=run or new_id())
        self._producer = producer
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
            self._send(picture)
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

    def _send(self, picture: CapturedPicture) -> None:
        if len(picture.body) > self._camera.max_frame_bytes:
            self._refuse(picture)
            return
        frame = FrameMessage(
            frame_id=new_id(),
            camera=self._camera.name,
            product=self._camera.product,
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
        if not self._acknowledged(frame):
            self._log.warning("frame_not_sent", part_id=frame.part_id, sequence=frame.sequence, reason="asked to stop")
            return
        self.report.accepted += 1
        self._watch.accepted()
        self._on_accepted(self.report.accepted)
        self._show_progress()

    def _refuse(self, picture: CapturedPicture) -> None:
        self.report.refused += 1
        self._watch.refused()
        name = picture.name or picture.part_id or "without a name"
        if len(self.report.refused_names) < _NAMES_KEPT:
            self.report.refused_names.append(name)
        limit = self._camera.max_frame_bytes
        self._log.error("picture_refused", picture=name, reason=f"larger than max_frame_bytes ({limit})")

    def _acknowledged(self, frame: FrameMessage) -> bool:
        """Try until the bus has the frame; False only when asked to stop.

        An attempt that ended without an answer may have arrived: the next one carries the same id and sequence, by which
        the scorer knows a double.
        """
        began = self._monotonic()
        self._watch.sending()
        key = frame.camera.encode()
        attempt_s = min(_ATTEMPT_S, self._camera.send_timeout_s)
        try:
            for attempt in tenacity.Retrying(
                retry=tenacity.retry_if_exception_type((BusFullError, BusAwayError, ArchiveAwayError)),
                wait=_BACKOFF,
                stop=tenacity.stop_when_event_set(self._stop),
                sleep=self._sleep,
                before_sleep=lambda state: self._show_waiting(state, self._monotonic() - began),
            ):
                with attempt:
                    message = self._claim_check.check_in(frame) if self._claim_check else frame
                    self._producer.send(self._camera.topic, key, to_headers(message), message.body, attempt_s)
        except tenacity.RetryError:
            self._watch.put_down()
            return False
        return True

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
