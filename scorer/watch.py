"""What a scorer tells of itself: its metrics, and whether results are fresh."""

import time
from collections import Counter
from collections.abc import Callable, Mapping

from infra.clock import Clock, utc_now
from infra.errors import BusAwayError, BusFullError, DatabaseAwayError
from infra.metrics import (
    SCORER_AWAY,
    SCORER_BATCH,
    SCORER_DEAD_LETTERS,
    SCORER_DRIFT,
    SCORER_DUPLICATES,
    SCORER_FENCED,
    SCORER_FRAMES,
    SCORER_LATENCY,
    SCORER_PARTITIONS,
    SCORER_STAGE,
    SCORER_WAITING,
    Metrics,
    Service,
)
from infra.monitoring import Freshness
from infra.store.drift import DriftRow
from infra.store.results import Batch, Written
from infra.store.tables import VerdictState

LOOK_EVERY_S = 5.0
_DATABASE, _BUS = "database", "bus"
_MOST_DRIFTS = 1000  # series of the gauge: cameras and products are named by whoever sends frames


class ScorerWatch:
    """Counts what a scorer does; healthy while batches are committed, or nothing waits on a bus that answers."""

    def __init__(self, stale_s: float, clock: Clock = utc_now, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Begin healthy, with nothing counted.

        Args:
            stale_s: How old the last result may be while frames wait, in seconds.
            clock: The time that captured frames are compared with.
            monotonic: Clock of the freshness, in seconds.
        """
        self.metrics = Metrics(Service.SCORER)
        self._freshness = Freshness(stale_s, monotonic)
        self._clock = clock
        self._monotonic = monotonic
        self._next_look = 0.0
        self._stages: dict[str, float] = {}
        self._drifts: set[tuple[str, str, str]] = set()
        for state in VerdictState:
            self.metrics.count(SCORER_FRAMES, 0, state=state)  # a rate begins at the first frame, not behind it
        self.server_back()

    def health(self) -> str | None:
        """Return None while results are fresh, else why not, in one line."""
        return self._freshness.health()

    def look_due(self) -> bool:
        """Tell whether the bus should be asked again what waits; at most once in LOOK_EVERY_S."""
        due = self._monotonic() >= self._next_look
        if due:
            self._next_look = self._monotonic() + LOOK_EVERY_S
        return due

    def looked(self, partitions: int, waiting: int) -> None:
        """Note what the bus says: how many partitions are ours, and how many frames wait in them."""
        self.metrics.show(SCORER_PARTITIONS, partitions)
        self.metrics.show(SCORER_WAITING, waiting)
        if waiting:
            self._freshness.stale(f"{waiting} frames wait and none is judged")
        else:
            self._freshness.fresh()

    def stored(self, batch: Batch, written: Written, stage_seconds: Mapping[str, float]) -> None:
        """Count a batch that was committed.

        Args:
            batch: What was judged.
            written: What of it was new.
            stage_seconds: Seconds by stage, added up since the start.
        """
        self._freshness.fresh()
        for state, frames in Counter(str(row.state) for row in batch.verdicts).items():
            self.metrics.count(SCORER_FRAMES, frames, state=state)
        for reason, frames in Counter(str(row.reason) for row in batch.dead_letters).items():
            self.metrics.count(SCORER_DEAD_LETTERS, frames, reason=reason)
        self.metrics.count(SCORER_DUPLICATES, written.duplicates)
        self.metrics.observe(SCORER_BATCH, len(batch.verdicts) + len(batch.dead_letters))
        now = self._clock()
        for row in batch.verdicts:
            self.metrics.observe(SCORER_LATENCY, max(0.0, (now - row.captured_at).total_seconds()))
        for stage, seconds in stage_seconds.items():
            self.metrics.count(SCORER_STAGE, seconds - self._stages.get(stage, 0.0), stage=stage)
            self._stages[stage] = seconds

    def drifts(self, row: DriftRow) -> None:
        """Show a drift state that has moved on; beyond a bound no further camera and product is shown."""
        key = (row.camera, row.product, str(row.kind))
        if key in self._drifts or len(self._drifts) < _MOST_DRIFTS:
            self._drifts.add(key)
            self.metrics.show(SCORER_DRIFT, row.wealth, camera=row.camera, product=row.product, kind=row.kind)

    def fenced(self) -> None:
        """Count a batch that another scorer's claim rolled back."""
        self.metrics.count(SCORER_FENCED)

    def server_away(self, error: BaseException | None) -> None:
        """Note a server that does not answer, and why."""
        if isinstance(error, DatabaseAwayError):
            self.metrics.show(SCORER_AWAY, 1, server=_DATABASE)
        if isinstance(error, BusAwayError | BusFullError):
            self.metrics.show(SCORER_AWAY, 1, server=_BUS)
        self._freshness.stale(str(error))

    def server_back(self) -> None:
        """Note that all servers answer."""
        self.metrics.show(SCORER_AWAY, 0, server=_DATABASE)
        self.metrics.show(SCORER_AWAY, 0, server=_BUS)
