"""The search page: verdicts by part, frame, camera, verdict, score and time, and what one of them stands on."""

from datetime import UTC, datetime

import pandas as pd
import streamlit as st

from dashboard import words
from dashboard.data import alerts as names
from dashboard.data import search as data
from dashboard.views import address
from dashboard.views.calm import Pages, calmly, show_away
from dashboard.views.trace import show_trace
from dashboard.views.turning import newer_button, older_button
from infra.errors import DatabaseAwayError
from infra.store.search import LONGEST_TEXT, MOST_LOOKED_THROUGH, Found, Search, SearchKey
from infra.store.tables import VerdictState

_TEXTS = ("part", "frame", "camera")
_TIMES = ("from", "to")
_SCORES = ("least", "most")
_ASKED = (*_TEXTS, *_TIMES, *_SCORES, "verdict")  # in the address, so that a search can be shared
_TRACED = ("trace", "of", "at")  # frame, camera and time of receipt of the verdict that is traced
_LAST = "search_last"  # in the session, for who comes back by the navigation
_PAGES = "search_pages"  # in the session: the end of each page before the one shown


def page(pages: Pages) -> None:
    """Draw the page."""
    with calmly():
        if not any(name in st.query_params for name in (*_ASKED, *_TRACED)):
            address.say(**st.session_state.get(_LAST, {}))
        st.session_state[_LAST] = {name: st.query_params.get(name) for name in (*_ASKED, *_TRACED)}
        _form()
        search = _asked()
        if search is None:
            return
        list_side, trace_side = st.columns([4, 5], gap="medium")
        with list_side:
            _found(search)
        with trace_side:
            _traced(pages)


def _form() -> None:
    """Draw what can be searched for; it is what the address says until somebody searches for something else."""
    try:
        cameras = names.cameras_and_products()[0]
    except DatabaseAwayError:
        cameras = []  # the list says it
    _fill()
    with st.form("search_form"):
        part, frame, camera, verdict = st.columns(4)
        part.text_input("Part", key="search_part", max_chars=LONGEST_TEXT)
        frame.text_input("Frame", key="search_frame", max_chars=LONGEST_TEXT)
        chosen = st.session_state["search_camera"]
        known = cameras if chosen in (None, *cameras) else [*cameras, chosen]
        camera.selectbox("Camera", known, index=None, key="search_camera", placeholder="any camera")
        verdict.selectbox(
            "Verdict",
            list(VerdictState),
            index=None,
            key="search_verdict",
            format_func=lambda state: words.verdict_badge(state).label,
            placeholder="any verdict",
        )
        since, until, least, most = st.columns(4)
        zone = datetime.now(words.time_zone()).tzname()
        since.datetime_input(f"From ({zone})", value=None, key="search_from", format="YYYY-MM-DD", step=60)
        until.datetime_input(f"To ({zone})", value=None, key="search_to", format="YYYY-MM-DD", step=60)
        least.number_input("Score from", value=None, key="search_least", format="%.4g", step=0.1)
        most.number_input("Score to", value=None, key="search_most", format="%.4g", step=0.1)
        with st.container(horizontal=True):
            st.form_submit_button("Search", type="primary", icon=":material/search:", on_click=_search)
            st.form_submit_button("Clear", on_click=_clear)


def _fill() -> None:
    """Put what the address says into the fields, where it says something else than at the last look."""
    said = {name: st.query_params.get(name) for name in _ASKED}
    if st.session_state.get("search_said") == said and "search_part" in st.session_state:
        return
    st.session_state["search_said"] = said
    zone = words.time_zone()
    for name in ("part", "frame"):
        st.session_state[f"search_{name}"] = (said[name] or "")[:LONGEST_TEXT].replace("\0", "")
    st.session_state["search_camera"] = address.text("camera")
    st.session_state["search_verdict"] = address.word("verdict", VerdictState)
    for name in _TIMES:
        at = address.moment(name, zone)
        st.session_state[f"search_{name}"] = None if at is None else at.astimezone(zone).replace(tzinfo=None)
    for name in _SCORES:
        st.session_state[f"search_{name}"] = address.real(name)


def _search() -> None:
    """Put into the address what was asked for; the list begins with the newest again."""
    entered = {name: st.session_state[f"search_{name}"] for name in _ASKED}
    zone = words.time_zone()
    said: dict[str, str | None] = {name: (entered[name] or "").strip() for name in _TEXTS}
    said["verdict"] = entered["verdict"]
    for name in _TIMES:
        at: datetime | None = entered[name]
        said[name] = None if at is None else at.replace(tzinfo=zone).isoformat(timespec="minutes")
    for name in _SCORES:
        said[name] = None if entered[name] is None else repr(float(entered[name]))
    address.say(**said, **dict.fromkeys(_TRACED))
    st.session_state[_PAGES] = []


