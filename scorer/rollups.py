"""Keeps the rollups of the verdicts up, beside the scoring: in a thread of its own, since no frame waits for a sum."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta

import sqlalchemy as sa
from structlog.typing import FilteringBoundLogger

from infra.errors import DatabaseAwayError
from infra.store.rolling import roll, waiting

LOOK_EVERY_S = 30.0
OLD_ENOUGH = timedelta(minutes=1)  # ten minutes that go on are counted about ten times, not after every batch
_LONGEST_TURN_S = 5.0
_MOST = 500  # in one turn


class Roller:
    """Counts what is marked; any number of scorers may, and one that falls behind only lets rollups be late."""

    def __init__(
        self, database: sa.Engine, log: FilteringBoundLogger, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        """Begin with nothing to do.

        Args:
            database: Where verdicts and rollups are.
            log: Where events go.
            monotonic: The clock of the turns, in seconds.
        """
        self._database = database
        self._log = log
        self._monotonic = monotonic
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="rollups")
        self._stop = threading.Event()
        self._under_way: Future[int] | None = None
        self._next_look = 0.0

    def look(self) -> None:
        """Begin a turn, at most once in LOOK_EVERY_S and not while one goes on; returns at once."""
        now = self._monotonic()
        if now < self._next_look or (self._under_way and not self._under_way.done()):
            return
        self._next_look = now + LOOK_EVERY_S
        self._under_way = self._thread.submit(self.turn)

    def turn(self, older_than: timedelta = OLD_ENOUGH) -> int:
        """Count what has waited for so long, for a few seconds at most; returns how often ten minutes were counted.

        An absent database is left to whoever scores: nothing is lost, and the next turn goes on.
        """
        end, done = self._monotonic() + _LONGEST_TURN_S, 0
        try:
            for due in waiting(self._database, older_than, _MOST):
                try:
                    done += roll(self._database, due)
                except sa.exc.DBAPIError as error:  # of these ten minutes alone: the others are still counted
                    self._log.error("rollups.failed", camera=due.camera, at=due.at.isoformat(), error=str(error.orig))
                if self._stop.is_set() or self._monotonic() > end:
                    break
        except DatabaseAwayError as error:
            self._log.warning("rollups.away", error=str(error))
        return done

    def close(self) -> None:
        """End with the ten minutes that are being counted."""
        self._stop.set()
        self._thread.shutdown(wait=True, cancel_futures=True)
