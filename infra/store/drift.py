"""What the drift tests of each camera and product remember, moved on together with the verdicts that they have seen.

A camera's verdicts are tested in the order of the bus. `received_at` and the offset say how far: the bus's own clock, which
does not go back within a partition unless a Kafka broker's is set back, and a camera stays in one. Frames that were received
before the time that was reached are judged and not tested: those of the time by which it was set back (scorers log
`bus.clock_jumped_back`) and, where a topic gets more partitions and a camera moves, those of the old one that are written later
than newer ones of the new one. States and cursor are written in one transaction under a lock of the camera, so each verdict
counts once however many scorers look, and whatever is killed.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from infra.store.connect import transaction
from infra.store.drift_history import DriftMinute, prune_history, write_minutes
from infra.store.tables import (
    AlertKind,
    AlertState,
    DriftCause,
    DriftKind,
    VerdictState,
    alerts,
    drift_states,
    models,
    verdicts,
)

_RECENT_FRAMES = 10_000


@dataclass(frozen=True, slots=True)
class SeenVerdict:
    """A verdict, as far as drift is told by it."""

    received_at: datetime
    bus_offset: int
    frame_id: str
    product: str
    part_id: str | None
    state: str
    model_id: int | None
    score: float | None
    focus: float | None
    brightness: float | None
    contrast: float | None

    @property
    def cursor(self) -> "Cursor":
        """Where the next look begins behind it."""
        return Cursor(self.received_at, self.bus_offset)


@dataclass(frozen=True, slots=True, order=True)
class Cursor:
    """A place in a camera's verdicts: everything up to it was tested."""

    at: datetime
    offset: int


@dataclass(slots=True)
class DriftRow:
    """A row of `drift_states`.

    Attributes:
        model_id: Whose calibration it is compared with; None where no model has judged a frame.
        state: What the tests remember.
        parts: Values that were tested.
        wealth: Decimal logarithm of what an initial 1 has become.
        alarmed_at: When the part was received that made it alarm; None while it has not.
        alert_id: The alert of that alarm.
        told: Whether somebody has acknowledged that alert.
    """

    camera: str
    product: str
    kind: DriftKind
    model_id: int | None
    state: dict[str, Any]
    parts: int
    wealth: float
    alarmed_at: datetime | None
    alert_id: int | None
    told: bool = False


class CameraTurn:
    """One scorer's turn at a camera; everything in it happens in one transaction."""

    def __init__(self, connection: sa.Connection, camera: str) -> None:
        self._connection = connection
        self._camera = camera
        self._cursor: Cursor | None = None

    def rows(self) -> dict[tuple[str, DriftKind], DriftRow]:
        """Return the states of the camera, by product and kind."""
        state, alert = drift_states.c, alerts.c
        query = (
            sa.select(drift_states, alert.state.label("alert_state"))
            .select_from(drift_states.outerjoin(alerts, alert.id == state.alert_id))
            .where(state.camera == self._camera)
        )
        found = {}
        for row in self._connection.execute(query):
            here = Cursor(row.cursor_at, row.cursor_offset)
            self._cursor = max(self._cursor or here, here)
            own = _drift_row(row)
            own.told = own.alert_id is not None and row.alert_state != AlertState.OPEN
            found[own.product, own.kind] = own
        return found

    def verdicts(self, since: datetime, most: int) -> list[SeenVerdict]:
        """Return verdicts that were not tested yet, oldest first; call `rows` first.

        Args:
            since: Where a camera begins that has no state.
            most: So many at most.
        """
        return [SeenVerdict(*row) for row in self._connection.execute(self._query(since, most))]

    def _query(self, since: datetime, most: int) -> sa.Select[*tuple[Any, ...]]:
        """A range of the camera's index; the last condition only decides among frames of one millisecond.

        As a range of cameras with one in it, since only that index has this order. Asked for `camera = name` in order of time,
        the planner may walk the primary key: for a camera that has been silent, through all frames of the others.
        """
        cursor = self._cursor or Cursor(since, -1)
        verdict = verdicts.c
        order = sa.tuple_(verdict.received_at, verdict.bus_offset)
        return (
            sa.select(*(verdict[name] for name in SeenVerdict.__dataclass_fields__))
            .where(verdict.camera >= self._camera, verdict.camera <= self._camera, verdict.received_at >= cursor.at)
            .where(order > sa.tuple_(sa.literal(cursor.at), sa.literal(cursor.offset, sa.BigInteger)))
            .order_by(verdict.camera.desc(), verdict.received_at, verdict.bus_offset)
            .limit(most)
        )

    def save(self, rows: list[DriftRow], cursor: Cursor) -> None:
        """Write states that have moved on, and for all states of the camera how far they are."""
        reached = {"cursor_at": cursor.at, "cursor_offset": cursor.offset}
        self._connection.execute(sa.update(drift_states).where(drift_states.c.camera == self._camera).values(reached))
        for row in rows:
            values = {name: value for name, value in asdict(row).items() if name != "told"}
            values |= reached | {"updated_at": sa.func.clock_timestamp()}
            key = ("camera", "product", "kind")
            changed = {name: value for name, value in values.items() if name not in key}
            self._connection.execute(
                insert(drift_states).values(values).on_conflict_do_update(index_elements=key, set_=changed)
            )

    def keep_history(self, minutes: Sequence[DriftMinute], now: datetime) -> None:
        """Write how the tests went by the minute, and let a few of the oldest minutes go."""
        write_minutes(self._connection, minutes)
        prune_history(self._connection, self._camera, now)

    def open_alert(self, verdict: SeenVerdict, cause: DriftCause) -> int:
        """Open an alert about the part that made the test alarm; returns its number."""
        about = {"received_at": verdict.received_at, "frame_id": verdict.frame_id}
        alert = {"kind": AlertKind.DRIFT, "detail": cause, "camera": self._camera, "product": verdict.product}
        statement = sa.insert(alerts).values(**alert, **about).returning(alerts.c.id)
        number: int = self._connection.execute(statement).scalar_one()
        return number

    def say_cause(self, alert_id: int, cause: DriftCause) -> None:
        """Correct the cause of an alert: pictures turned out to be worse, too."""
        self._connection.execute(sa.update(alerts).where(alerts.c.id == alert_id).values(detail=cause))


