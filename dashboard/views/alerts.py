"""The alerts page: the list, and one alert with its frame beside the heatmap, to be acknowledged."""

import numpy as np
import pandas as pd
import streamlit as st

from dashboard import words
from dashboard.data import alerts as data
from dashboard.data import pictures
from dashboard.views.calm import Pages, show_away
from infra.errors import DatabaseAwayError
from infra.heatmaps import LOUD, QUIET, overlay
from infra.store.alerts import ACKNOWLEDGED_ACTION, MAX_REASON, Alert, AlertAction, AlertFilter, AlertKey
from infra.store.tables import AlertKind, AlertState
from infra.store.verdicts import Verdict

_REFRESH_S = 3
_SHOWN = {"Open": AlertState.OPEN, "Acknowledged": AlertState.ACKNOWLEDGED, "All": None}
_LINK = "alert"  # the name in the address, so that a link to one alert can be shared
_PAGES = "alert_pages"  # in the session: the last alert of each page before the one shown
_WAS_AWAY = "alerts_database_away"
_OPENED = "alert_just_opened"
_STRENGTH = "heat_strength"
_USUAL_STRENGTH = 70
_PICTURE_HEIGHT_PX = 420
_LEAST_WIDTH_PX = 120
_FACTS_IN_A_ROW = 3
_LONGEST_NUMBER = 20
_DONE = {ACKNOWLEDGED_ACTION: "acknowledged"}


def page(_pages: Pages) -> None:
    """Draw the page: the list runs again by itself, the opened alert stays as it is."""
    list_side, detail_side = st.columns([2, 3], gap="medium")
    with list_side:
        _list()
    with detail_side:
        _detail()


@st.fragment(run_every=_REFRESH_S)
def _list() -> None:
    try:
        _draw_list()
    except DatabaseAwayError:
        st.session_state[_WAS_AWAY] = True
        show_away()
        return
    if st.session_state.pop(_WAS_AWAY, False):
        st.rerun()  # the opened alert, too


def _draw_list() -> None:
    shown = st.segmented_control(
        "Alerts shown",
        list(_SHOWN),
        default="Open",
        required=True,
        key="shown",
        on_change=_first_page,
        label_visibility="collapsed",
        persist_state="session",
    )
    pages: list[AlertKey] = st.session_state.setdefault(_PAGES, [])
    found, more = data.alert_page(AlertFilter(_SHOWN[shown or "Open"]), pages[-1] if pages else None)
    if found:
        _table(found, with_state=shown == "All")
    else:
        st.caption("No open alerts." if shown == "Open" else "None here.")
    waiting = data.open_alerts()
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.button("Newer", icon=":material/chevron_left:", disabled=not pages, on_click=_newer_page)
        st.caption("1 is open" if waiting == 1 else f"{waiting:,} are open")
        st.button(
            "Older",
            icon=":material/chevron_right:",
            icon_position="right",
            disabled=not more,
            on_click=_older_page,
            args=(found[-1].key,) if found else (),
        )


def _first_page() -> None:
    st.session_state[_PAGES] = []


def _newer_page() -> None:
    st.session_state[_PAGES] = st.session_state.get(_PAGES, [])[:-1]


def _older_page(after: AlertKey) -> None:
    st.session_state[_PAGES] = [*st.session_state.get(_PAGES, []), after]


def _table(found: list[Alert], *, with_state: bool) -> None:
    ids = [alert.id for alert in found]
    zone = words.time_zone()
    rows = pd.DataFrame(
        {
            "time": [alert.opened_at.astimezone(zone).replace(tzinfo=None) for alert in found],
            "about": [words.alert_about(alert.kind, alert.detail) for alert in found],
            "camera": [alert.camera for alert in found],
            "part": [alert.verdict.part_id if alert.verdict else None for alert in found],
            "score": [alert.verdict.score if alert.verdict else None for alert in found],
            "state": [words.alert_badge(alert.state).label for alert in found],
        }
    )
    with_kind = ["about"] if any(alert.kind != AlertKind.DEFECT for alert in found) else []
    opened = _opened_id()
    # A row is known by its place, so other alerts are another table: what is selected never slides to another alert.
    key = f"alerts-{hash(tuple(ids))}"
    st.dataframe(
        rows,
        key=key,
        hide_index=True,
        column_order=["time", *with_kind, "camera", "part", "score", *(["state"] if with_state else [])],
        height="content",
        placeholder="",
        column_config={
            "time": st.column_config.DatetimeColumn(format="MM-DD HH:mm:ss", width=112),
            "about": st.column_config.TextColumn(width=136),
            "camera": st.column_config.TextColumn(),
            "part": st.column_config.TextColumn(),
            "score": st.column_config.NumberColumn(format="%.4g", width=64),
            "state": st.column_config.TextColumn(width=96),
        },
        on_select=lambda: _open_selected(key, ids),
        selection_mode="single-cell",  # a click anywhere in a row opens it, and so do the arrow keys
        selection_default={"selection": {"cells": [(ids.index(opened), "time")] if opened in ids else []}},
        alt="alerts, newest first",
    )
    if st.session_state.pop(_OPENED, False):
        st.rerun()  # the opened alert stands outside this fragment


def _open_selected(key: str, ids: list[int]) -> None:
    cells = st.session_state[key].selection.cells
    if cells:
        st.query_params[_LINK] = str(ids[cells[0][0]])
    else:
        st.query_params.pop(_LINK, None)
    st.session_state[_OPENED] = True


