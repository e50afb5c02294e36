"""Time as the plant's clocks show it, and its shifts; everything that is stored is in UTC."""

import os
from datetime import UTC, datetime, time, timedelta, tzinfo
from functools import cache
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

_THIS_MACHINE = Path("/etc/localtime")


@cache
def zone_named(name: str | None) -> tzinfo:
    """Return a time zone by its IANA name; without one, that of this machine, and UTC where it has none.

    Raises:
        ValueError: There is no such zone.
    """
    if name is None:
        return _zone_of_this_machine()
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"there is no time zone {name!r}") from error


def _zone_of_this_machine() -> tzinfo:
    try:
        if named := os.environ.get("TZ", "").removeprefix(":"):
            return ZoneInfo(named)
        with _THIS_MACHINE.open("rb") as file:
            return ZoneInfo.from_file(file, key="local")
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return UTC


def shift_starts(text: str) -> tuple[time, ...]:
    """Read when the shifts of a day begin, e.g. `06:00,14:00,22:00`.

    Returns:
        Times of day, ascending.

    Raises:
        ValueError: One is not a time of day, or there is none.
    """
    try:
        starts = sorted(time.fromisoformat(one.strip()) for one in text.split(","))
    except ValueError as error:
        raise ValueError(f"{text!r} is not a list of times of day as 06:00,14:00") from error
    if any(start.tzinfo is not None for start in starts):
        raise ValueError("the beginning of a shift has no time zone of its own")
    return tuple(starts)


def shift_began(now: datetime, zone: tzinfo, starts: tuple[time, ...]) -> datetime:
    """Return when the shift of a moment began (UTC).

    Args:
        now: The moment, timezone-aware.
        zone: Of the plant.
        starts: When shifts begin, as `shift_starts` returns them.
    """
    today = now.astimezone(zone).date()
    began = [
        datetime.combine(day, start, zone).astimezone(UTC)
        for day in (today - timedelta(days=1), today)
        for start in starts
    ]
    return max(start for start in began if start <= now)
