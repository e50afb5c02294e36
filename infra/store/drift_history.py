"""How the drift tests went, by the minute: `drift_history`, which a scorer writes in the turn that moves the tests on.

There is at most one row for a camera, product, kind and minute, so a frame more or less makes no row, and what is older than
HISTORY_KEPT goes, a few rows a turn.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from infra.store.connect import transaction
from infra.store.tables import DriftKind, drift_history

HISTORY_KEPT = timedelta(days=90)
"""How long at least: the database's own function refuses to let younger rows go."""

_KEY = ("camera", "at", "product", "kind")
_PRUNED_AT_ONCE = 100


@dataclass(slots=True)
class DriftMinute:
    """A row of `drift_history`: a test at the end of a minute of the bus's clock, and what happened within it.

    Attributes:
        at: Beginning of the minute, UTC.
        parts: Values that were tested since the test began.
        wealth: Decimal logarithm of what an initial 1 has become.
        highest: The most that it was within the minute.
        began: Whether a test began within it: another model, or somebody had acknowledged the alarm.
        alarmed: Whether it alarmed within it.
    """

    camera: str
    product: str
    kind: DriftKind
    model_id: int | None
    at: datetime
    parts: int
    wealth: float
    highest: float
    began: bool
    alarmed: bool


@dataclass(frozen=True, slots=True)
class DriftBucket:
    """Minutes of a test that lie beside each other.

    Attributes:
        at: Beginning of the bucket.
        last_at: Its last minute in which a part was tested.
        model_id: The model of that minute.
        parts: As of that minute.
        wealth: As of that minute.
        highest: The most within the bucket.
        began_at: The last minute in which a test began; None where none did.
        alarmed_at: The first minute in which it alarmed; None where it did not.
    """

    kind: DriftKind
    at: datetime
    last_at: datetime
    model_id: int | None
    parts: int
    wealth: float
    highest: float
    began_at: datetime | None
    alarmed_at: datetime | None


def minute_of(at: datetime) -> datetime:
    """Return when a time's minute began, UTC."""
    return at.astimezone(UTC).replace(second=0, microsecond=0)


def write_minutes(connection: sa.Connection, minutes: Sequence[DriftMinute]) -> None:
    """Add minutes, or go on with those that are there: a turn may begin in the middle of one."""
    if not minutes:
        return
    statement = insert(drift_history)
    new, old = statement.excluded, drift_history.c
    changed = {name: new[name] for name in ("model_id", "parts", "wealth")} | {
        "highest": sa.func.greatest(old.highest, new.highest),
        "began": sa.or_(old.began, new.began),
        "alarmed": sa.or_(old.alarmed, new.alarmed),
    }
    connection.execute(
        statement.on_conflict_do_update(index_elements=_KEY, set_=changed), [asdict(minute) for minute in minutes]
    )


def prune_history(connection: sa.Connection, camera: str, now: datetime) -> int:
    """Let the oldest minutes of a camera go, a few at a time.

    Returns:
        How many went.
    """
    prune = sa.func.prune_drift_history(camera, now - HISTORY_KEPT, _PRUNED_AT_ONCE)
    gone: int = connection.execute(sa.select(prune)).scalar_one()
    return gone


def drift_buckets_query(
    camera: str, product: str, *, since: datetime, until: datetime, step: timedelta
) -> sa.Select[*tuple[Any, ...]]:
    """Both tests of a camera and product in [since, until), `step` a bucket: a range of the primary key, and the last rows."""
    row, last = drift_history.c, drift_history.alias("last").c
    here = sa.and_(row.camera == camera, row.product == product, row.at >= since, row.at < until)
    bucket = (
        sa.select(
            row.kind,
            sa.func.date_bin(step, row.at, since).label("at"),
            sa.func.max(row.at).label("last_at"),
            sa.func.max(row.highest).label("highest"),
            sa.func.max(row.at).filter(row.began).label("began_at"),
            sa.func.min(row.at).filter(row.alarmed).label("alarmed_at"),
        )
        .where(here)
        .group_by(row.kind, sa.text("2"))
        .subquery("bucket")
    )
    of_bucket = sa.and_(last.at == bucket.c.last_at, last.kind == bucket.c.kind)
    same = sa.and_(last.camera == camera, last.product == product, last.at >= since, last.at < until, of_bucket)
    return (
        sa.select(bucket, last.model_id, last.parts, last.wealth)
        .join(last.camera.table, same)
        .order_by(bucket.c.kind, bucket.c.at)
    )


def drift_buckets(
    engine: sa.Engine, camera: str, product: str, *, since: datetime, until: datetime, step: timedelta
) -> list[DriftBucket]:
    """Return how both tests of a camera and product went, by kind and time.

    Raises:
        DatabaseAwayError: PostgreSQL does not answer.
    """
    with transaction(engine) as connection:
        found = connection.execute(drift_buckets_query(camera, product, since=since, until=until, step=step)).mappings()
        return [DriftBucket(**{**row, "kind": DriftKind(row["kind"])}) for row in found]