def _opened_id() -> int | None:
    text = st.query_params.get(_LINK, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < _LONGEST_NUMBER else None


def _detail() -> None:
    """Draw the alert that the address names."""
    if not st.query_params.get(_LINK):
        st.caption("Choose an alert in the list to see its frame.")
        return
    try:
        opened = _opened_id()
        found = None if opened is None else data.alert(opened)
        if found is None:
            st.info("There is no alert of this number.", icon=":material/search_off:")
            return
        alert, actions = found
        _heading(alert)
        if alert.kind == AlertKind.DRIFT:
            st.caption(words.about_drift(alert.detail))
        if alert.verdict is None:
            st.caption(words.without_verdict(alert.kind))
        else:
            _pictures(alert.verdict)
        _facts(alert)
        _acknowledgement(alert, actions)
    except DatabaseAwayError:
        st.session_state[_WAS_AWAY] = True
        show_away()


def _heading(alert: Alert) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"#### Alert {alert.id}")
        words.alert_badge(alert.state).show()
        if alert.verdict:
            words.verdict_badge(alert.verdict.state).show()


@st.fragment
def _pictures(verdict: Verdict) -> None:
    """Show the frame beside the same frame with its heat; the slider moves only these."""
    frame = pictures.picture(verdict.archive_ref) if verdict.archive_ref else None
    if frame is None:
        st.caption("The picture of this frame is not kept.")
        return
    try:
        heat = pictures.heat(verdict)
    except DatabaseAwayError:
        show_away()
        return
    height, width = frame.shape[:2]
    shown_width = max(_LEAST_WIDTH_PX, width * _PICTURE_HEIGHT_PX // height)  # a wide one fills its column and is lower
    frame_side, heat_side = st.columns(2)
    with frame_side, st.container(width=shown_width):
        st.image(frame, caption="frame", width="stretch", alt="frame")
    with heat_side, st.container(width=shown_width):
        if heat is None:
            st.caption("No heatmap was kept for this frame.")
            return
        strength = st.session_state.get(_STRENGTH, _USUAL_STRENGTH) / 100
        st.image(overlay(frame, heat, strength), caption="where it differs", width="stretch", alt="heatmap")
    legend_side, slider_side = st.columns(2)
    with slider_side:
        st.slider("Strength of the colours, %", 0, 100, _USUAL_STRENGTH, 5, key=_STRENGTH, persist_state="session")
    with legend_side:
        _legend(strength)


def _legend(strength: float) -> None:
    """The colours over middle grey, with the heat that they stand for; the same for every frame."""
    ramp = np.linspace(QUIET, LOUD, 256, dtype=np.float32)[None].repeat(16, axis=0)
    grey = np.full((16, 256, 3), 128, np.uint8)
    st.caption(
        "Heat; 1 is the most on good frames",
        help="The scale belongs to the model and is the same for every frame, so a good part stays without colour.",
    )
    st.image(overlay(grey, ramp, strength), width="stretch", alt="colour scale")
    with st.container(horizontal=True, horizontal_alignment="distribute"):
        st.caption(f"≤ {QUIET:g} quiet", width="content")
        st.caption(f"{(QUIET + LOUD) / 2:g}", width="content")
        st.caption(f"≥ {LOUD:g} loud", width="content")


def _facts(alert: Alert) -> None:
    zone = words.time_zone()
    facts = {
        "camera": alert.camera or "—",
        "product": alert.product or "—",
        "kind": words.alert_about(alert.kind, alert.detail),
    }
    if alert.run is not None:
        facts |= {"run": alert.run, "missing": f"{alert.missing:,}"}
    if alert.kind == AlertKind.CAMERA_HEALTH:
        facts |= {"trouble": words.trouble(alert.detail)}
    verdict = alert.verdict
    if verdict:
        facts |= {
            "score": words.number(verdict.score),
            "threshold": words.number(verdict.threshold),
            "p-value": words.number(verdict.p_value),
            "part": verdict.part_id or "—",
            "job": verdict.job_id or "—",
            "model": "—" if verdict.model_version is None else f"version {verdict.model_version}",
            "captured": words.local_time(verdict.captured_at, zone),
            "received": words.local_time(verdict.received_at, zone),
            "scored": words.local_time(verdict.scored_at, zone),
        }
    facts |= {"alert opened": words.local_time(alert.opened_at, zone)}
    if alert.frame_id:
        facts |= {"frame": alert.frame_id}
    names = list(facts)
    for first in range(0, len(names), _FACTS_IN_A_ROW):
        for column, name in zip(st.columns(_FACTS_IN_A_ROW), names[first : first + _FACTS_IN_A_ROW], strict=False):
            with column, st.container(gap=None):
                st.caption(name)
                st.text(facts[name])


def _acknowledgement(alert: Alert, actions: list[AlertAction]) -> None:
    for action in actions:
        with st.container(border=True, gap=None):
            when = words.local_time(action.done_at, words.time_zone())
            st.text(f"{_DONE.get(action.action, action.action)} by {action.who}, {when}")
            st.text(action.reason)
    if alert.state is not AlertState.OPEN:
        return
    with st.form(f"acknowledge-{alert.id}"):
        reason = st.text_area("Reason", max_chars=MAX_REASON, height=80, placeholder="What it was, what was done")
        if st.form_submit_button("Acknowledge", type="primary", icon=":material/done_all:"):
            _acknowledge(alert.id, reason)


def _acknowledge(alert_id: int, reason: str) -> None:
    if not reason.strip():
        st.error("Write a reason first.", icon=":material/edit:")
        return
    try:
        if not data.acknowledge(alert_id, reason):
            st.toast("Somebody else acknowledged it a moment ago.")
    except DatabaseAwayError:
        st.error("Not saved: the database does not answer. The reason still stands here; try again in a moment.")
        return
    except ValueError as error:
        st.error(f"Not saved: {error}.")
        return
    st.rerun()
