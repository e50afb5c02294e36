"""The clock, injected so that tests can set it."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

Clock = Callable[[], datetime]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def utc_now() -> datetime:
    """Return the current time, timezone-aware, in UTC."""
    return datetime.now(UTC)


def whole_milliseconds(time: datetime) -> int:
    """Return the first whole millisecond since 1970 that is not before a time; 0 for anything earlier."""
    return max(0, -((_EPOCH - time) // timedelta(milliseconds=1)))
