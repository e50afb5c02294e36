"""Names that a frame message can carry."""

import unicodedata

from infra.frames import MAX_TEXT


def checked_name(name: str) -> str:
    """Return the name.

    Raises:
        ValueError: It is empty, too long, has a NUL or is not text.
    """
    if not name.strip():
        raise ValueError("is empty")
    if len(name) > MAX_TEXT:
        raise ValueError(f"has {len(name)} characters, at most {MAX_TEXT} are possible")
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in name):  # Cs: bytes that are not UTF-8
        raise ValueError("holds control characters or bytes that are not UTF-8")
    return name
