"""Tells the ledger how many frames of a run the bus acknowledged, beside the stream of frames and never in its way."""

import threading
from collections.abc import Callable
from types import TracebackType

import tenacity

from infra.errors import DatabaseAwayError
from infra.telemetry import get_logger

_INTERVAL_S = 1.0
_LAST_WORD_S = 10.0  # how long the end of a run waits for a database that is away

_log = get_logger("ingest")


class AcceptedReporter:
    """Reports the latest count about once a second from a thread of its own.

    A database that is away may take seconds to say so; frames must not wait for it, hence the thread. A count that could not
    be told is told later, the last one when the reporter is closed. Use as a context manager.
    """

    def __init__(
        self,
        tell: Callable[[int], None],
        *,
        interval_s: float = _INTERVAL_S,
        last_word_s: float = _LAST_WORD_S,
    ) -> None:
        """Put a reporter together; it starts when entered.

        Args:
            tell: Stores the count; raises DatabaseAwayError while the database is away.
            interval_s: Least time between two reports.
            last_word_s: How long the last report is tried at the end.
        """
        self._tell = tell
        self._interval_s = interval_s
        self._last_word_s = last_word_s
        self._accepted = 0
        self._told: int | None = None
        self._away = False
        self._failure: Exception | None = None
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._work, name="accepted-reporter", daemon=True)

    def __enter__(self) -> "AcceptedReporter":
        self._thread.start()
        return self

    def accepted(self, count: int) -> None:
        """Note the number of frames acknowledged so far.

        Raises:
            Exception: What an earlier report failed with, unless it was DatabaseAwayError.
        """
        if self._failure is not None:
            raise self._failure
        self._accepted = count

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._closing.set()
        self._thread.join()
        if self._failure is None:
            self._last_word()
        elif error is None:
            raise self._failure

    def _work(self) -> None:
        try:
            self._report()
            while not self._closing.wait(self._interval_s):
                self._report()
        except Exception as error:  # handed to the thread that counts, which raises it
            self._failure = error

    def _report(self) -> None:
        accepted = self._accepted
        if accepted == self._told:
            return
        try:
            self._tell(accepted)
        except DatabaseAwayError as error:
            if not self._away:
                _log.warning("count_not_told", accepted=accepted, reason=str(error))
            self._away = True
            return
        self._told, self._away = accepted, False

    def _last_word(self) -> None:
        if self._told == self._accepted:
            return
        try:
            tenacity.Retrying(
                retry=tenacity.retry_if_exception_type(DatabaseAwayError),
                wait=tenacity.wait_random_exponential(multiplier=0.2, max=2.0),
                stop=tenacity.stop_after_delay(self._last_word_s),
                reraise=True,
            )(self._tell, self._accepted)
        except DatabaseAwayError as error:
            _log.error("last_count_not_told", accepted=self._accepted, reason=str(error))
