"""Attempts at frames, written down before the risky work: what a killed process was working on is known afterwards.

Nothing is cleared: an attempt whose first frame lies before the stored position is finished, since the position moves in the
transaction that writes the results. Only where a person moves the position elsewhere, the attempt is forgotten.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from infra.bus.protocol import Partition
from infra.store.connect import transaction
from infra.store.positions import Claim
from infra.store.tables import attempts, positions


@dataclass(frozen=True, slots=True)
class Attempt:
    """Work on the frames of one partition.

    Attributes:
        partition: Where they lie.
        first_offset: The first of them.
        last_offset: The last of them. After a crash everything up to it is tried one frame at a time.
        attempts: How often the first of them was begun and not finished, this time included.
    """

    partition: Partition
    first_offset: int
    last_offset: int
    attempts: int


def write_down(engine: sa.Engine, claims: Sequence[Claim], work: Sequence[Attempt], worker: str) -> None:
    """Write down what is worked on now; one small write for a batch.

    It is not flushed to disk: it must outlive the worker, not the database. A worker that lost its partition writes nothing
    here, and is told so when it writes results.

    Raises:
        DatabaseAwayError: PostgreSQL does not answer.
    """
    epochs = {claim.partition: claim.epoch for claim in claims}
    wanted = sa.values(
        sa.column("topic", sa.Text),
        sa.column("partition", sa.Integer),
        sa.column("epoch", sa.BigInteger),
        sa.column("first_offset", sa.BigInteger),
        sa.column("last_offset", sa.BigInteger),
        sa.column("attempts", sa.Integer),
        name="wanted",
    ).data([(*a.partition, epochs[a.partition], a.first_offset, a.last_offset, a.attempts) for a in work])
    ours = sa.and_(
        positions.c.topic == wanted.c.topic,
        positions.c.partition == wanted.c.partition,
        positions.c.epoch == wanted.c.epoch,
    )
    columns = ("topic", "partition", "first_offset", "last_offset", "attempts")
    rows = sa.select(*(wanted.c[name] for name in columns), sa.literal(worker)).select_from(
        wanted.join(positions, ours)
    )
    row = insert(attempts).from_select([*columns, "worker"], rows.order_by(wanted.c.topic, wanted.c.partition))
    changed = {name: row.excluded[name] for name in ("first_offset", "last_offset", "attempts", "worker")}
    with transaction(engine) as connection:
        connection.execute(sa.text("SET LOCAL synchronous_commit TO off"))
        connection.execute(
            row.on_conflict_do_update(
                index_elements=list(attempts.primary_key),
                set_={**changed, "started_at": sa.func.clock_timestamp()},
            )
        )


def unfinished(engine: sa.Engine, claim: Claim) -> Attempt | None:
    """Return what a partition's last owner had begun and not finished; None where it had finished.

    Raises:
        DatabaseAwayError: PostgreSQL does not answer.
    """
    query = sa.select(attempts.c.first_offset, attempts.c.last_offset, attempts.c.attempts).where(
        attempts.c.topic == claim.partition.topic, attempts.c.partition == claim.partition.number
    )
    with transaction(engine) as connection:
        row = connection.execute(query).one_or_none()
    if row is None or (claim.next_offset is not None and row.first_offset < claim.next_offset):
        return None
    return Attempt(claim.partition, *row)


def forget(connection: sa.Connection, partition: Partition) -> None:
    """Make what was begun in a partition count as finished; call it in the transaction that moves its position elsewhere."""
    this = sa.and_(attempts.c.topic == partition.topic, attempts.c.partition == partition.number)
    connection.execute(sa.update(attempts).where(this).values(first_offset=-1, last_offset=-1, attempts=0))
