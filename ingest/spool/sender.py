"""Sends what lies in a spool to the bus, oldest first, in a thread of its own: a camera never waits for the bus."""

import threading
import time
from collections.abc import Callable
from types import TracebackType

import tenacity

from infra.bus import Producer
from infra.errors import ArchiveAwayError, BusAwayError, BusFullError, TransientError
from infra.frames import FrameMessage, to_headers
from infra.metrics import INGEST_SPOOL_BYTES, INGEST_SPOOL_FRAMES, INGEST_SPOOL_LIMIT
from infra.telemetry import get_logger
from ingest.claim_check import ClaimCheck
from ingest.spool.disk import Spool
from ingest.watch import IngestWatch

_ATTEMPT_S = 3.0
_BACKOFF = tenacity.wait_random_exponential(multiplier=0.1, max=5.0)
_IDLE_S = 0.5
_TOLD_S = 5.0
_LAST_SENDS_S = 5.0  # how long a request to stop still lets frames go out

_log = get_logger("ingest")


class SpoolSender:
    """Empties one camera's spool onto the bus. Use as a context manager.

    A frame is taken out once the bus has acknowledged it. At the end it goes on for a few seconds while the bus takes frames;
    the rest stays on disk, and the next start of the camera sends it before anything new.
    """

    def __init__(
        self,
        spool: Spool,
        producer: Producer,
        topic: str,
        *,
        watch: IngestWatch,
        claim_check: ClaimCheck | None = None,
        on_sent: Callable[[FrameMessage], None] = lambda _: None,
        last_sends_s: float = _LAST_SENDS_S,
    ) -> None:
        """Put a sender together; it starts when entered.

        Args:
            spool: What is sent.
            producer: The bus; nobody else may use it.
            topic: Topic of the frame messages.
            watch: Told what becomes of each frame.
            claim_check: Where pictures go that are too large for the bus; None: all of them travel.
            on_sent: Told each frame that the bus has, in order.
            last_sends_s: How long frames are still sent when it is asked to stop, in seconds.
        """
        self.failure: Exception | None = None
        self._spool = spool
        self._producer = producer
        self._topic = topic
        self._watch = watch
        self._claim_check = claim_check
        self._on_sent = on_sent
        self._last_sends_s = last_sends_s
        self._closing = threading.Event()
        self._give_up = threading.Event()
        self._told_at = float("-inf")
        self._thread = threading.Thread(target=self._work, name="spool-sender", daemon=True)
        self._log = _log.bind(camera=spool.camera)

    def __enter__(self) -> "SpoolSender":
        if self._spool.frames:
            self._log.warning("spool.filled", frames=self._spool.frames, bytes=self._spool.bytes)
        self._show()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._closing.set()
        self._thread.join(self._last_sends_s)
        self._give_up.set()
        self._thread.join()
        self._show()
        if self._spool.frames:
            self._log.warning("spool.left", frames=self._spool.frames, bytes=self._spool.bytes)
        if self.failure is not None and error is None:
            raise self.failure

    def check(self) -> None:
        """Raise what the thread ended with, if it did."""
        if self.failure is not None:
            raise self.failure

    def _work(self) -> None:
        try:
            while not self._give_up.is_set():
                if not self._send_first() and self._closing.is_set():
                    return
                self._show()
        except Exception as error:  # handed to the thread that captures, which raises it
            self.failure = error

    def _send_first(self) -> bool:
        """Send the oldest frame; False when there is none."""
        oldest = self._spool.first(0.0 if self._closing.is_set() else _IDLE_S)
        if oldest is None:
            while self._spool.shrink() and not self._give_up.is_set():
                pass
            return False
        if not self._acknowledged(oldest.frame):
            return False
        self._spool.remove(oldest)
        self._spool.shrink()  # a little between two frames
        self._watch.accepted()
        self._on_sent(oldest.frame)
        return True

    def _acknowledged(self, frame: FrameMessage) -> bool:
        began = time.monotonic()
        self._watch.sending()
        try:
            for attempt in tenacity.Retrying(
                retry=tenacity.retry_if_exception_type((BusFullError, BusAwayError, ArchiveAwayError)),
                wait=_BACKOFF,
                stop=tenacity.stop_when_event_set(self._give_up),
                sleep=tenacity.sleep_using_event(self._give_up),
                before_sleep=lambda state: self._show_waiting(state, time.monotonic() - began),
            ):
                with attempt:
                    message = self._claim_check.check_in(frame) if self._claim_check else frame
                    key = frame.camera.encode()
                    self._producer.send(self._topic, key, to_headers(message), message.body, _ATTEMPT_S)
        except tenacity.RetryError:
            self._watch.put_down()
            return False
        return True

    def _show(self) -> None:
        camera = self._spool.camera
        self._watch.metrics.show(INGEST_SPOOL_FRAMES, self._spool.frames, camera=camera)
        self._watch.metrics.show(INGEST_SPOOL_BYTES, self._spool.bytes, camera=camera)
        self._watch.metrics.show(INGEST_SPOOL_LIMIT, self._spool.max_bytes, camera=camera)
        now = time.monotonic()
        if self._spool.frames > 1 and now >= self._told_at + _TOLD_S:
            self._told_at = now
            share = round(100 * self._spool.bytes / self._spool.max_bytes, 1)
            self._log.info("spool", frames=self._spool.frames, bytes=self._spool.bytes, full_percent=share)

    def _show_waiting(self, state: tenacity.RetryCallState, waited_s: float) -> None:
        error = state.outcome.exception() if state.outcome else None
        self._watch.retrying(error)
        self._show()
        if state.attempt_number == 1 and isinstance(error, TransientError):
            self._log.warning("bus_waiting", waited_s=round(waited_s, 1), reason=str(error))
