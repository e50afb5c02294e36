"""Text from outside, shown as text: no control character of it reaches a terminal."""

from datetime import UTC, datetime


def printable(text: str) -> str:
    """Return a text on one line, with what has no sign of its own (control characters, line ends, direction marks) escaped."""
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)


def moment(at: datetime) -> str:
    """Return a time in UTC, to the millisecond."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}"[:-3] + " UTC"
