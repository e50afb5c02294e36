"""One alert: its frame beside the heatmap, the frames before and after, its facts and what people did with it."""

import io

import numpy as np
import streamlit as st
from PIL import Image

from dashboard import words
from dashboard.data import alerts as data
from dashboard.data import pictures
from dashboard.views import address
from dashboard.views.alert_actions import show_actions
from dashboard.views.calm import Pages, show_away
from infra.errors import DatabaseAwayError
from infra.heatmaps import LOUD, QUIET, overlay
from infra.store.alerts import Alert
from infra.store.tables import AlertKind
from infra.store.verdicts import Verdict

LINK = "alert"  # the name in the address, so that a link to one alert can be shared
WAS_AWAY = "alerts_database_away"
_STRENGTH = "alerts_heat_strength"
_USUAL_STRENGTH = 70
_PICTURE_HEIGHT_PX = 420
_LEAST_WIDTH_PX = 120
_FACTS_IN_A_ROW = 3
_THUMBNAIL_PX = 160
_THUMBNAIL_HEIGHT_PX = 84


def opened_id() -> int | None:
    """Return the number of the alert that the address names; None where it names none."""
    return address.number(LINK)


def show_alert(pages: Pages) -> None:
    """Draw the alert that the address names."""
    if not st.query_params.get(LINK):
        st.caption("Choose an alert in the list to see its frame.")
        return
    try:
        opened = opened_id()
        found = None if opened is None else data.alert(opened)
        if found is None:
            st.info("There is no alert of this number.", icon=":material/search_off:")
            return
        alert, actions = found
        _heading(alert, pages)
        if alert.kind == AlertKind.DRIFT:
            st.caption(words.about_drift(alert.detail))
        if alert.verdict is None:
            st.caption(words.without_verdict(alert.kind))
        else:
            _main_facts(alert.verdict)
            _pictures(alert.verdict)
        show_actions(alert, actions)
        if alert.verdict is not None:
            _frames_around(alert.verdict, pages)
        _facts(alert)
    except DatabaseAwayError:
        st.session_state[WAS_AWAY] = True
        show_away()


def _heading(alert: Alert, pages: Pages) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"#### Alert {alert.id}")
        words.alert_badge(alert.state).show()
        if alert.verdict:
            words.verdict_badge(alert.verdict.state).show()
            _trace_link(alert.verdict, "Trace", pages)


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


def _trace_link(verdict: Verdict, label: str, pages: Pages) -> None:
    """A link to what the verdict stands on; the label is our own words."""
    if (search := pages.get("search")) is not None:
        st.page_link(search, label=label, icon=":material/account_tree:", query_params=address.of_trace(verdict))


def _frames_around(verdict: Verdict, pages: Pages) -> None:
    """The same camera's frames right before and after; a click leads to what is on record about one."""
    around = data.frames_around(verdict)
    if not around:
        return
    st.caption("frames of this camera before and after")
    places = st.columns(2 * data.FRAMES_EACH_SIDE)
    before = [one for one in around if (one.received_at, one.frame_id) < (verdict.received_at, verdict.frame_id)]
    first = data.FRAMES_EACH_SIDE - len(before)  # so that the middle is always between before and after
    for column, near in zip(places[first:], around, strict=False):
        with column, st.container(gap=None):
            with st.container(height=_THUMBNAIL_HEIGHT_PX + 4, border=False, vertical_alignment="bottom"):
                _thumbnail(near)
            words.verdict_badge(near.state).show()
            _trace_link(near, f"{near.received_at.astimezone(words.time_zone()):%H:%M:%S}", pages)


def _thumbnail(verdict: Verdict) -> None:
    small = pictures.small_picture(verdict.archive_ref, _THUMBNAIL_PX) if verdict.archive_ref else None
    if small is None:
        st.caption("not kept")
        return
    with Image.open(io.BytesIO(small)) as opened:
        width, height = opened.size
    st.image(small, width=min(_THUMBNAIL_PX, max(1, width * _THUMBNAIL_HEIGHT_PX // height)), alt="frame nearby")


def _main_facts(verdict: Verdict) -> None:
    """What an alert is judged by, side by side, as many as fit into a row."""
    facts = {
        "score": words.number(verdict.score),
        "threshold": words.number(verdict.threshold),
        "p-value": words.number(verdict.p_value),
        "part": verdict.part_id or "—",
        "camera": verdict.camera,
        "model": "—" if verdict.model_version is None else f"version {verdict.model_version}",
    }
    with st.container(horizontal=True, gap="medium"):
        for name, value in facts.items():
            with st.container(width="content", gap=None):
                st.caption(name, width="content")
                st.text(value, width="content")


def _facts(alert: Alert) -> None:
    zone = words.time_zone()
    verdict = alert.verdict
    facts = {} if verdict else {"camera": alert.camera or "—"}
    facts |= {"product": alert.product or "—", "kind": words.alert_about(alert.kind, alert.detail)}
    if alert.outcome is not None:
        facts |= {"turned out to be": words.alert_outcome(alert.outcome)}
    if alert.run is not None:
        facts |= {"run": alert.run, "missing": f"{alert.missing:,}"}
    if alert.kind == AlertKind.CAMERA_HEALTH:
        facts |= {"trouble": words.trouble(alert.detail)}
    if verdict:
        facts |= {
            "job": verdict.job_id or "—",
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
