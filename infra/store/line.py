"""What a supervisor sees of every camera at once: each in one question for all of them, by index."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from infra.store.connect import transaction
from infra.store.tables import AlertKind, AlertOutcome, AlertState, alerts, camera_runs, verdicts

_CLOCKS_APART = timedelta(hours=1)  # the database's, which opens alerts, and the bus's, which receives frames


@dataclass(frozen=True, slots=True)
class Heard:
    """When a camera was last heard of.

    Attributes:
        at: By ingest or by a scorer (UTC).
        ended: Its newest run was ended on purpose: it has nothing more to say.
    """

    at: datetime
    ended: bool


@dataclass(frozen=True, slots=True)
class OpenAlerts:
    """The alerts of a camera that nobody has acknowledged.

    Attributes:
        count: How many.
        drifts: How many of them are about drift.
        newest_id: The number of the newest one; of those that are not about drift, where there are some.
    """

    count: int
    drifts: int
    newest_id: int


def last_heard(engine: sa.Engine) -> dict[str, Heard]:
    """Return when each camera was last heard of; one whose producer tells of no runs is left out.

    Raises:
        DatabaseAwayError: PostgreSQL does not answer.
    """
    run = camera_runs.c
    newest = (
        sa.select(run.camera, run.updated_at, run.ended_at.is_not(None))
        .distinct(run.camera)
        .where(run.camera != "")
        .order_by(run.camera, run.updated_at.desc())
    )
    with transaction(engine) as connection:
        return {camera: Heard(at, ended) for camera, at, ended in connection.execute(newest)}


def open_alerts(engine: sa.Engine) -> dict[str, OpenAlerts]:
    """Return the open alerts by camera; those of no camera stand under ''.

    Raises:
        DatabaseAwayError: PostgreSQL does not answer.
    """
    with transaction(engine) as connection:
        return {camera: OpenAlerts(*counts) for camera, *counts in connection.execute(open_alerts_query())}


def open_alerts_query() -> sa.Select[*tuple[Any, ...]]:
    """The index of the open alerts."""
    alert = alerts.c
    drift = alert.kind == AlertKind.DRIFT
    newest = sa.func.coalesce(sa.func.max(alert.id).filter(~drift), sa.func.max(alert.id))
    # Written out, so that the planner sees that the index fits.
    is_open: sa.ColumnElement[bool] = sa.literal_column(f"alerts.state = '{AlertState.OPEN}'")
    counts = (sa.func.count(), sa.func.count().filter(drift), newest)
    return sa.select(alert.camera, *counts).where(is_open).group_by(alert.camera)


def false_alarms(engine: sa.Engine, since: datetime) -> dict[str, int]:
    """Return, by camera, how many alerts about frames received since then turned out to be false alarms.

    Raises:
        DatabaseAwayError: PostgreSQL does not answer.
    """
    with transaction(engine) as connection:
        return dict(connection.execute(false_alarms_query(since)).tuples().all())


def false_alarms_query(since: datetime) -> sa.Select[*tuple[Any, ...]]:
    """The end of the index of the false alarms."""
    alert = alerts.c
    was_false: sa.ColumnElement[bool] = sa.literal_column(f"alerts.outcome = '{AlertOutcome.FALSE_ALARM}'")
    chosen = (was_false, alert.opened_at >= since - _CLOCKS_APART, alert.received_at >= since)
    return sa.select(alert.camera, sa.func.count()).where(*chosen).group_by(alert.camera)


def frames_since(engine: sa.Engine, since: datetime) -> dict[str, int]:
    """Return, by camera, how many frames that were received since then have their verdict.

    Raises:
        DatabaseAwayError: PostgreSQL does not answer.
    """
    with transaction(engine) as connection:
        return dict(connection.execute(frames_since_query(since)).tuples().all())


def frames_since_query(since: datetime) -> sa.Select[*tuple[Any, ...]]:
    """The end of the primary key, which has the camera too."""
    verdict = verdicts.c
    return sa.select(verdict.camera, sa.func.count()).where(verdict.received_at >= since).group_by(verdict.camera)
