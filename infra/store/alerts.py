"""Alerts: the list, one of them with its verdict, and what people did with it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from infra.store.audit import ALERT_ACTION, alert_subject, record
from infra.store.connect import transaction
from infra.store.tables import AlertOutcome, AlertState, alert_actions, alerts, models, verdicts
from infra.store.verdicts import Verdict, verdict_columns, verdict_from_row

MAX_REASON = 500
ACKNOWLEDGED_ACTION = "acknowledge"
RESOLVED_ACTION = "resolve"
_LARGEST_ID = 2**63 - 1


@dataclass(frozen=True, slots=True)
class AlertKey:
    """Where an alert stands in the list."""

    opened_at: datetime
    id: int


@dataclass(frozen=True, slots=True)
class Alert:
    """Something that a person should look at; times in UTC.

    Attributes:
        kind: What it is about; see `infra.store.tables.AlertKind`.
        frame_id: Its frame; empty where it is not about one.
        verdict: The verdict of its frame; None where the alert is not about one frame, or the verdict is no longer kept.
        run: The run with the gap, of a `ledger_gap`.
        missing: How many of its frames were missing, of a `ledger_gap`.
        detail: What exactly; of `camera_health` a `CameraTrouble`, of `drift` a `DriftCause`: where to look first.
        outcome: What it turned out to be; None while it is not resolved, and where nobody said.
    """

    id: int
    kind: str
    camera: str
    product: str
    received_at: datetime
    frame_id: str
    state: AlertState
    opened_at: datetime
    verdict: Verdict | None
    run: str | None = None
    missing: int | None = None
    detail: str | None = None
    outcome: AlertOutcome | None = None
    resolved_at: datetime | None = None

    @property
    def key(self) -> AlertKey:
        """Where it stands in the list."""
        return AlertKey(self.opened_at, self.id)


@dataclass(frozen=True, slots=True)
class AlertAction:
    """What somebody did with an alert, when and why."""

    action: str
    who: str
    reason: str
    done_at: datetime


def list_alerts(
    engine: sa.Engine, state: AlertState | None = None, *, after: AlertKey | None = None, limit: int = 50
) -> list[Alert]:
    """Return alerts, newest first.

    Args:
        engine: The database.
        state: Only those; None: all.
        after: The last alert of the page before; None: from the newest.
        limit: Most alerts that are returned.

    Raises:
        DatabaseAwayError: The database does not answer.
    """
    with transaction(engine) as connection:
        rows = connection.execute(list_alerts_query(state, after, limit)).mappings()
        return [_alert_from_row(row) for row in rows]


def list_alerts_query(state: AlertState | None, after: AlertKey | None, limit: int) -> sa.Select[*tuple[Any, ...]]:
    """One page from the index of the list, then one verdict by primary key for each alert of it."""
    page = sa.select(alerts)
    if state is not None:
        # Written out, so that the planner sees that the index of the open alerts fits.
        page = page.where(alerts.c.state == sa.literal_column(f"'{state.value}'"))
    if after is not None:
        page = page.where(sa.tuple_(alerts.c.opened_at, alerts.c.id) < (after.opened_at, after.id))
    page_of = page.order_by(alerts.c.opened_at.desc(), alerts.c.id.desc()).limit(limit).subquery("page")
    return _with_verdict(page_of).order_by(page_of.c.opened_at.desc(), page_of.c.id.desc())


def count_open(engine: sa.Engine) -> int:
    """Return how many alerts nobody has acknowledged.

    Raises:
        DatabaseAwayError: The database does not answer.
    """
    # Written out, so that the planner sees that the index of the open alerts fits.
    query = sa.select(sa.func.count()).select_from(alerts).where(sa.text("state = 'open'"))
    with transaction(engine) as connection:
        return connection.scalar(query) or 0


def opened_since(engine: sa.Engine, kind: str, product: str, since: datetime) -> int:
    """Return how many alerts of a kind were opened about a product since then.

    Raises:
        DatabaseAwayError: PostgreSQL does not answer.
    """
    chosen = (alerts.c.kind == kind, alerts.c.product == product, alerts.c.opened_at > since)
    query = sa.select(sa.func.count()).select_from(alerts).where(*chosen)
    with transaction(engine) as connection:
        return int(connection.scalar(query) or 0)


def alert(engine: sa.Engine, alert_id: int) -> Alert | None:
    """Return one alert; None where there is none of that number.

    Raises:
        DatabaseAwayError: The database does not answer.
    """
    if not 0 <= alert_id <= _LARGEST_ID:
        return None
    one = sa.select(alerts).where(alerts.c.id == alert_id).subquery("one")
    with transaction(engine) as connection:
        row = connection.execute(_with_verdict(one)).mappings().first()
        return _alert_from_row(row) if row else None


def acknowledge(engine: sa.Engine, alert_id: int, who: str, reason: str) -> bool:
    """Acknowledge an open alert and put on record who did it and why, in one transaction.

    Returns:
        False where it was no longer open: somebody was quicker, and nothing was written.

    Raises:
        ValueError: The reason is empty, longer than MAX_REASON characters, or has a NUL.
        LookupError: There is no alert of that number.
        DatabaseAwayError: The database does not answer; to try again is safe.
    """
    text = _checked_reason(reason)
    with transaction(engine) as connection:
        return _moved(connection, alert_id, _Step(ACKNOWLEDGED_ACTION, who, text), _ACKNOWLEDGED)


def acknowledge_many(engine: sa.Engine, alert_ids: Sequence[int], who: str, reason: str) -> int:
    """Acknowledge those of several alerts that are open, for one reason, all in one transaction.

    Returns:
        How many were open.

    Raises:
        ValueError: The reason is empty, longer than MAX_REASON characters, or has a NUL.
        LookupError: There is no alert of one of the numbers; none was acknowledged.
        DatabaseAwayError: The database does not answer; to try again is safe.
    """
    step = _Step(ACKNOWLEDGED_ACTION, who, _checked_reason(reason))
    with transaction(engine) as connection:
        return sum(_moved(connection, each, step, _ACKNOWLEDGED) for each in sorted(set(alert_ids)))


def resolve(engine: sa.Engine, alert_id: int, who: str, reason: str, outcome: AlertOutcome | None = None) -> bool:
    """Say that nothing is left to do about an alert, and what it turned out to be; on record with who and why.

    Returns:
        False where it was resolved before: somebody was quicker, and nothing was written.

    Raises:
        ValueError: The reason is empty, longer than MAX_REASON characters, or has a NUL.
        LookupError: There is no alert of that number.
        DatabaseAwayError: The database does not answer; to try again is safe.
    """
    step = _Step(outcome or RESOLVED_ACTION, who, _checked_reason(reason))
    resolved = {"state": AlertState.RESOLVED, "outcome": outcome, "resolved_at": sa.func.clock_timestamp()}
    with transaction(engine) as connection:
        return _moved(connection, alert_id, step, resolved)


_ACKNOWLEDGED: dict[str, Any] = {"state": AlertState.ACKNOWLEDGED}
_COMES_FROM = {
    AlertState.ACKNOWLEDGED: [AlertState.OPEN],
    AlertState.RESOLVED: [AlertState.OPEN, AlertState.ACKNOWLEDGED],
}


@dataclass(frozen=True, slots=True)
class _Step:
    action: str
    who: str
    reason: str


def _moved(connection: sa.Connection, alert_id: int, step: _Step, values: dict[str, Any]) -> bool:
    """Move an alert on and put it on record; False where it has gone there or further before."""
    if not 0 <= alert_id <= _LARGEST_ID:
        raise LookupError(f"there is no alert {alert_id}")
    before = _COMES_FROM[values["state"]]
    moved = sa.update(alerts).where(alerts.c.id == alert_id, alerts.c.state.in_(before)).values(values)
    if connection.scalar(moved.returning(alerts.c.id)) is None:
        if connection.scalar(sa.select(alerts.c.id).where(alerts.c.id == alert_id)) is None:
            raise LookupError(f"there is no alert {alert_id}")
        return False
    done = sa.insert(alert_actions).values(alert_id=alert_id, action=step.action, who=step.who, reason=step.reason)
    detail = {ALERT_ACTION: connection.execute(done.returning(alert_actions.c.id)).scalar_one()}
    record(connection, step.who, step.action, alert_subject(alert_id), reason=step.reason, detail=detail)
    return True


def actions(engine: sa.Engine, alert_id: int) -> list[AlertAction]:
    """Return what people did with an alert, oldest first.

    Raises:
        DatabaseAwayError: The database does not answer.
    """
    action = alert_actions.c
    query = (
        sa.select(action.action, action.who, action.reason, action.done_at)
        .where(action.alert_id == alert_id)
        .order_by(action.id)
    )
    with transaction(engine) as connection:
        return [AlertAction(**row) for row in connection.execute(query).mappings()]


def _with_verdict(chosen: sa.Subquery) -> sa.Select[*tuple[Any, ...]]:
    key = ("received_at", "camera", "frame_id")
    of_its_frame = sa.and_(*(verdicts.c[name] == chosen.c[name] for name in key))
    joined = chosen.outerjoin(verdicts, of_its_frame).outerjoin(models, models.c.id == verdicts.c.model_id)
    own = [column.label(f"alert_{column.name}") for column in chosen.c]
    return sa.select(*own, *verdict_columns()).select_from(joined)


def _alert_from_row(row: Mapping[Any, Any]) -> Alert:
    own = {name: row[f"alert_{name}"] for name in Alert.__dataclass_fields__ if name != "verdict"}
    has_verdict = row["frame_id"] is not None
    own |= {"state": AlertState(own["state"]), "outcome": AlertOutcome(own["outcome"]) if own["outcome"] else None}
    return Alert(**own, verdict=verdict_from_row(row) if has_verdict else None)


def _checked_reason(reason: str) -> str:
    text = reason.strip()
    if not text:
        raise ValueError("a reason is needed")
    if len(text) > MAX_REASON:
        raise ValueError(f"the reason may have {MAX_REASON} characters, it has {len(text)}")
    if "\0" in text:
        raise ValueError("the reason has a NUL character")
    return text
