"""The alerts page: the list with its filters, and one alert beside it; some of them can be acknowledged together."""

import pandas as pd
import streamlit as st

from dashboard import access, words
from dashboard.access import Right
from dashboard.data import alerts as data
from dashboard.views import address
from dashboard.views.alert_actions import acknowledge_form
from dashboard.views.alert_detail import LINK, WAS_AWAY, opened_id, show_alert
from dashboard.views.calm import Pages, calmly, show_away
from dashboard.views.turning import newer_button, older_button
from infra.errors import DatabaseAwayError
from infra.store.alerts import Alert, AlertFilter, AlertKey
from infra.store.tables import AlertKind, AlertState

_REFRESH_S = 3
_ANY_STATE = "all"
_SHOWN = {
    "Open": AlertState.OPEN,
    "Acknowledged": AlertState.ACKNOWLEDGED,
    "Resolved": AlertState.RESOLVED,
    "All": None,
}
_FILTERS = ("state", "kind", "camera", "product")  # in the address, so that a filtered list can be shared
_LAST_FILTERS = "alerts_filters"  # in the session, for who comes back by the navigation
_PAGES = "alerts_pages"  # in the session: the last alert of each page before the one shown
_OPENED = "alerts_just_opened"
_SEVERAL = "alerts_several"
_CHOSEN = "alerts_chosen"  # in the session: their numbers, at most data.MOST_AT_ONCE
_SEVERAL_HEIGHT_PX = 320


def page(pages: Pages) -> None:
    """Draw the page: the list runs again by itself, the opened alert stays as it is."""
    with calmly():
        wanted = _filters()
        list_side, detail_side = st.columns([2, 3], gap="medium")
        with list_side:
            several = access.may(Right.INSPECT) and st.session_state.get(_SEVERAL, False)
            # A list to choose from stands still: what is being pointed at must not move.
            st.fragment(_list, run_every=None if several else _REFRESH_S)(wanted, several)
        with detail_side:
            show_alert(pages)


def _filters() -> AlertFilter:
    """Draw the filters; they are what the address says, and changing one changes the address."""
    if not any(name in st.query_params for name in _FILTERS):
        address.say(**st.session_state.get(_LAST_FILTERS, {}))
    wanted = _wanted()
    label = next(name for name, state in _SHOWN.items() if state is wanted.state)
    try:
        cameras, products = data.cameras_and_products()
    except DatabaseAwayError:
        cameras, products = [], []  # the list says it
    state_side, kind_side, camera_side, product_side = st.columns([2, 1, 1, 1], vertical_alignment="center")
    shown = {
        "shown": label,
        "alerts_kind": wanted.kind,
        "alerts_camera": wanted.camera,
        "alerts_product": wanted.product,
    }
    for key, value in shown.items():
        if st.session_state.get(key) != value:
            st.session_state[key] = value
    with state_side:
        st.segmented_control(
            "Alerts shown",
            list(_SHOWN),
            required=True,
            key="shown",
            on_change=_filter_again,
            label_visibility="collapsed",
        )
    with kind_side:
        _choice("Kind", list(AlertKind), "alerts_kind", "any kind")
    with camera_side:
        _choice("Camera", _with(cameras, wanted.camera), "alerts_camera", "any camera")
    with product_side:
        _choice("Product", _with(products, wanted.product), "alerts_product", "any product")
    return wanted


def _choice(label: str, options: list[str], key: str, nothing: str) -> None:
    """Options are plain text in the browser, so that names may be among them."""
    st.selectbox(
        label,
        options,
        index=None,
        key=key,
        format_func=lambda option: words.alert_kind(option) if isinstance(option, AlertKind) else str(option),
        placeholder=nothing,
        on_change=_filter_again,
        label_visibility="collapsed",
    )


def _with(names: list[str], chosen: str | None) -> list[str]:
    return names if chosen is None or chosen in names else [*names, chosen]


def _wanted() -> AlertFilter:
    state = None if st.query_params.get("state") == _ANY_STATE else address.word("state", AlertState) or AlertState.OPEN
    return AlertFilter(state, address.word("kind", AlertKind), address.text("camera"), address.text("product"))


def _filter_again() -> None:
    """Put into the address what was chosen; the list begins with the newest again."""
    state = _SHOWN[st.session_state["shown"] or "Open"]
    said = {
        "state": _ANY_STATE if state is None else state.value,
        **{name: st.session_state.get(f"alerts_{name}") for name in ("kind", "camera", "product")},
    }
    address.say(**said)
    st.session_state[_LAST_FILTERS] = said
    _first_page()


def _list(wanted: AlertFilter, several: bool) -> None:
    try:
        _draw_list(wanted, several=several)
    except DatabaseAwayError:
        st.session_state[WAS_AWAY] = True
        show_away()
        return
    if st.session_state.pop(WAS_AWAY, False):
        st.rerun()  # the opened alert, too


