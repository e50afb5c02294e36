"""Watches the ledger for gaps that stand, and raises their alerts."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import sqlalchemy as sa
from structlog.typing import FilteringBoundLogger

from infra.store.gaps import Gap, raise_gap_alert, untold_gaps

STANDS_S = 10.0


@dataclass(frozen=True, slots=True)
class _Seen:
    since: float
    missing: int  # the fewest in all looks since then: so many have been missing all the time


class GapAlarm:
    """Raises an alert for a gap that was there in every look for STANDS_S seconds.

    A camera's frames come in order, but for a moment after the topic has got more partitions, when its old and new frames are
    read side by side: frames that are still to come must not be called lost. `camera_runs.updated_at` cannot tell how long a
    gap has stood, since every batch of a running camera moves it. So each scorer remembers what it saw; a restart begins anew.
    """

    def __init__(
        self, database: sa.Engine, log: FilteringBoundLogger, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        """Begin with nothing seen.

        Args:
            database: Where the ledger is.
            log: Where events go.
            monotonic: The clock, in seconds.
        """
        self._database = database
        self._log = log
        self._monotonic = monotonic
        self._seen: dict[tuple[str, str], _Seen] = {}

    def look(self) -> None:
        """Look at the gaps that nobody was told of; any number of scorers may, one of them raises the alert.

        Raises:
            DatabaseAwayError: PostgreSQL does not answer.
        """
        now = self._monotonic()
        seen: dict[tuple[str, str], _Seen] = {}
        for gap in untold_gaps(self._database):
            before = self._seen.get((gap.camera, gap.run), _Seen(now, gap.missing))
            known = _Seen(before.since, min(before.missing, gap.missing))
            if now - known.since < STANDS_S:
                seen[gap.camera, gap.run] = known
            elif raise_gap_alert(self._database, Gap(gap.camera, gap.run, known.missing)):
                self._log.warning("ledger.gap", camera=gap.camera, run=gap.run, missing=known.missing)
        self._seen = seen
