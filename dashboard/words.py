"""How verdicts, times and numbers are said; one place, so that every page says them alike.

Badges, labels and captions are Markdown: only our own words go there. What comes from outside goes to `st.text` or a table.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from typing import Literal

import streamlit as st

from dashboard.camera_state import CameraState
from dashboard.sources import sources
from infra.store.tables import (
    AlertKind,
    AlertOutcome,
    AlertState,
    CameraTrouble,
    DriftCause,
    NoVerdictReason,
    VerdictState,
)

BadgeColor = Literal["blue", "orange", "gray"]


@dataclass(frozen=True, slots=True)
class Badge:
    """A word with a sign and a colour, so that nobody has to tell it by the colour alone."""

    label: str
    icon: str
    color: BadgeColor

    def show(self) -> None:
        """Draw it."""
        st.badge(self.label, icon=self.icon, color=self.color)


_VERDICTS = {
    VerdictState.GOOD: Badge("GOOD", ":material/check:", "blue"),
    VerdictState.DEFECT: Badge("DEFECT", ":material/close:", "orange"),
    VerdictState.NO_VERDICT: Badge("NO VERDICT", ":material/question_mark:", "gray"),
}
_ALERTS = {
    AlertState.OPEN: Badge("open", ":material/notifications_active:", "orange"),
    AlertState.ACKNOWLEDGED: Badge("acknowledged", ":material/done_all:", "gray"),
    AlertState.RESOLVED: Badge("resolved", ":material/task_alt:", "gray"),
}
_CAMERAS = {
    CameraState.WELL: Badge("well", ":material/check:", "blue"),
    CameraState.ALERTING: Badge("alerting", ":material/notifications_active:", "orange"),
    CameraState.DRIFTING: Badge("drifting", ":material/trending_up:", "orange"),
    CameraState.SILENT: Badge("silent", ":material/videocam_off:", "orange"),
    CameraState.NO_MODEL: Badge("no model", ":material/question_mark:", "orange"),
    CameraState.AT_REST: Badge("at rest", ":material/pause:", "gray"),
}
_KINDS = {
    AlertKind.DEFECT: "defect",
    AlertKind.DEAD_LETTERS: "dead letters",
    AlertKind.LEDGER_GAP: "frames missing",
    AlertKind.CAMERA_HEALTH: "camera",
    AlertKind.DRIFT: "drift",
}
_ABOUT_NO_VERDICT = {
    AlertKind.DEFECT: "The verdict behind this alert is no longer kept.",
    AlertKind.DEAD_LETTERS: "Too many frames cannot be judged, and the scorers have stopped; the frame below is one of them.",
    AlertKind.LEDGER_GAP: "Frames of this run were accepted and are not accounted for; `differline ledger` shows the books.",
    AlertKind.CAMERA_HEALTH: "This alert is about the camera, not about a part.",
    AlertKind.DRIFT: "The verdict at which the drift was noticed is no longer kept.",
}
_OUTCOMES = {AlertOutcome.FALSE_ALARM: "a false alarm", AlertOutcome.REAL_DEFECT: "a real defect"}
_TROUBLES = {
    CameraTrouble.SILENT: "it sends no more frames, and nobody ended it",
    CameraTrouble.FROZEN: "it sends the same picture again and again",
    CameraTrouble.BLACK: "its pictures are black: light, lens cap, cable?",
    CameraTrouble.OVER_EXPOSED: "its pictures are over-exposed: light, aperture, exposure time?",
    CameraTrouble.OUT_OF_FOCUS: "its pictures are far less sharp than at calibration: lens, dirt, mounting?",
    CameraTrouble.CLOCK_AHEAD: "its clock is ahead of the bus's",
    CameraTrouble.CLOCK_BEHIND: "its clock is behind the bus's, or all its frames wait equally long before they are sent",
}
_CAUSES = {
    DriftCause.LENS_OR_LIGHT: "lens or light",
    DriftCause.PRODUCT: "product",
}
_ABOUT_CAUSE = {
    DriftCause.LENS_OR_LIGHT: (
        "Lens or light: pictures of this camera are no longer as sharp, bright or contrasty as they were. Look there first; "
        "if it is meant to stay so, the model is due for a refit."
    ),
    DriftCause.PRODUCT: (
        "Product: scores of this product are no longer as they were at calibration, and its pictures are as sharp, bright and "
        "contrasty as before. The model is due for a refit."
    ),
}
_REASONS = {
    NoVerdictReason.UNKNOWN_PRODUCT: "the product is not known",
    NoVerdictReason.NO_MODEL: "the product has no model",
    NoVerdictReason.MODEL_REFUSED: "the model was refused",
    NoVerdictReason.SCORE_NOT_FINITE: "the score is not a number",
    NoVerdictReason.BLACK: "the picture is black",
    NoVerdictReason.OVER_EXPOSED: "the picture is over-exposed",
    NoVerdictReason.FROZEN: "the camera sends the same picture again and again",
    NoVerdictReason.LATE: "the frame came too late",
}


def verdict_badge(state: VerdictState) -> Badge:
    """Return the badge of a verdict."""
    return _VERDICTS[state]


def camera_badge(state: CameraState) -> Badge:
    """Return the badge of a camera."""
    return _CAMERAS[state]


def alert_badge(state: AlertState) -> Badge:
    """Return the badge of an alert."""
    return _ALERTS[state]


def alert_kind(kind: str) -> str:
    """Say what an alert is about, in our own words."""
    try:
        return _KINDS[AlertKind(kind)]
    except ValueError:
        return "of a kind that this dashboard does not know"


def alert_outcome(outcome: AlertOutcome) -> str:
    """Say what an alert turned out to be."""
    return _OUTCOMES[outcome]


def drift_cause(cause: str | None) -> str:
    """Say where to look first, in our own words."""
    try:
        return _CAUSES[DriftCause(cause or "")]
    except ValueError:
        return "of a cause that this dashboard does not know"


def about_drift(cause: str | None) -> str:
    """Say what has drifted, and what follows."""
    try:
        return _ABOUT_CAUSE[DriftCause(cause or "")]
    except ValueError:
        return "This dashboard does not know what has drifted."


def alert_about(kind: str, detail: str | None) -> str:
    """Say what an alert is about, and what exactly, where it says so."""
    said = alert_kind(kind)
    if detail is None:
        return said
    return f"{said}: {drift_cause(detail) if kind == AlertKind.DRIFT else trouble_name(detail)}"


def trouble_name(detail: str) -> str:
    """Name what is wrong with a camera, in a word or two of our own."""
    try:
        return CameraTrouble(detail).replace("_", " ")
    except ValueError:
        return "something that this dashboard does not know"


def without_verdict(kind: str) -> str:
    """Say what an alert is about that has no verdict to show."""
    try:
        return _ABOUT_NO_VERDICT[AlertKind(kind)]
    except ValueError:
        return "This dashboard does not know what this alert is about."


def trouble(detail: str | None) -> str:
    """Say what is wrong with a camera, in our own words."""
    try:
        return _TROUBLES[CameraTrouble(detail or "")]
    except ValueError:
        return "something that this dashboard does not know"


def no_verdict_reason(reason: str | None) -> str:
    """Say why there is no verdict, in our own words."""
    try:
        return _REASONS[NoVerdictReason(reason or "")]
    except (ValueError, KeyError):
        return "no verdict, for a reason that this dashboard does not know"


def time_zone() -> tzinfo:
    """Return the plant's time zone: every page says times in it, wherever the browser is."""
    return sources().zone


def local_time(at: datetime | None, zone: tzinfo) -> str:
    """Say a time to the millisecond, with its zone, e.g. `2026-03-01 14:05:09.120 CET`."""
    if at is None:
        return "—"
    local = at.astimezone(zone)
    return f"{local:%Y-%m-%d %H:%M:%S}.{local.microsecond // 1000:03d} {local.tzname() or ''}".rstrip()


def age(elapsed: timedelta) -> str:
    """Say how long ago something was, e.g. `4 s ago`, `12 min ago`; a clock that runs ahead counts as now."""
    seconds = elapsed.total_seconds()
    for unit_s, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * unit_s:
            return f"{int(seconds // unit_s)} {unit} ago"
    return f"{int(seconds)} s ago" if seconds >= 1 else "now"


def number(value: float | None) -> str:
    """Say a score or threshold with four digits; a dash where there is none."""
    return "—" if value is None else f"{value:.4g}"