def _draw_list(wanted: AlertFilter, *, several: bool) -> None:
    pages: list[AlertKey] = st.session_state.setdefault(_PAGES, [])
    limit = data.MOST_AT_ONCE if several else data.ALERTS_PER_PAGE
    found, more = data.alert_page(wanted, pages[-1] if pages else None, limit)
    if access.may(Right.INSPECT):
        st.toggle("Select several", key=_SEVERAL, on_change=_begin_choosing)
    if not found:
        st.caption("No open alerts." if wanted == AlertFilter(AlertState.OPEN) else "None here.")
    elif several:
        _table_to_choose_from(found)
    else:
        _table(found, with_state=wanted.state is None)
    _turning(found, more=more, turned=bool(pages))
    if several:
        acknowledge_form(sorted(_chosen([one.id for one in found])), _begin_choosing)
    if st.session_state.pop(_OPENED, False):
        st.rerun()  # the opened alert stands outside this fragment


def _turning(found: list[Alert], *, more: bool, turned: bool) -> None:
    waiting = data.open_alerts()
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        newer_button(_PAGES, possible=turned)
        st.caption("1 is open" if waiting == 1 else f"{waiting:,} are open")
        older_button(_PAGES, found[-1].key if more else None)


def _first_page() -> None:
    st.session_state[_PAGES] = []
    st.session_state[_CHOSEN] = set()


def _begin_choosing() -> None:
    _first_page()
    st.session_state[_OPENED] = True  # the whole page: how often the list runs again is said outside of it


def _rows(found: list[Alert]) -> pd.DataFrame:
    zone = words.time_zone()
    return pd.DataFrame(
        {
            "time": [alert.opened_at.astimezone(zone).replace(tzinfo=None) for alert in found],
            "about": [words.alert_about(alert.kind, alert.detail) for alert in found],
            "camera": [alert.camera for alert in found],
            "part": [alert.verdict.part_id if alert.verdict else None for alert in found],
            "score": [alert.verdict.score if alert.verdict else None for alert in found],
            "state": [words.alert_badge(alert.state).label for alert in found],
        }
    )


_COLUMNS = {
    "time": st.column_config.DatetimeColumn(format="MM-DD HH:mm:ss", width=112),
    "about": st.column_config.TextColumn(width=136),
    "camera": st.column_config.TextColumn(),
    "part": st.column_config.TextColumn(),
    "score": st.column_config.NumberColumn(format="%.4g", width=64),
    "state": st.column_config.TextColumn(width=96),
}


def _shown_columns(found: list[Alert], *, with_state: bool) -> list[str]:
    with_kind = ["about"] if any(alert.kind != AlertKind.DEFECT for alert in found) else []
    return ["time", *with_kind, "camera", "part", "score", *(["state"] if with_state else [])]


def _table(found: list[Alert], *, with_state: bool) -> None:
    ids = [alert.id for alert in found]
    opened = opened_id()
    # A row is known by its place, so other alerts are another table: what is selected never slides to another alert.
    key = f"alerts-{hash(tuple(ids))}"
    st.dataframe(
        _rows(found),
        key=key,
        hide_index=True,
        column_order=_shown_columns(found, with_state=with_state),
        height="content",
        placeholder="",
        column_config=_COLUMNS,
        on_select=lambda: _open_selected(key, ids),
        selection_mode="single-cell",  # a click anywhere in a row opens it, and so do the arrow keys
        selection_default={"selection": {"cells": [(ids.index(opened), "time")] if opened in ids else []}},
        alt="alerts, newest first",
    )


def _open_selected(key: str, ids: list[int]) -> None:
    cells = st.session_state[key].selection.cells
    address.say(**{LINK: str(ids[cells[0][0]]) if cells else None})
    st.session_state[_OPENED] = True


def _table_to_choose_from(found: list[Alert]) -> None:
    ids = [alert.id for alert in found]
    key = f"alerts-several-{hash(tuple(ids))}"
    st.dataframe(
        _rows(found),
        key=key,
        hide_index=True,
        column_order=_shown_columns(found, with_state=True),
        height=min(_SEVERAL_HEIGHT_PX, 40 + 35 * len(found)),
        placeholder="",
        column_config=_COLUMNS,
        on_select=lambda: _choose(key, ids),
        selection_mode="multi-row",
        # What was chosen stays chosen where another alert has come to the list, or left it.
        selection_default={"selection": {"rows": [ids.index(one) for one in sorted(_chosen(ids), reverse=True)]}},
        alt="alerts to choose from, newest first",
    )


def _choose(key: str, ids: list[int]) -> None:
    st.session_state[_CHOSEN] = {ids[row] for row in st.session_state[key].selection.rows}


def _chosen(ids: list[int]) -> set[int]:
    chosen: set[int] = st.session_state.get(_CHOSEN, set())
    return chosen & set(ids)
