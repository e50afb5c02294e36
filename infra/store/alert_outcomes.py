"""What an alert about a frame turned out to be, and what follows for learning: a false alarm may be learned from."""

from dataclasses import dataclass

import sqlalchemy as sa

from infra.store.alerts import Step, alert, move, put_on_record
from infra.store.connect import transaction
from infra.store.curation import KeptFrame, NewDecision, decide_in, kept_frames, latest_decision
from infra.store.reasons import checked_reason
from infra.store.tables import AlertKind, AlertOutcome, AlertState, FrameDecision

_DECISIONS = {
    AlertOutcome.FALSE_ALARM: FrameDecision.RELEASED,
    AlertOutcome.REAL_DEFECT: FrameDecision.REJECTED,
}
_SAID = {AlertOutcome.FALSE_ALARM: "false alarm", AlertOutcome.REAL_DEFECT: "real defect"}


@dataclass(frozen=True, slots=True)
class Judged:
    """What became of it.

    Attributes:
        resolved: False where the alert was resolved before: somebody was quicker, and nothing was written.
        decision: What its picture is now for learning; None where it is not kept, so that nothing was decided.
    """

    resolved: bool
    decision: FrameDecision | None


def judge(engine: sa.Engine, alert_id: int, who: str, reason: str, outcome: AlertOutcome) -> Judged:
    """Resolve an alert about a DEFECT as what it turned out to be, and decide about its picture, in one transaction.

    The picture of a false alarm is released for learning, that of a real defect rejected, where the archive keeps it. One
    that was rejected before stays as it was rejected, also as a challenge part.

    Raises:
        ValueError: The reason is empty, too long or has a NUL, or the alert is not about a DEFECT.
        LookupError: There is no alert of that number.
        DatabaseAwayError: The database does not answer; to try again is safe.
    """
    step = Step(outcome, who, checked_reason(reason))
    found = alert(engine, alert_id)
    if found is None:
        raise LookupError(f"there is no alert {alert_id}")
    if found.kind != AlertKind.DEFECT:
        raise ValueError("only an alert about a defect can be a false alarm or a real defect")
    verdict = found.verdict
    # What is read here never changes: which picture it was, and of which production run.
    kept = kept_frames(engine, found.product, [verdict.sha256]) if verdict and verdict.archive_ref else []
    with transaction(engine) as connection:
        moved = move(connection, [alert_id], AlertState.RESOLVED, outcome)
        if not moved:
            return Judged(resolved=False, decision=None)
        decision = _decide(connection, alert_id, found.product, step, kept[0]) if kept else None
        put_on_record(connection, moved, step)
        return Judged(resolved=True, decision=decision)


def _decide(connection: sa.Connection, alert_id: int, product: str, step: Step, kept: KeptFrame) -> FrameDecision:
    outcome = AlertOutcome(step.action)
    decision = _DECISIONS[outcome]
    before = latest_decision(connection, product, kept.sha256)
    if decision is FrameDecision.REJECTED and before is not None and before.decision is decision:
        return decision
    reason = f"alert {alert_id}, {_SAID[outcome]}: {step.reason}"
    made = NewDecision(product, kept.sha256, decision, step.who, reason, kept.camera, kept.frame_id, kept.run)
    decide_in(connection, [made])
    return decision
