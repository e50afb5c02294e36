"""Gaps in the ledger that nobody was told of, and their alerts.

Of a camera's run `missing` frames lie below the last known sequence and are not accounted for; `missing_alerted` of them were
told in an alert. A frame that comes late lowers both (`infra.store.ledger.count`), so a gap that opens after one has closed
is a new one, however small.
"""

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from infra.store.connect import transaction
from infra.store.tables import AlertKind, AlertState, alerts, camera_runs

_MOST = 100  # the others are found once these are told


@dataclass(frozen=True, slots=True)
class Gap:
    """Frames of a run that were accepted and are not accounted for.

    Attributes:
        camera: The camera; empty where its dead letters name none.
        run: The run.
        missing: How many frames.
    """

    camera: str
    run: str
    missing: int


def untold_gaps(engine: sa.Engine) -> list[Gap]:
    """Return runs of which more frames are missing than was told; those with an open alert are left out.

    Raises:
        DatabaseAwayError: PostgreSQL does not answer.
    """
    with transaction(engine) as connection:
        return [Gap(*row) for row in connection.execute(untold_gaps_query())]


def untold_gaps_query() -> sa.Select[*tuple[Any, ...]]:
    """The index of the untold gaps, which is as good as empty; for each of them a step into that of the open alerts."""
    run = camera_runs.c
    is_open = _open_alert_of(run.camera, run.run)
    return (
        sa.select(run.camera, run.run, run.missing)
        .where(run.missing > run.missing_alerted, ~is_open)
        .order_by(run.camera, run.run)
        .limit(_MOST)
    )


def raise_gap_alert(engine: sa.Engine, gap: Gap) -> bool:
    """Open an alert for a gap, unless somebody else has, or it has closed meanwhile.

    One open alert a run is enough to bring somebody to look: what is lost until it is acknowledged is told by the next one. The
    run's row stays locked, so that of several scorers one opens it.

    Returns:
        Whether it was opened here.

    Raises:
        DatabaseAwayError: PostgreSQL does not answer.
    """
    run = camera_runs.c
    this = sa.and_(run.camera == gap.camera, run.run == gap.run)
    with transaction(engine) as connection:
        row = connection.execute(sa.select(camera_runs).where(this).with_for_update()).one()
        missing = min(gap.missing, row.missing)
        if missing <= row.missing_alerted or connection.scalar(sa.select(_open_alert_of(gap.camera, gap.run))):
            return False
        connection.execute(sa.update(camera_runs).where(this).values(missing_alerted=missing))
        alert = {"camera": gap.camera, "product": "", "run": gap.run, "missing": missing}
        # It is about frames that nobody has seen: no id, and the time at which the run was last heard of.
        about = {"received_at": row.updated_at, "frame_id": ""}
        connection.execute(sa.insert(alerts).values(kind=AlertKind.LEDGER_GAP, **alert, **about))
        return True


def _open_alert_of(camera: str | sa.ColumnElement[str], run: str | sa.ColumnElement[str]) -> sa.ColumnElement[bool]:
    # Written out, so that the planner sees that the index of the open alerts of gaps fits.
    open_gap: sa.ColumnElement[bool] = sa.literal_column(
        f"alerts.kind = '{AlertKind.LEDGER_GAP}' AND alerts.state = '{AlertState.OPEN}'"
    )
    return sa.select(alerts.c.id).where(open_gap, alerts.c.camera == camera, alerts.c.run == run).exists()
