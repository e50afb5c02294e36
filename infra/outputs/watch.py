"""What the relay tells of itself: metrics and health of each output, and whether verdicts still go out."""

import time
from collections.abc import Callable
from datetime import datetime

from infra.clock import Clock, utc_now
from infra.metrics import (
    RELAY_AWAY,
    RELAY_IN_TIME,
    RELAY_LATE,
    RELAY_OLDEST,
    RELAY_PUBLISHED,
    RELAY_REFUSED,
    RELAY_WAITING,
    Metrics,
    Service,
)
from infra.monitoring import Freshness
from infra.store.outbox import Backlog


class OutputWatch:
    """Counts for one output; healthy while messages go out, none waits, or another relay has the turn."""

    def __init__(
        self, sink: str, metrics: Metrics, stale_s: float, clock: Clock, monotonic: Callable[[], float]
    ) -> None:
        self._sink = sink
        self._metrics = metrics
        self._freshness = Freshness(stale_s, monotonic)
        self._clock = clock
        metrics.show(RELAY_AWAY, 0, sink=sink)
        metrics.count(RELAY_PUBLISHED, 0, sink=sink)
        metrics.count(RELAY_REFUSED, 0, sink=sink)

    def health(self) -> str | None:
        """Return None while messages go out or none waits, else why not, in one line."""
        why = self._freshness.health()
        return None if why is None else f"{self._sink}: {why}"

    def published(self, messages: int) -> None:
        """Count messages that the peer acknowledged."""
        self._metrics.count(RELAY_PUBLISHED, messages, sink=self._sink)
        if messages:
            self._metrics.show(RELAY_AWAY, 0, sink=self._sink)
            self._freshness.fresh()

    def refused(self) -> None:
        """Count a message that the peer refused and that is on record."""
        self._metrics.count(RELAY_REFUSED, 1, sink=self._sink)

    def late(self, camera: str) -> None:
        """Count a verdict that the peer had too late."""
        self._metrics.count(RELAY_LATE, 1, sink=self._sink, camera=camera)

    def stands(self, in_time: bool) -> None:
        """Note whether the verdicts of all cameras are in time for this output."""
        self._metrics.show(RELAY_IN_TIME, in_time, sink=self._sink)

    def looked(self, waiting: Backlog) -> None:
        """Note what waits for the output."""
        self._metrics.show(RELAY_WAITING, waiting.rows, sink=self._sink)
        self._metrics.show(RELAY_OLDEST, self._age_s(waiting.oldest_at), sink=self._sink)
        if waiting.rows:
            self._freshness.stale(f"{waiting.rows} messages wait and none goes out")
        else:
            self._freshness.fresh()

    def standing_by(self) -> None:
        """Another relay has the turn, so there is nothing to do here."""
        for metric in (RELAY_WAITING, RELAY_OLDEST, RELAY_AWAY):
            self._metrics.show(metric, 0, sink=self._sink)
        self._metrics.show(RELAY_IN_TIME, 1, sink=self._sink)
        self._freshness.fresh()

    def away(self, error: BaseException | None) -> None:
        """Note what keeps messages from going out."""
        self._metrics.show(RELAY_AWAY, 1, sink=self._sink)
        self._freshness.stale(str(error))

    def _age_s(self, oldest_at: datetime | None) -> float:
        return 0.0 if oldest_at is None else max(0.0, (self._clock() - oldest_at).total_seconds())


class RelayWatch:
    """Watches every output; healthy while all of them are."""

    def __init__(self, stale_s: float, clock: Clock = utc_now, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Begin healthy, with nothing counted.

        Args:
            stale_s: How long ago the last acknowledged message of an output may be while others wait, in seconds.
            clock: The time that waiting rows are compared with.
            monotonic: Clock of the freshness, in seconds.
        """
        self.metrics = Metrics(Service.RELAY)
        self._stale_s = stale_s
        self._clock = clock
        self._monotonic = monotonic
        self._outputs: dict[str, OutputWatch] = {}

    def of(self, sink: str) -> OutputWatch:
        """Return the watch of an output."""
        if sink not in self._outputs:
            self._outputs[sink] = OutputWatch(sink, self.metrics, self._stale_s, self._clock, self._monotonic)
        return self._outputs[sink]

    def health(self) -> str | None:
        """Return None while every output is healthy, else what is wrong with those that are not, in one line."""
        wrong = [why for output in list(self._outputs.values()) if (why := output.health()) is not None]
        return "; ".join(wrong) or None
