"""What a verdict stands on: the chain that `differline trace` prints, with the plant's times."""

from datetime import datetime

import streamlit as st

from dashboard import words
from dashboard.data import pictures
from dashboard.data import search as data
from dashboard.views.calm import Pages
from infra.store.tables import VerdictState
from infra.store.traces import TracedAlert
from infra.trace_words import Chain, Link, chains

_PICTURE_PX = 480
_SHOWN_NAMES = {
    "picture": "Picture",
    "times": "Times",
    "verdict": "Verdict",
    "model": "Model and calibration",
    "in force": "Who put the model in force",
    "other models": "What other models say",
    "alerts": "Alerts",
    "dead letter": "Dead letter",
}


def show_trace(frame_id: str, camera: str, received_at: datetime, pages: Pages) -> None:
    """Draw what is on record about a frame.

    Raises:
        DatabaseAwayError: The database does not answer.
    """
    report = data.trace(frame_id, camera, received_at)
    if not report.trace.found:
        st.info("This frame is not on record.", icon=":material/search_off:")
        return
    for verdict in report.trace.verdicts:
        words.verdict_badge(VerdictState(verdict.state)).show()
        small = pictures.small_picture(verdict.archive_ref, _PICTURE_PX) if verdict.archive_ref else None
        if small is not None:
            st.image(small, width=_PICTURE_PX // 2, alt="frame")
    about = [frame.alerts for frame in report.trace.verdicts] + [frame.alerts for frame in report.trace.dead_letters]
    for alerts in about:
        _alert_links(alerts, pages)
    zone = words.time_zone()
    for chain in chains(report, lambda at: words.local_time(at, zone)):
        _chain(chain)


def _alert_links(alerts: tuple[TracedAlert, ...], pages: Pages) -> None:
    if "alerts" in pages:
        for alert in alerts:
            address = {"alert": str(alert.id), "state": "all"}
            st.page_link(
                pages["alerts"], label=f"Alert {alert.id}", icon=":material/notifications:", query_params=address
            )


def _chain(chain: Chain) -> None:
    for link in chain.links:
        with st.container(border=True, gap="xxsmall"):
            st.caption(f"**{_SHOWN_NAMES[link.name]}**")
            for label, texts in _by_label(link):
                label_side, text_side = st.columns([1, 4], gap="small")
                label_side.caption(label)
                text_side.text("\n".join(texts))


def _by_label(link: Link) -> list[tuple[str, list[str]]]:
    """The texts of each label; the labels are our own words."""
    found: list[tuple[str, list[str]]] = []
    for label, text in link.lines:
        if label or not found:
            found.append((label, []))
        found[-1][1].append(text)
    return found
