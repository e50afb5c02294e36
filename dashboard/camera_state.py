"""How a camera stands, in one word, from what is known of it."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from infra.store.line import Heard, OpenAlerts
from infra.store.tables import NoVerdictReason
from infra.store.verdicts import Verdict

_FORGOTTEN = timedelta(days=1)  # as for the scorers: silent for longer, it was told, or nobody was there to tell
_NO_MODEL = (NoVerdictReason.NO_MODEL, NoVerdictReason.UNKNOWN_PRODUCT, NoVerdictReason.MODEL_REFUSED)


class CameraState(StrEnum):
    """One word for a camera; where several are true, the first of them in this order.

    What makes the rest meaningless comes first: of a silent camera nothing is known, and without a model nothing is judged.
    Then what somebody must look at, and what they should look at soon. A camera at rest is not called well: nobody knows.
    """

    SILENT = "silent"  # it should send frames and does not
    NO_MODEL = "no model"  # its newest frame was not judged for want of one
    ALERTING = "alerting"  # an open alert about something other than drift
    DRIFTING = "drifting"  # an open alert, about drift alone
    AT_REST = "at rest"  # its run was ended, or it has been silent for more than a day, or has never sent a frame
    WELL = "well"


NOT_WELL = (CameraState.SILENT, CameraState.NO_MODEL, CameraState.ALERTING, CameraState.DRIFTING)


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a camera.

    Attributes:
        heard: When it was last heard of; None from a producer that tells of no runs.
        verdict: Its newest verdict.
        alerts: Its open alerts; None where there is none.
    """

    heard: Heard | None
    verdict: Verdict | None
    alerts: OpenAlerts | None


def camera_state(known: Known, now: datetime, silent_after: timedelta | None) -> CameraState:
    """Say how a camera stands.

    Args:
        known: What is known of it.
        now: The time (UTC).
        silent_after: How long it may say nothing; None: for ever.
    """
    quiet_for = _quiet_for(known, now)
    ended = known.heard is not None and known.heard.ended
    at_rest = quiet_for is None or ended or quiet_for > _FORGOTTEN
    if quiet_for is not None and silent_after is not None and not at_rest and quiet_for > silent_after:
        return CameraState.SILENT
    if known.verdict is not None and known.verdict.reason in _NO_MODEL and not at_rest:
        return CameraState.NO_MODEL
    if known.alerts is not None:
        return CameraState.DRIFTING if known.alerts.drifts == known.alerts.count else CameraState.ALERTING
    return CameraState.AT_REST if at_rest else CameraState.WELL


def _quiet_for(known: Known, now: datetime) -> timedelta | None:
    """How long nothing was heard of it; None where nothing ever was."""
    times = [known.heard.at] if known.heard else []
    times += [known.verdict.received_at] if known.verdict else []
    return now - max(times) if times else None
