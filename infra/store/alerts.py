"""Alerts: the list, one of them with its verdict, and what people did with it."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from infra.store.audit import ALERT_ACTION, alert_subject, record
from infra.store.connect import transaction
from infra.store.reasons import checked_reason
from infra.store.tables import AlertKind, AlertOutcome, AlertState, alert_actions, alerts, models, verdicts
from infra.store.verdicts import Verdict, verdict_columns, verdict_from_row

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
class AlertFilter:
    """Which alerts of the list are wanted; None: any."""

    state: AlertState | None = None
    kind: AlertKind | None = None
    camera: str | None = None
    product: str | None = None


@dataclass(frozen=True, slots=True)
class AlertAction:
    """What somebody did with an alert, when and why."""

    action: str
    who: str
    reason: str
    done_at: datetime


def list_alerts(
    engine: sa.Engine, wanted: AlertFilter | None = None, *, after: AlertKey | None = None, limit: int = 50
) -> list[Alert]:
    """Return alerts, newest first.

    Args:
        engine: The database.
        wanted: Which; None: all.
        after: The last alert of the page before; None: from the newest.
        limit: Most alerts that are returned.

    Raises:
        DatabaseAwayError: The database does not answer.
    """
    with transaction(engine) as connection:
        rows = connection.execute(list_alerts_query(wanted or AlertFilter(), after, limit)).mappings()
        return [_alert_from_row(row) for row in rows]


def list_alerts_query(wanted: AlertFilter, after: AlertKey | None, limit: int) -> sa.Select[*tuple[Any, ...]]:
    """One page from an index of the list, then one verdict by primary key for each alert of it."""
    page = sa.select(alerts)
    if wanted.state is not None:
        # Written out, so that the planner sees that the index of the open alerts fits, or the one of the others.
        page = page.where(alerts.c.state == sa.literal_column(f"'{AlertState(wanted.state).value}'"))
    for name in ("kind", "camera", "product"):
        if (value := getattr(wanted, name)) is not None:
            page = page.where(alerts.c[name] == value)
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
    return acknowledge_many(engine, [alert_id], who, reason) == 1


def acknowledge_many(engine: sa.Engine, alert_ids: Collection[int], who: str, reason: str) -> int:
    """Acknowledge those of several alerts that are open, for one reason, all in one transaction.

    Returns:
        How many were open.

    Raises:
        ValueError: The reason is empty, longer than MAX_REASON characters, or has a NUL.
        LookupError: There is no alert of one of the numbers; none was acknowledged.
        DatabaseAwayError: The database does not answer; to try again is safe.
    """
    step = Step(ACKNOWLEDGED_ACTION, who, checked_reason(reason))
    with transaction(engine) as connection:
        moved = move(connection, alert_ids, AlertState.ACKNOWLEDGED)
        put_on_record(connection, moved, step)
        return len(moved)


def resolve(engine: sa.Engine, alert_id: int, who: str, reason: str) -> bool:
    """Say that nothing is left to do about an alert; on record with who and why.

    What it turned out to be is said by `infra.store.alert_outcomes.judge`.

    Returns:
        False where it was resolved before: somebody was quicker, and nothing was written.

    Raises:
        ValueError: The reason is empty, longer than MAX_REASON characters, or has a NUL.
        LookupError: There is no alert of that number.
        DatabaseAwayError: The database does not answer; to try again is safe.
    """
    step = Step(RESOLVED_ACTION, who, checked_reason(reason))
    with transaction(engine) as connection:
        moved = move(connection, [alert_id], AlertState.RESOLVED)
        put_on_record(connection, moved, step)
        return bool(moved)


@dataclass(frozen=True, slots=True)
class Step:
    """What somebody does with alerts, and why."""

    action: str
    who: str
    reason: str


_COMES_FROM = {
    AlertState.ACKNOWLEDGED: [AlertState.OPEN],
    AlertState.RESOLVED: [AlertState.OPEN, AlertState.ACKNOWLEDGED],
}


def move(
    connection: sa.Connection, alert_ids: Collection[int], to: AlertState, outcome: AlertOutcome | None = None
) -> list[int]:
    """Move alerts on; call `put_on_record` in the same transaction, when all of its other rows are written.

    They are locked in the order of their numbers, before anybody waits for the audit log: two people who acknowledge the
    same alerts at once wait for each other in turn, never in a circle.

    Returns:
        The numbers of those that moved, ascending; the others have gone there or further before.

    Raises:
        LookupError: There is no alert of one of the numbers.
    """
    wanted = sorted(set(alert_ids))
    valid = [number for number in wanted if 0 <= number <= _LARGEST_ID]
    these = alerts.c.id == sa.any_(sa.literal(valid, sa.ARRAY(sa.BigInteger)))
    # One by one in this order: an UPDATE of them all would lock them in whatever order it meets them.
    found = connection.execute(
        sa.select(alerts.c.id, alerts.c.state).where(these).order_by(alerts.c.id).with_for_update()
    )
    states = {number: AlertState(state) for number, state in found}
    if missing := [number for number in wanted if number not in states]:
        raise LookupError(f"there is no alert {missing[0]}")
    moving = [number for number in wanted if states[number] in _COMES_FROM[to]]
    if moving:
        values: dict[str, Any] = {"state": to}
        if to is AlertState.RESOLVED:
            values |= {"outcome": outcome, "resolved_at": sa.func.clock_timestamp()}
        of_these = alerts.c.id == sa.any_(sa.literal(moving, sa.ARRAY(sa.BigInteger)))
        connection.execute(sa.update(alerts).where(of_these).values(values))
    return moving


def put_on_record(connection: sa.Connection, moved: Sequence[int], step: Step) -> None:
    """Put on record what somebody did with alerts, as the last step of a transaction: it holds the audit log from then on."""
    if not moved:
        return
    rows = [{"alert_id": each, "action": step.action, "who": step.who, "reason": step.reason} for each in moved]
    added = sa.insert(alert_actions).returning(alert_actions.c.alert_id, alert_actions.c.id)
    for alert_id, action_id in sorted(tuple(row) for row in connection.execute(added, rows)):
        detail = {ALERT_ACTION: action_id}
        record(connection, step.who, step.action, alert_subject(alert_id), reason=step.reason, detail=detail)


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
