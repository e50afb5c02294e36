"""The outbox: references to verdicts and dead letters that the relay still has to deliver.

They come with the transaction of the results and go once every output has passed them (infra/store/output_cursors.py), so
nothing is lost while a peer is away or the relay is killed; what was acknowledged and not yet passed is delivered again.

Transactions do not become visible in the order of their ids or of the rows' ids. So only rows of transactions older than every
one that still runs are read: no row can appear before them any more, and (txid, id) is the order of each camera, for two
writers of a camera's partition have a claim of it between them. A writing transaction that stays open anywhere in the
PostgreSQL server holds the relay up, and loses nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, NamedTuple

import sqlalchemy as sa

from infra.store.connect import transaction
from infra.store.tables import dead_letters, models, outbox, output_cursors, verdicts
from infra.store.verdicts import Verdict, verdict_columns, verdict_from_row

SETTLED = sa.literal_column("pg_snapshot_xmin(pg_current_snapshot())::text::bigint", sa.BigInteger)
"""All transactions with a lower number have ended."""


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


class OutboxKey(NamedTuple):
    """Where a row stands in the outbox; keys compare as the rows follow each other."""

    txid: int
    id: int


@dataclass(frozen=True, slots=True)
class OutboxRow:
    """One message to be delivered.

    Attributes:
        key: Where it stands.
        content: What it is about; None where the result it refers to is no longer kept.
        age_s: How long before it was read the bus had received the frame, in seconds, by the database's clock.
    """

    key: OutboxKey
    content: PublishedVerdict | DeadLetter | None
    age_s: float = 0.0

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
    """What waits in the outbox, for one output or for any.

    Attributes:
        rows: How many.
        oldest_at: When the oldest was written (UTC); None where there is none.
    """

    rows: int
    oldest_at: datetime | None


def backlog(engine: sa.Engine) -> Backlog:
    """Return what waits for any output, rows of running transactions left out; before the first relay ran, all of it.

    Raises:
        DatabaseAwayError: PostgreSQL does not answer.
    """
    row, cursor = outbox.c, output_cursors.c
    wanted = sa.exists().where(cursor.kind == row.kind, sa.tuple_(cursor.txid, cursor.id) < sa.tuple_(row.txid, row.id))
    nobody = ~sa.exists(sa.select(output_cursors))
    query = sa.select(sa.func.count(), sa.func.min(row.created_at)).where(sa.or_(nobody, wanted))
    with transaction(engine) as connection:
        rows, oldest_at = connection.execute(query).one()
    return Backlog(rows, None if oldest_at is None else oldest_at.astimezone(UTC))


_VERDICT_EXTRAS = ("result_id", "run", "sequence", "decode_ms", "score_ms")


def page_query(kind: OutboxKind, after: OutboxKey, limit: int) -> sa.Select[*tuple[Any, ...]]:
    """The next rows of a kind behind a key, by primary key; then one result by its key for each of them."""
    row = outbox.c
    # Written out, so that the planner sees that the index of the dead letters fits.
    of_kind: sa.ColumnElement[bool] = sa.literal_column(f"outbox.kind = '{kind}'")
    behind = sa.tuple_(row.txid, row.id) > sa.tuple_(sa.literal(after.txid), sa.literal(after.id))
    page = sa.select(outbox).where(of_kind, behind, row.txid < SETTLED).order_by(row.txid, row.id).limit(limit)
    return with_results(page.subquery("page"))


def with_results(page: sa.Subquery) -> sa.Select[*tuple[Any, ...]]:
    """Rows with `txid`, `id`, `kind`, `received_at`, `camera` and `frame_id`, and the result of each, for `row_from`."""

    def refers(table: sa.Table, kind: OutboxKind) -> sa.ColumnElement[bool]:
        of_its_camera = sa.or_(table.c.camera == page.c.camera, page.c.camera.is_(None))  # NULL: before revision 0004
        same = (table.c.received_at == page.c.received_at, table.c.frame_id == page.c.frame_id, of_its_camera)
        return sa.and_(page.c.kind == kind, *same)

    joined = (
        page.outerjoin(verdicts, refers(verdicts, OutboxKind.VERDICT))
        .outerjoin(models, models.c.id == verdicts.c.model_id)
        .outerjoin(dead_letters, refers(dead_letters, OutboxKind.DEAD_LETTER))
    )
    age = sa.extract("epoch", sa.func.clock_timestamp() - page.c.received_at)
    return (
        sa.select(
            page.c.txid.label("page_txid"),
            page.c.id.label("page_id"),
            sa.cast(age, sa.Double).label("page_age_s"),
            *verdict_columns(),
            *(verdicts.c[name] for name in _VERDICT_EXTRAS),
            *(dead_letters.c[name].label(f"dead_{name}") for name in DeadLetter.__dataclass_fields__),
        )
        .select_from(joined)
        .order_by(page.c.txid, page.c.id)
    )


def row_from(row: Mapping[Any, Any]) -> OutboxRow:
    """Return a row of `with_results`."""
    key, age_s = OutboxKey(row["page_txid"], row["page_id"]), row["page_age_s"]
    if row["result_id"] is not None:
        extras = {name: row[name] for name in _VERDICT_EXTRAS}
        return OutboxRow(key, PublishedVerdict(verdict_from_row(row), **extras), age_s)
    if row["dead_topic"] is not None:
        letter = DeadLetter(**{name: row[f"dead_{name}"] for name in DeadLetter.__dataclass_fields__})
        return OutboxRow(key, letter, age_s)
    return OutboxRow(key, None, age_s)
