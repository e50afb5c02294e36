"""What the address of a page says: text from outside, that only counts where it can be what it should be."""

import math
from datetime import UTC, datetime, tzinfo
from enum import StrEnum
from typing import TypeVar

import streamlit as st

from infra.store.verdicts import Verdict

_LONGEST_NUMBER = 20
_LONGEST_TEXT = 500
_EARLIEST_YEAR, _LATEST_YEAR = 1970, 9000
E = TypeVar("E", bound=StrEnum)


def number(name: str) -> int | None:
    """Return a whole number; None where there is none."""
    text = st.query_params.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < _LONGEST_NUMBER else None


def word(name: str, words: type[E]) -> E | None:
    """Return one of the words that are known; None where there is none."""
    try:
        return words(st.query_params.get(name, ""))
    except ValueError:
        return None


def text(name: str) -> str | None:
    """Return a text that a database can hold; None where there is none."""
    found = st.query_params.get(name, "")
    return found if found and "\0" not in found and len(found) <= _LONGEST_TEXT else None


def moment(name: str, zone: tzinfo) -> datetime | None:
    """Return a time in ISO 8601, of this zone where it says none; None where there is none."""
    try:
        at = datetime.fromisoformat(st.query_params.get(name, ""))
        at = (at if at.tzinfo else at.replace(tzinfo=zone)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return at if _EARLIEST_YEAR <= at.year <= _LATEST_YEAR else None  # so that every zone has a date for it


def real(name: str) -> float | None:
    """Return a number that is finite; None where there is none."""
    try:
        value = float(st.query_params.get(name, ""))
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def of_trace(verdict: Verdict) -> dict[str, str]:
    """Return what the address of the search page says to trace a verdict."""
    at = verdict.received_at.isoformat()
    return {"frame": verdict.frame_id, "trace": verdict.frame_id, "of": verdict.camera, "at": at}


def say(**said: str | None) -> None:
    """Change the address: what is None is left out of it."""
    for name, value in said.items():
        if value:
            st.query_params[name] = value
        else:
            st.query_params.pop(name, None)
