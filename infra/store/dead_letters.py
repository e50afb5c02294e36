"""The limit of dead letters, over all scorers: a bad release must not dead-letter a whole shift."""

from datetime import datetime

import sqlalchemy as sa

from infra.errors import DeadLetterLimitError
from infra.store.connect import transaction
from infra.store.tables import AlertKind, AlertState, alerts, dead_letters

_LOCK = sa.text("SELECT pg_advisory_xact_lock(hashtext('dead_letters'))")
_MINUTE = sa.text("interval '1 minute'")


def keep_limit(connection: sa.Connection, new: int, per_minute: int) -> None:
    """Make sure that so many more dead letters are allowed; call it in the transaction that writes them.

    Writers of dead letters wait for each other, so that two of them cannot pass the limit together.

    Raises:
        DeadLetterLimitError: They would be too many; nothing may be written.
    """
    connection.execute(_LOCK)
    now = sa.func.clock_timestamp()
    # What is of the future was written before the clock jumped back: it is not of the last minute.
    recent = (dead_letters.c.committed_at > now - _MINUTE, dead_letters.c.committed_at <= now)
    count = connection.scalar(sa.select(sa.func.count()).select_from(dead_letters).where(*recent)) or 0
    if count + new > per_minute:
        raise DeadLetterLimitError(
            f"{count} frames were dead-lettered within a minute and {new} more would be; dead_letters_per_minute allows "
            f"{per_minute}. They stay on the bus: find out what is wrong with the frames, or with this release"
        )


def raise_limit_alert(engine: sa.Engine, camera: str, received_at: datetime, frame_id: str) -> bool:
    """Open an alert that says the limit was reached; one is enough until somebody has acknowledged it.

    Args:
        engine: The database.
        camera: The camera of a frame that was one too many.
        received_at: When the bus took it.
        frame_id: That frame.

    Returns:
        Whether there was none open.

    Raises:
        DatabaseAwayError: PostgreSQL does not answer.
    """
    with transaction(engine) as connection:
        connection.execute(_LOCK)
        already = sa.select(alerts.c.id).where(
            alerts.c.kind == AlertKind.DEAD_LETTERS,
            # Written out, so that the planner sees that the index of the open alerts fits.
            alerts.c.state == sa.literal_column(f"'{AlertState.OPEN.value}'"),
        )
        if connection.scalar(already.limit(1)) is not None:
            return False
        row = {"camera": camera, "product": "", "received_at": received_at, "frame_id": frame_id}
        connection.execute(sa.insert(alerts).values(kind=AlertKind.DEAD_LETTERS, **row))
        return True
