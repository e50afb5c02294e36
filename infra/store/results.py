"""The results of a batch: verdicts, heatmaps, dead letters, alerts, outbox, ledger and positions, in one transaction.

Either all of it is there or none. Rows go in by COPY. A frame that was judged before is recognised by its camera and id, so a
producer that sends again gets no second verdict; a record that is read again after a crash lies behind the stored position.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from infra.bus.protocol import Partition
from infra.store.connect import transaction
from infra.store.dead_letters import keep_limit
from infra.store.ledger import Accounted, count
from infra.store.outbox import OutboxKind
from infra.store.positions import Claim, advance, lock_claims
from infra.store.second_verdicts import SecondVerdict, add_second
from infra.store.tables import AlertKind, VerdictState, dead_letters, verdicts

DEAD_LETTER = "DEAD_LETTER"
DUPLICATE = "DUPLICATE"


@dataclass(frozen=True, slots=True)
class VerdictRow:
    """One verdict; the attributes are the columns of `verdicts`."""

    received_at: datetime
    frame_id: str
    result_id: str
    topic: str
    partition: int
    bus_offset: int
    camera: str
    product: str
    part_id: str | None
    job_id: str | None
    run: str | None
    sequence: int | None
    sha256: str
    simulated: str | None
    captured_at: datetime
    scored_at: datetime | None
    state: str
    reason: str | None
    model_id: int | None
    score: float | None
    p_value: float | None
    threshold: float | None
    views: int | None
    archive_ref: str | None
    decode_ms: float | None
    score_ms: float | None
    focus: float | None = None
    brightness: float | None = None
    contrast: float | None = None


@dataclass(frozen=True, slots=True)
class HeatmapRow:
    """One heatmap, encoded by `infra.heatmaps`."""

    received_at: datetime
    camera: str
    frame_id: str
    png: bytes


@dataclass(frozen=True, slots=True)
class DeadLetterRow:
    """One frame that could not be judged; the attributes are the columns of `dead_letters`."""

    received_at: datetime
    topic: str
    partition: int
    bus_offset: int
    frame_id: str
    camera: str
    run: str | None
    sequence: int | None
    reason: str
    detail: str
    headers: str  # JSON
    body_ref: str | None
    original: bytes = b""  # by `infra.dead_letters.pack_original`


@dataclass(frozen=True, slots=True)
class Batch:
    """What a scorer knows after a batch.

    Attributes:
        verdicts: One per judged frame.
        heatmaps: For some of them.
        dead_letters: One per frame that cannot be judged.
        next_offsets: Where each partition goes on.
        seconds: What candidates in shadow say of some of the frames.
    """

    verdicts: Sequence[VerdictRow]
    heatmaps: Sequence[HeatmapRow]
    dead_letters: Sequence[DeadLetterRow]
    next_offsets: dict[Partition, int]
    seconds: Sequence[SecondVerdict] = ()


@dataclass(frozen=True, slots=True)
class Written:
    """What a batch came to.

    Attributes:
        frames: Verdicts and dead letters that were new.
        duplicates: Frames that had been accounted for before.
    """

    frames: int
    duplicates: int


def write_batch(
    engine: sa.Engine,
    claims: list[Claim],
    batch: Batch,
    dedupe_days: int,
    *,
    dead_letters_per_minute: int | None = None,
    fill_outbox: bool = False,
) -> Written:
    """Write a batch and move the positions on.

    Safe to call again when the answer to a commit was lost: a batch that is stored already is left as it is.

    Args:
        engine: The database.
        claims: The claims of every partition in `batch.next_offsets`.
        batch: The results.
        dedupe_days: How far back a frame is recognised, in days before the oldest frame of the batch.
        dead_letters_per_minute: Most dead letters within a minute, over all scorers; None: no limit.
        fill_outbox: Whether what is written is also put aside for the relay.

    Raises:
        StaleEpochError: A partition was taken by another worker; nothing was written.
        DeadLetterLimitError: The dead letters of this batch would be too many; nothing was written.
        DatabaseAwayError: PostgreSQL does not answer.
    """
    with transaction(engine) as connection:
        stored = lock_claims(connection, claims)
        if all((stored[p] or 0) >= offset for p, offset in batch.next_offsets.items()):
            return Written(frames=0, duplicates=0)
        fresh, duplicates = _without_duplicates(connection, batch, dedupe_days)
        if fresh.dead_letters and dead_letters_per_minute is not None:
            keep_limit(connection, len(fresh.dead_letters), dead_letters_per_minute)
        _copy(connection, "verdicts", VerdictRow, fresh.verdicts)
        _copy(connection, "heatmaps", HeatmapRow, fresh.heatmaps)
        _copy(connection, "dead_letters", DeadLetterRow, fresh.dead_letters)
        add_second(connection, fresh.seconds)
        _open_alerts(connection, fresh.verdicts)
        if fill_outbox:
            _put_aside(connection, fresh)
        known = [_accounted(row) for row in fresh.verdicts] + [_accounted(row) for row in fresh.dead_letters]
        count(connection, known + duplicates)
        advance(connection, batch.next_offsets)
    return Written(frames=len(fresh.verdicts) + len(fresh.dead_letters), duplicates=len(duplicates))


def _without_duplicates(connection: sa.Connection, batch: Batch, dedupe_days: int) -> tuple[Batch, list[Accounted]]:
    rows: list[VerdictRow | DeadLetterRow] = [*batch.verdicts, *batch.dead_letters]
    if not rows:
        return batch, []
    frames = {(row.camera, row.frame_id) for row in rows}
    since = min(row.received_at for row in rows) - timedelta(days=dedupe_days)
    known: set[tuple[str, str]] = set()
    for table in (verdicts, dead_letters):
        known.update(map(tuple, connection.execute(known_frames_query(table, frames, since))))
    duplicates = []
    kept: set[int] = set()
    for row in sorted(rows, key=lambda row: (row.topic, row.partition, row.bus_offset)):
        frame = (row.camera, row.frame_id)
        if frame in known:
            duplicates.append(Accounted(row.camera, DUPLICATE, "", None, None))
        else:
            known.add(frame)
            kept.add(id(row))
    judged = [row for row in batch.verdicts if id(row) in kept]
    shown = {(row.camera, row.frame_id, row.received_at) for row in judged}
    heat = [row for row in batch.heatmaps if (row.camera, row.frame_id, row.received_at) in shown]
    seconds = [row for row in batch.seconds if (row.camera, row.frame_id, row.received_at) in shown]
    dead = [row for row in batch.dead_letters if id(row) in kept]
    return replace(batch, verdicts=judged, heatmaps=heat, dead_letters=dead, seconds=seconds), duplicates


def known_frames_query(
    table: sa.Table, frames: Collection[tuple[str, str]], since: datetime
) -> sa.Select[*tuple[Any, ...]]:
    """Camera and id of those frames that a table has since then: one step into the frame index per frame and day.

    Args:
        table: `verdicts` or `dead_letters`.
        frames: Camera and id of each; at least one.
        since: Oldest `received_at` that counts.
    """
    # Two arrays, whatever their length: as many single values take longer to put into SQL than to find.
    cameras, ids = (sa.literal(list(part), ARRAY(sa.Text)) for part in zip(*frames, strict=True))
    wanted = sa.func.unnest(cameras, ids).table_valued("camera", "frame_id").render_derived(name="wanted")
    same = sa.and_(table.c.frame_id == wanted.c.frame_id, table.c.camera == wanted.c.camera)
    return (
        sa.select(wanted.c.camera, wanted.c.frame_id)
        .select_from(wanted.join(table, same))
        .where(table.c.received_at >= since)
    )


def _accounted(row: VerdictRow | DeadLetterRow) -> Accounted:
    state = row.state if isinstance(row, VerdictRow) else DEAD_LETTER
    return Accounted(row.camera, state, row.reason or "", row.run, row.sequence)


def _copy(connection: sa.Connection, table: str, kind: type, rows: Sequence[Any]) -> None:
    columns = [field.name for field in fields(kind)]
    _copy_values(connection, table, columns, [[getattr(row, column) for column in columns] for row in rows])


def _open_alerts(connection: sa.Connection, rows: Sequence[VerdictRow]) -> None:
    """Every DEFECT is an alert."""
    defects = [row for row in rows if row.state == VerdictState.DEFECT]
    values = [[AlertKind.DEFECT, row.camera, row.product, row.received_at, row.frame_id] for row in defects]
    _copy_values(connection, "alerts", ["kind", "camera", "product", "received_at", "frame_id"], values)


def _put_aside(connection: sa.Connection, batch: Batch) -> None:
    """Put references into the outbox, in the order of the bus: a camera's verdicts are published in that order."""
    rows: list[VerdictRow | DeadLetterRow] = [*batch.verdicts, *batch.dead_letters]
    rows.sort(key=lambda row: (row.topic, row.partition, row.bus_offset))
    values: list[list[Any]] = []
    for row in rows:
        kind = OutboxKind.VERDICT if isinstance(row, VerdictRow) else OutboxKind.DEAD_LETTER
        values.append([kind, row.received_at, row.camera, row.frame_id])
    _copy_values(connection, "outbox", ["kind", "received_at", "camera", "frame_id"], values)


def _copy_values(connection: sa.Connection, table: str, columns: list[str], rows: list[list[Any]]) -> None:
    if not rows:
        return
    driver = connection.connection.driver_connection
    assert driver is not None  # noqa: S101 - an open SQLAlchemy connection has one
    with driver.cursor() as cursor, cursor.copy(f"COPY {table} ({', '.join(columns)}) FROM STDIN") as copy:
        for row in rows:
            copy.write_row(row)
