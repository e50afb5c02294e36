"""What the relay tells of itself: its metrics, and whether verdicts still go out."""

import time
from collections.abc import Callable
from datetime import datetime

from infra.clock import Clock, utc_now
from infra.metrics import RELAY_OLDEST, RELAY_PUBLISHED, RELAY_WAITING, Metrics, Service
from infra.monitoring import Freshness
from infra.store.outbox import Backlog


class RelayWatch:
    """Counts what is published; healthy while messages go out, none waits, or another relay has the turn."""

    def __init__(self, stale_s: float, clock: Clock = utc_now, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Begin healthy, with nothing counted.

        Args:
            stale_s: How long ago the last acknowledged message may be while others wait, in seconds.
            clock: The time that waiting rows are compared with.
            monotonic: Clock of the freshness, in seconds.
        """
        self.metrics = Metrics(Service.RELAY)
        self._freshness = Freshness(stale_s, monotonic)
        self._clock = clock

    def health(self) -> str | None:
        """Return None while messages go out or none waits, else why not, in one line."""
        return self._freshness.health()

    def published(self, messages: int) -> None:
        """Count messages that the broker acknowledged."""
        self.metrics.count(RELAY_PUBLISHED, messages)
        if messages:
            self._freshness.fresh()

    def looked(self, waiting: Backlog) -> None:
        """Note what waits in the outbox."""
        self.metrics.show(RELAY_WAITING, waiting.rows)
        self.metrics.show(RELAY_OLDEST, self._age_s(waiting.oldest_at))
        if waiting.rows:
            self._freshness.stale(f"{waiting.rows} messages wait and none goes out")
        else:
            self._freshness.fresh()

    def standing_by(self) -> None:
        """Another relay has the turn, so there is nothing to do here."""
        self.metrics.show(RELAY_WAITING, 0)
        self.metrics.show(RELAY_OLDEST, 0)
        self._freshness.fresh()

    def server_away(self, error: BaseException | None) -> None:
        """Note what keeps messages from going out."""
        self._freshness.stale(str(error))

    def _age_s(self, oldest_at: datetime | None) -> float:
        return 0.0 if oldest_at is None else max(0.0, (self._clock() - oldest_at).total_seconds())
