"""When people are told: not in quiet hours of the plant's time."""

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta, tzinfo


@dataclass(frozen=True, slots=True)
class QuietHours:
    """A part of each day in which nobody is told; it may go over midnight.

    Attributes:
        begins: Time of day in the plant.
        ends: Time of day in the plant; the same as `begins`: never quiet.
    """

    begins: time
    ends: time

    def over_at(self, moment: datetime, zone: tzinfo) -> datetime:
        """Return when people may be told of what happens at a moment: then, or when the quiet hours around it end (UTC)."""
        local = moment.astimezone(zone)
        if self.begins == self.ends:
            return moment
        for day in (local.date() - timedelta(days=1), local.date()):
            begins = datetime.combine(day, self.begins, zone).astimezone(UTC)
            last = day if self.begins < self.ends else day + timedelta(days=1)
            ends = datetime.combine(last, self.ends, zone).astimezone(UTC)
            if begins <= moment < ends:
                return ends
        return moment


def quiet_hours(text: str) -> QuietHours:
    """Read quiet hours, e.g. `22:00-06:00`.

    Raises:
        ValueError: They are not two times of day.
    """
    begins, dash, ends = text.partition("-")
    try:
        hours = QuietHours(time.fromisoformat(begins.strip()), time.fromisoformat(ends.strip()))
    except ValueError as error:
        raise ValueError(f"{text!r} are no quiet hours as 22:00-06:00") from error
    if not dash or hours.begins.tzinfo is not None or hours.ends.tzinfo is not None:
        raise ValueError(f"{text!r} are no quiet hours as 22:00-06:00")
    return hours
