"""Cameras in trouble: which ones are silent, and the alert of each trouble, once."""

from datetime import datetime, timedelta

import sqlalchemy as sa

from infra.store.connect import transaction
from infra.store.tables import AlertKind, AlertState, CameraTrouble, alerts, camera_runs

_FORGOTTEN = timedelta(days=1)  # silent for longer: it was told, or nobody was there to tell


def silent_cameras(engine: sa.Engine, after: timedelta) -> list[tuple[str, datetime]]:
    """Return the cameras whose newest run was not ended, and that were last heard of so long ago; at most a day.

    A run that was heard of in the future, before the clock was set back, is neither silent nor the newest one.

    Returns:
        Camera, and when it was last heard of (UTC).

    Raises:
        DatabaseAwayError: PostgreSQL does not answer.
    """
    run = camera_runs.c
    now = sa.func.clock_timestamp()
    newest = (
        sa.select(run.camera, sa.func.max(run.updated_at).label("heard"))
        .where(run.updated_at > now - _FORGOTTEN, run.updated_at <= now, run.camera != "")
        .group_by(run.camera)
        .subquery()
    )
    query = (
        sa.select(run.camera, run.updated_at)
        .join(newest, sa.and_(newest.c.camera == run.camera, newest.c.heard == run.updated_at))
        .where(run.ended_at.is_(None), run.updated_at < now - after)
        .order_by(run.camera)
    )
    with transaction(engine) as connection:
        return [(camera, heard) for camera, heard in connection.execute(query)]


def raise_trouble(
    engine: sa.Engine,
    camera: str,
    trouble: CameraTrouble,
    received_at: datetime,
    *,
    frame_id: str = "",
    product: str = "",
    told_since: datetime | None = None,
) -> bool:
    """Open an alert about a camera, unless one about this trouble is open.

    Args:
        engine: The database.
        camera: Which camera.
        trouble: What is wrong with it.
        received_at: When its frame was received; for a silent one, when it was last heard of.
        frame_id: The frame; empty where it is about none.
        product: The frame's product.
        told_since: Also not where one was opened since then, whatever became of it.

    Returns:
        Whether it was opened here.

    Raises:
        DatabaseAwayError: PostgreSQL does not answer.
    """
    alert = alerts.c
    # Written out, so that the planner sees that the index of these alerts fits.
    of_health: sa.ColumnElement[bool] = sa.literal_column(f"alerts.kind = '{AlertKind.CAMERA_HEALTH}'")
    told: sa.ColumnElement[bool] = alert.state == AlertState.OPEN
    if (
        told_since is not None
    ):  # what was opened in the future, before the clock was set back, is about an earlier silence
        told = told | sa.and_(alert.opened_at > told_since, alert.opened_at <= sa.func.clock_timestamp())
    already = sa.select(alert.id).where(of_health, alert.camera == camera, alert.detail == trouble, told).limit(1)
    with transaction(engine) as connection:
        connection.execute(_LOCK, {"camera": camera})
        if connection.scalar(already) is not None:
            return False
        row = {
            "camera": camera,
            "product": product,
            "received_at": received_at,
            "frame_id": frame_id,
            "detail": trouble,
        }
        connection.execute(sa.insert(alerts).values(kind=AlertKind.CAMERA_HEALTH, **row))
        return True


_LOCK = sa.text("SELECT pg_advisory_xact_lock(hashtext('camera_health'), hashtext(:camera))")
