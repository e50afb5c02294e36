"""What people did with an alert, and the forms to do it."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Literal

import streamlit as st

from dashboard import access, words
from dashboard.access import Right
from dashboard.data import alerts as data
from infra.errors import AccessDeniedError, DatabaseAwayError
from infra.store.alerts import ACKNOWLEDGED_ACTION, RESOLVED_ACTION, Alert, AlertAction
from infra.store.reasons import MAX_REASON
from infra.store.tables import AlertKind, AlertOutcome, AlertState

_DONE = {
    ACKNOWLEDGED_ACTION: "acknowledged",
    RESOLVED_ACTION: "resolved",
    AlertOutcome.FALSE_ALARM: "resolved as a false alarm",
    AlertOutcome.REAL_DEFECT: "resolved as a real defect",
}
_BUTTONS = {
    ACKNOWLEDGED_ACTION: ("Acknowledge", ":material/done_all:"),
    RESOLVED_ACTION: ("Resolve", ":material/task_alt:"),
    AlertOutcome.FALSE_ALARM: ("False alarm", ":material/thumb_up:"),
    AlertOutcome.REAL_DEFECT: ("Real defect", ":material/report:"),
}
_QUICKER = "Somebody else was quicker; nothing of yours was written."


def show_actions(alert: Alert, actions: list[AlertAction]) -> None:
    """Draw what was done, and a form for what can be done yet by who is looking."""
    for action in actions:
        with st.container(border=True, gap=None):
            when = words.local_time(action.done_at, words.time_zone())
            st.text(f"{_DONE.get(action.action, action.action)} by {action.who}, {when}")
            st.text(action.reason)
    if alert.state is not AlertState.RESOLVED and access.may(Right.INSPECT):
        _form(alert)


def _form(alert: Alert) -> None:
    pressed: str | None = None
    with st.form(f"alerts-act-{alert.id}-{alert.state}"):
        reason = st.text_area("Reason", max_chars=MAX_REASON, height=80, placeholder="What it was, what was done")
        with st.container(horizontal=True):
            for action in _possible(alert):
                label, icon = _BUTTONS[action]
                kind: Literal["primary", "secondary"] = "primary" if action == ACKNOWLEDGED_ACTION else "secondary"
                if st.form_submit_button(label, icon=icon, type=kind):
                    pressed = action
        if alert.kind == AlertKind.DEFECT:
            st.caption(_what_follows(alert))
    if pressed is not None and _did(partial(_do, alert.id, pressed), reason):
        st.rerun()


def _possible(alert: Alert) -> Iterator[str]:
    if alert.state is AlertState.OPEN:
        yield ACKNOWLEDGED_ACTION
    if alert.kind == AlertKind.DEFECT:
        yield from AlertOutcome
    yield RESOLVED_ACTION


def _do(alert_id: int, action: str, reason: str) -> bool:
    """Do it; False where somebody was quicker."""
    if action == ACKNOWLEDGED_ACTION:
        return data.acknowledge([alert_id], reason) == 1
    if action == RESOLVED_ACTION:
        return data.resolve(alert_id, reason)
    return data.judge(alert_id, reason, AlertOutcome(action)).resolved


def _what_follows(alert: Alert) -> str:
    if alert.verdict is None or alert.verdict.archive_ref is None:
        return (
            "“False alarm” and “Real defect” resolve the alert. Its picture is not kept, so nothing is learned from it."
        )
    return (
        "“False alarm” also releases the picture for learning, “Real defect” rejects it, with this reason; both resolve the "
        "alert. “Resolve” says nothing about the picture."
    )


def _did(ask: Callable[[str], bool], reason: str) -> bool:
    """Do what was asked for; where it is refused, say why and keep what was typed.

    Returns:
        Whether the page is to be drawn anew: it was done, or who asked may not do it any more.
    """
    if not reason.strip():
        st.error("Write a reason first.", icon=":material/edit:")
        return False
    try:
        if not ask(reason):
            st.toast(_QUICKER)
    except DatabaseAwayError:
        st.error("Not saved: the database does not answer. The reason still stands here; try again in a moment.")
        return False
    except AccessDeniedError as error:
        if access.may(Right.INSPECT):  # so not for ever: the sign-in service may be away
            st.error(f"Not saved: {error}.")
            return False
        st.toast(f"Not saved: {error}.", icon=":material/block:", duration="long")  # the form goes
    except ValueError as error:
        st.error(f"Not saved: {error}.")
        return False
    except LookupError:
        st.error("Not saved: there is no such alert any more.")
        return False
    return True


def acknowledge_form(chosen: list[int], done: Callable[[], None]) -> None:
    """Draw the form that acknowledges several alerts for one reason.

    Args:
        chosen: Their numbers.
        done: Called when they are acknowledged, before the page is drawn again.
    """
    with st.form("alerts-acknowledge-many"):
        reason = st.text_area(
            "Reason for all of them", max_chars=MAX_REASON, height=80, placeholder="What it was, what was done"
        )
        label = "Acknowledge 1 alert" if len(chosen) == 1 else f"Acknowledge {len(chosen)} alerts"
        pressed = st.form_submit_button(
            label if chosen else "Acknowledge",
            type="primary",
            icon=":material/done_all:",
            key="alerts_acknowledge_many",
        )
    if not pressed:
        return
    if not chosen:
        st.error("Select alerts in the list first.", icon=":material/checklist:")
    elif _did(lambda why: _acknowledged_all(chosen, why), reason):
        done()
        st.rerun()


def _acknowledged_all(chosen: list[int], reason: str) -> bool:
    acknowledged = data.acknowledge(chosen, reason)
    others = len(chosen) - acknowledged
    st.toast(f"{acknowledged} acknowledged" + (f"; {others} were no longer open" if others else ""))
    return True
