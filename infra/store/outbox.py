"""The outbox: references to verdicts and dead letters that the relay still has to publish.

They come with the transaction of the results and go once the broker has acknowledged the message, so nothing is lost while the
broker is away or the relay is killed; what was acknowledged and not yet taken out is published again.

Transactions do not become visible in the order of their ids or of the rows' ids. So only rows of transactions older than every
one that still runs are read: no row can appear before them any more, and (txid, id) is the order of each camera, for two
writers of a camera's partition have a claim of it between them. A writing transaction that stays open anywhere in the
PostgreSQL server holds the relay up, and loses nothing.
"""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from infra.store.connect import database_errors, transaction
from infra.store.tables import dead_letters, models, outbox, verdicts
from infra.store.verdicts import Verdict, verdict_columns, verdict_from_row

_TURN_LOCK = 5_704_130_002  # any number that nothing else in the database locks
# A machine that vanished is noticed in half a minute, and its turn is free; over a Unix socket this does nothing.
_KEEPALIVE = "SET tcp_keepalives_idle = 15; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3"
_SETTLED = sa.literal_column("pg_snapshot_xmin(pg_current_snapshot())::text::bigint", sa.BigInteger)


class OutboxKind(StrEnum):
    """What a row of the outbox refers to."""

    VERDICT = "verdict"
    DEAD_LETTER = "dead_letter"


@dataclass(frozen=True, slots=True)
class PublishedVerdict:
    """A verdict with what only its message tells; see `infra.store.results.VerdictRow`."""

    verdict: Verdict
    result_id: str
    run: str | None
    sequence: int | None
    decode_ms: float | None
    score_ms: float | None


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A dead letter; see `infra.store.results.DeadLetterRow`."""

    received_at: datetime
    topic: str
    partition: int
    bus_offset: int
    frame_id: str
    camera: str
    reason: str
    detail: str
    original: bytes
    body_ref: str | None


@dataclass(frozen=True, slots=True)
class OutboxKey:
    """Where a row stands in the outbox."""

    txid: int
    id: int


@dataclass(frozen=True, slots=True)
class OutboxRow:
    """One message to be published; its content is None where the result it refers to is no longer kept."""

    key: OutboxKey
    content: PublishedVerdict | DeadLetter | None

    @property
    def camera(self) -> str:
        """The camera that it is about; empty where that is not known."""
        match self.content:
            case PublishedVerdict(verdict=verdict):
                return verdict.camera
            case DeadLetter(camera=camera):
                return camera
        return ""


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits in the outbox.

    Attributes:
        rows: How many.
        oldest_at: When the oldest was written (UTC); None where there is none.
    """

    rows: int
    oldest_at: datetime | None


class OutboxTurn:
    """The right to publish, which one relay has at a time; it lasts as long as its connection."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def take(self, limit: int) -> list[OutboxRow]:
        """Return the next rows in order; they stay until they are removed.

        Raises:
            DatabaseAwayError: PostgreSQL does not answer; the turn is over.
        """
        with database_errors(), self._connection.begin():
            return [_row(row) for row in self._connection.execute(page_query(limit)).mappings()]

    def remove(self, keys: Collection[OutboxKey]) -> None:
        """Take rows out whose messages the broker has acknowledged.

        Raises:
            DatabaseAwayError: PostgreSQL does not answer; the turn is over, and they may be published again.
        """
        if not keys:
            return
        wanted = sa.tuple_(outbox.c.txid, outbox.c.id).in_([(key.txid, key.id) for key in keys])
        with database_errors(), self._connection.begin():
            self._connection.execute(sa.delete(outbox).where(wanted))


@contextmanager
def outbox_turn(engine: sa.Engine) -> Iterator[OutboxTurn | None]:
    """Ask for the turn; None where another relay has it. It ends with the block, or with this process.

    Raises:
        DatabaseAwayError: PostgreSQL does not answer.
    """
    with database_errors():
        connection = engine.connect()
    try:
        with database_errors():
            connection.detach()  # closing it then ends the session and with it the lock, whatever state it is in
            with connection.begin():
                connection.exec_driver_sql(_KEEPALIVE)
                mine = connection.scalar(sa.select(sa.func.pg_try_advisory_lock(_TURN_LOCK)))
        yield OutboxTurn(connection) if mine else None
    finally:
        with database_errors():
            connection.close()


def backlog(engine: sa.Engine) -> Backlog:
    """Return what waits in the outbox, rows of running transactions left out.

    Raises:
        DatabaseAwayError: PostgreSQL does not answer.
    """
    query = sa.select(sa.func.count(), sa.func.min(outbox.c.created_at)).select_from(outbox)
    with transaction(engine) as connection:
        rows, oldest_at = connection.execute(query).one()
    return Backlog(rows, None if oldest_at is None else oldest_at.astimezone(UTC))


_VERDICT_EXTRAS = ("result_id", "run", "sequence", "decode_ms", "score_ms")


def page_query(limit: int) -> sa.Select[*tuple[Any, ...]]:
    """One page by primary key, then one result by its key for each row of it."""
    page = (
        sa.select(outbox)
        .where(outbox.c.txid < _SETTLED)
        .order_by(outbox.c.txid, outbox.c.id)
        .limit(limit)
        .subquery("page")
    )

    def refers(table: sa.Table, kind: OutboxKind) -> sa.ColumnElement[bool]:
        of_its_camera = sa.or_(table.c.camera == page.c.camera, page.c.camera.is_(None))  # NULL: before revision 0004
        same = (table.c.received_at == page.c.received_at, table.c.frame_id == page.c.frame_id, of_its_camera)
        return sa.and_(page.c.kind == kind, *same)

    joined = (
        page.outerjoin(verdicts, refers(verdicts, OutboxKind.VERDICT))
        .outerjoin(models, models.c.id == verdicts.c.model_id)
        .outerjoin(dead_letters, refers(dead_letters, OutboxKind.DEAD_LETTER))
    )
    return (
        sa.select(
            page.c.txid.label("page_txid"),
            page.c.id.label("page_id"),
            *verdict_columns(),
            *(verdicts.c[name] for name in _VERDICT_EXTRAS),
            *(dead_letters.c[name].label(f"dead_{name}") for name in DeadLetter.__dataclass_fields__),
        )
        .select_from(joined)
        .order_by(page.c.txid, page.c.id)
    )


def _row(row: Mapping[Any, Any]) -> OutboxRow:
    key = OutboxKey(row["page_txid"], row["page_id"])
    if row["result_id"] is not None:
        extras = {name: row[name] for name in _VERDICT_EXTRAS}
        return OutboxRow(key, PublishedVerdict(verdict_from_row(row), **extras))
    if row["dead_topic"] is not None:
        return OutboxRow(key, DeadLetter(**{name: row[f"dead_{name}"] for name in DeadLetter.__dataclass_fields__}))
    return OutboxRow(key, None)