@contextmanager
def camera_turn(engine: sa.Engine, camera: str) -> Iterator[CameraTurn | None]:
    """Take the turn at a camera; None where another scorer has it. What was written is there at the end, or nothing is.

    Raises:
        DatabaseAwayError: PostgreSQL does not answer.
    """
    lock = sa.text("SELECT pg_try_advisory_xact_lock(hashtext('drift'), hashtext(:camera))")
    with transaction(engine) as connection:
        yield CameraTurn(connection, camera) if connection.scalar(lock, {"camera": camera}) else None


def drift_rows(engine: sa.Engine, product: str | None = None) -> list[DriftRow]:
    """Return all states, by camera, product and kind.

    Raises:
        DatabaseAwayError: PostgreSQL does not answer.
    """
    query = sa.select(drift_states).order_by(drift_states.c.camera, drift_states.c.product, drift_states.c.kind)
    if product is not None:
        query = query.where(drift_states.c.product == product)
    with transaction(engine) as connection:
        return [_drift_row(row) for row in connection.execute(query)]


def recent_scores(engine: sa.Engine, row: DriftRow, most: int) -> list[float]:
    """Return the newest scores of a camera's product by one model, among the camera's last 10,000 frames.

    Raises:
        DatabaseAwayError: PostgreSQL does not answer.
    """
    verdict = verdicts.c
    last = (
        sa.select(verdict.product, verdict.model_id, verdict.state, verdict.score, verdict.received_at)
        .where(verdict.camera == row.camera)
        .order_by(verdict.received_at.desc())
        .limit(_RECENT_FRAMES)
        .subquery("last")
    )
    same = sa.and_(last.c.product == row.product, last.c.model_id == row.model_id)
    query = (
        sa.select(last.c.score)
        .where(same, last.c.state != VerdictState.NO_VERDICT)
        .order_by(last.c.received_at.desc())
        .limit(most)
    )
    with transaction(engine) as connection:
        return list(connection.scalars(query))


def model_folder(engine: sa.Engine, model_id: int) -> str | None:
    """Return where a model's artifact is; None where there is no model of that number.

    Raises:
        DatabaseAwayError: PostgreSQL does not answer.
    """
    with transaction(engine) as connection:
        return connection.scalar(sa.select(models.c.folder).where(models.c.id == model_id))


def _drift_row(row: sa.Row[Any]) -> DriftRow:
    values = {name: getattr(row, name) for name in DriftRow.__dataclass_fields__ if name != "told"}
    return DriftRow(**{**values, "kind": DriftKind(row.kind)})
