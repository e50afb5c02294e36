"""A kept position that a person moves, because the bus no longer goes with it."""

from collections.abc import Callable
from dataclasses import dataclass

import sqlalchemy as sa

from infra.bus.protocol import Partition
from infra.store.attempts import forget
from infra.store.audit import position_subject, record
from infra.store.connect import transaction
from infra.store.positions import advance, take


@dataclass(frozen=True, slots=True)
class Reset:
    """What became of a position.

    Attributes:
        before: Where it stood; None where nothing was stored yet.
        after: Where it stands.
        epoch: The raised fence: whoever had the partition can no longer write.
    """

    before: int | None
    after: int
    epoch: int


def reset_position(
    engine: sa.Engine, partition: Partition, who: str, choose: Callable[[int | None], int], *, why: str = ""
) -> Reset:
    """Raise a partition's epoch, store another position and put that on record, in one transaction.

    Args:
        engine: The database.
        partition: Whose position.
        who: Stands as its worker until one claims it, and in the audit log.
        choose: Given the stored position, returns the new one. Nobody can move it meanwhile; if it raises, nothing changes.
        why: The reason, for the audit log.

    Raises:
        DatabaseAwayError: PostgreSQL does not answer.
    """
    with transaction(engine) as connection:
        taken = take(connection, partition, who)
        after = choose(taken.next_offset)
        advance(connection, {partition: after})
        forget(connection, partition)  # other records may lie at the offsets that were begun
        moved = {"before": taken.next_offset, "after": after, "epoch": taken.epoch}
        record(connection, who, "move_position", position_subject(*partition), reason=why, detail=moved)
    return Reset(taken.next_offset, after, taken.epoch)
