"""The clock, injected so that tests can set it."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

Clock = Callable[[], datetime]
_STEERED_S = 1.0  # a clock that is steered is a little slow for a while; one that is set jumps
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def utc_now() -> datetime:
    """Return the current time, timezone-aware, in UTC."""
    return datetime.now(UTC)


def whole_milliseconds(time: datetime) -> int:
    """Return the first whole millisecond since 1970 that is not before a time; 0 for anything earlier."""
    return max(0, -((_EPOCH - time) // timedelta(milliseconds=1)))


class ClockWatch:
    """Tells when the clock was set back, by another one that never is.

    Args:
        clock: The time.
        monotonic: Seconds that only grow.
    """

    def __init__(self, clock: Clock = utc_now, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._monotonic = monotonic
        self._wall, self._steady_s = clock(), monotonic()

    def jumped_back_s(self) -> float:
        """Return by how many seconds the clock was set back since the last call; 0.0 where it was not."""
        wall, steady_s = self._clock(), self._monotonic()
        back_s = (steady_s - self._steady_s) - (wall - self._wall).total_seconds()
        self._wall, self._steady_s = wall, steady_s
        return back_s if back_s > _STEERED_S else 0.0
