"""Verdicts that somebody looks for, what one of them stands on, and what was found as CSV."""

from collections.abc import Callable
from datetime import datetime
from functools import partial

import streamlit as st
from streamlit.runtime.scriptrunner import add_script_run_ctx, get_script_run_ctx

from dashboard.access import Right, needs, require
from dashboard.sources import sources
from dashboard.verdict_csv import MOST_LOOKS, MOST_ROWS, ROWS_AT_ONCE, verdict_csv
from infra.store import search as search_store
from infra.store.search import Found, Search, SearchKey
from infra.store.traces import read_trace
from infra.trace_report import TraceReport, looked_up

VERDICTS_PER_PAGE = 50

__all__ = ["MOST_ROWS", "VERDICTS_PER_PAGE", "export", "found", "trace"]


@needs(Right.SEE)
def found(search: Search, after: SearchKey | None) -> Found:
    """Return one page of what was found, newest first.

    Raises:
        ValueError: The search cannot be answered; the text says why.
        DatabaseAwayError: The database does not answer.
    """
    return search_store.search_verdicts(sources().database, search, after=after, limit=VERDICTS_PER_PAGE)


@needs(Right.SEE)
def trace(frame_id: str, camera: str, received_at: datetime) -> TraceReport:
    """Return what is on record about a frame, and what is found of it on disk and in the archive.

    Raises:
        DatabaseAwayError: The database does not answer.
    """
    return _trace(frame_id, camera, received_at)


@st.cache_data(ttl=5.0, max_entries=32, show_spinner=False)
def _trace(frame_id: str, camera: str, received_at: datetime) -> TraceReport:
    at = sources()
    return looked_up(read_trace(at.database, frame_id, camera, received_at=received_at), at.archive)


@needs(Right.SEE)
def export(search: Search) -> Callable[[], bytes]:
    """Return what makes the CSV of a search when it is called: when somebody takes it, and still may.

    What it returns raises AccessDeniedError, ValueError and DatabaseAwayError.
    """
    return partial(_export, get_script_run_ctx(suppress_warning=True), search)


def _export(of_session: object, search: Search) -> bytes:
    """Streamlit calls it in a thread of its own, which knows of no session, and so of nobody who is signed in."""
    before = get_script_run_ctx(suppress_warning=True)
    add_script_run_ctx(ctx=of_session)  # type: ignore[arg-type]
    try:
        require(Right.SEE)
        at = sources()
        pages = search_store.walk(at.database, search, ROWS_AT_ONCE, most_looks=MOST_LOOKS)
        return verdict_csv(pages, at.zone)
    finally:
        add_script_run_ctx(ctx=before)
