"""The reason that stands beside what somebody did."""

MAX_REASON = 500


def checked_reason(reason: str) -> str:
    """Return a reason without the blanks around it.

    Raises:
        ValueError: It is empty, longer than MAX_REASON characters, or has a NUL.
    """
    text = reason.strip()
    if not text or len(text) > MAX_REASON or "\0" in text:
        raise ValueError(f"a reason has 1 to {MAX_REASON} characters, none of them NUL")
    return text
