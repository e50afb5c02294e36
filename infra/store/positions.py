"""Stream positions and the epoch fence: they live beside the results, not on the bus."""

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from infra.bus.protocol import Partition
from infra.errors import StaleEpochError
from infra.store.connect import transaction
from infra.store.tables import positions


@dataclass(frozen=True, slots=True)
class Claim:
    """A worker's right to write a partition's results, until somebody claims it again.

    Attributes:
        partition: What was claimed.
        epoch: The fence: a write with an older epoch is refused.
        next_offset: Where to read on; None where nothing is stored yet.
    """

    partition: Partition
    epoch: int
    next_offset: int | None


def claim(engine: sa.Engine, partition: Partition, worker: str) -> Claim:
    """Raise the partition's epoch, so that whoever had it before can no longer write.

    Raises:
        DatabaseAwayError: PostgreSQL does not answer.
    """
    with transaction(engine) as connection:
        return take(connection, partition, worker)


def take(connection: sa.Connection, partition: Partition, worker: str) -> Claim:
    """Claim a partition; until the transaction ends nobody else can write, claim or move it."""
    raised = (
        insert(positions)
        .values(topic=partition.topic, partition=partition.number, epoch=1, worker=worker)
        .on_conflict_do_update(
            index_elements=[positions.c.topic, positions.c.partition],
            set_={"epoch": positions.c.epoch + 1, "worker": worker, "updated_at": sa.func.clock_timestamp()},
        )
        .returning(positions.c.epoch, positions.c.next_offset)
    )
    epoch, next_offset = connection.execute(raised).one()
    return Claim(partition, epoch, next_offset)


@dataclass(frozen=True, slots=True)
class StoredPosition:
    """A partition's row.

    Attributes:
        partition: Which.
        next_offset: Where to read on; None where nothing was written yet.
        epoch: The fence.
        worker: Who claimed it last.
        updated_at: When it was claimed or moved (UTC).
    """

    partition: Partition
    next_offset: int | None
    epoch: int
    worker: str
    updated_at: datetime


def all_positions(engine: sa.Engine) -> list[StoredPosition]:
    """Return every partition that a worker ever claimed, of all topics.

    Raises:
        DatabaseAwayError: PostgreSQL does not answer.
    """
    with transaction(engine) as connection:
        rows = connection.execute(sa.select(positions)).all()
    return [
        StoredPosition(Partition(row.topic, row.partition), row.next_offset, row.epoch, row.worker, row.updated_at)
        for row in rows
    ]


def stored_positions(connection: sa.Connection, topic: str) -> dict[Partition, int]:
    """Return the position of each partition that has one."""
    query = sa.select(positions.c.partition, positions.c.next_offset).where(
        positions.c.topic == topic, positions.c.next_offset.is_not(None)
    )
    return {Partition(topic, number): next_offset for number, next_offset in connection.execute(query)}


def lock_claims(connection: sa.Connection, claims: list[Claim]) -> dict[Partition, int | None]:
    """Lock the positions until the end of the transaction and check the fence.

    Returns:
        The stored position of each claimed partition.

    Raises:
        StaleEpochError: A partition was claimed by another worker since.
    """
    wanted = {claim.partition: claim.epoch for claim in claims}
    query = (
        sa.select(positions)
        .where(sa.tuple_(positions.c.topic, positions.c.partition).in_([tuple(p) for p in wanted]))
        .order_by(positions.c.topic, positions.c.partition)  # the same order for all, so that nobody deadlocks
        .with_for_update()
    )
    found = {Partition(row.topic, row.partition): row for row in connection.execute(query)}
    for partition, epoch in wanted.items():
        row = found.get(partition)
        if row is None or row.epoch != epoch:
            taker = "nobody" if row is None else row.worker
            raise StaleEpochError(f"{partition.topic}/{partition.number} belongs to {taker} now; nothing was written")
    return {partition: row.next_offset for partition, row in found.items()}


def advance(connection: sa.Connection, next_offsets: dict[Partition, int]) -> None:
    """Store the new positions; call it in the transaction that holds their lock."""
    for partition, next_offset in next_offsets.items():
        connection.execute(
            sa.update(positions)
            .where(positions.c.topic == partition.topic, positions.c.partition == partition.number)
            .values(next_offset=next_offset, updated_at=sa.func.clock_timestamp())
        )