def _clear() -> None:
    address.say(**dict.fromkeys((*_ASKED, *_TRACED)))
    st.session_state[_PAGES] = []
    st.session_state[_LAST] = {}


def _asked() -> Search | None:
    """Return what the address asks for; where it cannot be answered, say why."""
    zone = words.time_zone()
    search = Search(
        frame_id=st.query_params.get("frame") or None,
        part_id=st.query_params.get("part") or None,
        camera=st.query_params.get("camera") or None,
        state=address.word("verdict", VerdictState),
        since=address.moment("from", zone),
        until=address.moment("to", zone),
        least_score=address.real("least"),
        most_score=address.real("most"),
    )
    try:
        return search.checked()
    except ValueError as error:
        st.info(f"Nothing is searched for: {error}.", icon=":material/edit:")
        return None


def _found(search: Search) -> None:
    pages: list[SearchKey] = st.session_state.setdefault(_PAGES, [])
    try:
        found = data.found(search, pages[-1] if pages else None)
    except DatabaseAwayError:
        show_away()
        return
    if found.verdicts:
        _table(found)
    elif not found.gave_up:
        st.info("Nothing more fits." if pages else "No verdict fits.", icon=":material/search_off:")
    if found.verdicts or found.gave_up:
        st.caption(_how_much(found))
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        newer_button(_PAGES, possible=bool(pages))
        st.download_button(
            "Export CSV",
            data.export(search),
            file_name="verdicts.csv",
            mime="text/csv",
            icon=":material/download:",
            on_click="ignore",
            disabled=not found.verdicts and not found.gave_up,
            help=f"All that fits, newest first, at most {data.MOST_ROWS:,} verdicts: the last line says where it was cut off. "
            "Times are in UTC and in the plant's time zone.",
        )
        older_button(_PAGES, found.more, label="Look further back" if found.gave_up else "Older")


def _how_much(found: Found) -> str:
    count = "1 verdict" if len(found.verdicts) == 1 else f"{len(found.verdicts)} verdicts"
    if found.more is None:
        return f"{count}, and no older ones"
    if not found.gave_up:
        return f"{count}, and there are older ones"
    back_to = words.local_time(found.more.received_at, words.time_zone())
    return f"{count} among the {MOST_LOOKED_THROUGH:,} that were looked through, back to {back_to}; there may be older ones"


def _table(found: Found) -> None:
    zone = words.time_zone()
    shown = found.verdicts
    keys = [(one.frame_id, one.camera, one.received_at.astimezone(UTC).isoformat()) for one in shown]
    traced = tuple(st.query_params.get(name, "") for name in _TRACED)
    key = f"search-{hash(tuple(keys))}"
    rows = pd.DataFrame(
        {
            "received": [one.received_at.astimezone(zone).replace(tzinfo=None) for one in shown],
            "verdict": [words.verdict_badge(one.state).label for one in shown],
            "score": [one.score for one in shown],
            "camera": [one.camera for one in shown],
            "part": [one.part_id for one in shown],
            "frame": [one.frame_id for one in shown],
        }
    )
    st.dataframe(
        rows,
        key=key,
        hide_index=True,
        height=min(560, 40 + 35 * len(shown)),
        placeholder="",
        column_config={
            "received": st.column_config.DatetimeColumn(format="YYYY-MM-DD HH:mm:ss", width=144),
            "verdict": st.column_config.TextColumn(width=88),
            "score": st.column_config.NumberColumn(format="%.4g", width=64),
        },
        on_select=lambda: _trace_selected(key, keys),
        selection_mode="single-cell",
        selection_default={"selection": {"cells": [(keys.index(traced), "received")] if traced in keys else []}},
        alt="verdicts, newest first",
    )


def _trace_selected(key: str, keys: list[tuple[str, str, str]]) -> None:
    cells = st.session_state[key].selection.cells
    chosen = keys[cells[0][0]] if cells else (None, None, None)
    address.say(**dict(zip(_TRACED, chosen, strict=True)))


def _traced(pages: Pages) -> None:
    frame_id, camera = address.text("trace"), address.text("of")
    at = address.moment("at", UTC)
    if frame_id is None or camera is None or at is None:
        st.caption("Choose a verdict in the list to see what it stands on.")
        return
    try:
        show_trace(frame_id, camera, at, pages)
    except DatabaseAwayError:
        show_away()
