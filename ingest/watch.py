"""What ingest tells of itself: its metrics, and whether frames still reach the bus."""

import time
from collections.abc import Callable

from infra.errors import BusFullError, TransientError
from infra.metrics import INGEST_ACCEPTED, INGEST_REFUSED, INGEST_RETRIES, INGEST_WAITING, Metrics, Service
from infra.monitoring import Freshness


class IngestWatch:
    """Counts the frames of one camera; healthy while no frame in hand waits too long for the bus.

    A camera that sends nothing is no fault of ingest's: without a frame in hand it is healthy.
    """

    def __init__(
        self,
        camera: str,
        stale_s: float,
        monotonic: Callable[[], float] = time.monotonic,
        metrics: Metrics | None = None,
    ) -> None:
        """Begin with nothing in hand.

        Args:
            camera: Whose frames are counted.
            stale_s: How long a frame may wait for the bus, in seconds.
            monotonic: The clock, in seconds.
            metrics: Where it counts; its own where left out. The cameras of one process share one.
        """
        self.metrics = metrics or Metrics(Service.INGEST)
        self._camera = camera
        self._monotonic = monotonic
        self._freshness = Freshness(stale_s, monotonic)
        self._in_hand = False
        self._counted_until = 0.0
        self._retried = False
        for metric in (INGEST_ACCEPTED, INGEST_REFUSED, INGEST_WAITING):
            self.metrics.count(metric, 0, camera=camera)  # a rate begins at the first frame, not behind it

    def health(self) -> str | None:
        """Return None while frames reach the bus or none is in hand, else why not."""
        return self._freshness.health() if self._in_hand else None

    def sending(self) -> None:
        """A frame is in hand."""
        self._freshness.fresh()
        self._in_hand, self._retried, self._counted_until = True, False, self._monotonic()

    def retrying(self, error: BaseException | None) -> None:
        """The bus did not take the frame in hand, which is tried again."""
        self._retried = True
        self._count_waiting()
        reason = "full" if isinstance(error, BusFullError) else "away"
        self.metrics.count(INGEST_RETRIES, camera=self._camera, reason=reason)
        if isinstance(error, TransientError):
            self._freshness.stale(str(error))

    def accepted(self) -> None:
        """The bus has the frame."""
        self.metrics.count(INGEST_ACCEPTED, camera=self._camera)
        self.put_down()

    def put_down(self) -> None:
        """No frame is in hand any more."""
        if self._retried:
            self._count_waiting()
        self._in_hand = False

    def refused(self) -> None:
        """A picture is too large and is not sent."""
        self.metrics.count(INGEST_REFUSED, camera=self._camera)

    def _count_waiting(self) -> None:
        now = self._monotonic()
        self.metrics.count(INGEST_WAITING, now - self._counted_until, camera=self._camera)
        self._counted_until = now


class CaptureWatch(IngestWatch):
    """The same for what goes into a spool: there it is accepted, and on the bus only when the spool's sender says so."""

    def accepted(self) -> None:
        """The spool has the frame."""
        self.put_down()
