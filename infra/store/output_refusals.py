"""What the peer of an output will never take, with its reason: on record, and sent again when somebody wants that.

A refusal refers to its verdict or dead letter, which is kept in any case. What is sent again comes out of its camera's order.
"""

from datetime import datetime
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from infra.store.audit import output_subject, record
from infra.store.connect import transaction
from infra.store.outbox import DeadLetter, OutboxKind, OutboxRow, row_from, with_results
from infra.store.reasons import checked_reason
from infra.store.tables import output_refusals

_MINUTE = sa.text("interval '1 minute'")
MAX_REASON = 500


class Refusal(NamedTuple):
    """A message that a peer refused.

    Attributes:
        number: Its number.
        sink: Name of the output.
        kind: A verdict or a dead letter.
        camera: The frame's camera; None where it is not known.
        frame_id: The frame.
        reason: Why, in one line.
        refused_at: When it was refused last (UTC).
        again_at: When it was to be sent again (UTC); None: nobody wants that, or it was refused again.
        delivered_at: When it was taken after all (UTC); None: not yet.
    """

    number: int
    sink: str
    kind: str
    camera: str | None
    frame_id: str
    reason: str
    refused_at: datetime
    again_at: datetime | None
    delivered_at: datetime | None


def put_on_record(connection: sa.Connection, sink: str, row: OutboxRow, reason: str) -> None:
    """Put a refusal on record; a row that was delivered again after a kill, and refused again, stays one."""
    if row.content is None:
        return
    letter = isinstance(row.content, DeadLetter)
    frame = row.content if isinstance(row.content, DeadLetter) else row.content.verdict
    values = {
        "sink": sink,
        "txid": row.key.txid,
        "id": row.key.id,
        "kind": OutboxKind.DEAD_LETTER if letter else OutboxKind.VERDICT,
        "received_at": frame.received_at,
        "camera": frame.camera,
        "frame_id": frame.frame_id,
        "reason": reason[:MAX_REASON],
    }
    new = insert(output_refusals).values(**values)
    changed: dict[str, object] = {
        "reason": new.excluded.reason,
        "refused_at": sa.func.clock_timestamp(),
        "again_at": None,
    }
    connection.execute(new.on_conflict_do_update(constraint="output_refusals_row", set_=changed))


def count_recent(connection: sa.Connection, sink: str) -> int:
    """Return how many messages the peer of an output refused within the last minute."""
    row, now = output_refusals.c, sa.func.clock_timestamp()
    # What is of the future was written before the clock jumped back: it is not of the last minute.
    recent = (row.sink == sink, row.refused_at > now - _MINUTE, row.refused_at <= now)
    return connection.scalar(sa.select(sa.func.count()).select_from(output_refusals).where(*recent)) or 0


def to_send_again(connection: sa.Connection, sink: str, limit: int) -> list[tuple[int, OutboxRow]]:
    """Return messages that somebody wants sent again, with their numbers, oldest first."""
    row = output_refusals.c
    # Written out, so that the planner sees that the index of these fits.
    wanted: sa.ColumnElement[bool] = sa.literal_column("again_at IS NOT NULL AND delivered_at IS NULL")
    place = (sa.literal(0, sa.BigInteger).label("txid"), row.number.label("id"))
    page = sa.select(*place, row.kind, row.received_at, row.camera, row.frame_id).where(row.sink == sink, wanted)
    query = with_results(page.order_by(row.number).limit(limit).subquery("page"))
    found = map(row_from, connection.execute(query).mappings())
    return [(each.key.id, each) for each in found]


def settle_again(connection: sa.Connection, number: int, refused: str | None) -> None:
    """Note what became of a message that was sent again: it was taken, or refused once more."""
    values: dict[str, object]
    if refused is None:
        values = {"delivered_at": sa.func.clock_timestamp()}
    else:
        values = {"reason": refused[:MAX_REASON], "refused_at": sa.func.clock_timestamp(), "again_at": None}
    connection.execute(sa.update(output_refusals).where(output_refusals.c.number == number).values(**values))


def refusals(engine: sa.Engine, sink: str | None = None, limit: int = 50) -> list[Refusal]:
    """Return what was refused and not taken since, newest first.

    Raises:
        DatabaseAwayError: PostgreSQL does not answer.
    """
    row = output_refusals.c
    query = sa.select(*(row[name] for name in Refusal._fields)).where(row.delivered_at.is_(None))
    if sink is not None:
        query = query.where(row.sink == sink)
    with transaction(engine) as connection:
        return [Refusal(*each) for each in connection.execute(query.order_by(row.number.desc()).limit(limit))]


def refusal_counts(engine: sa.Engine) -> dict[str, int]:
    """Return, by output, how many messages were refused and not taken since.

    Raises:
        DatabaseAwayError: PostgreSQL does not answer.
    """
    row = output_refusals.c
    query = sa.select(row.sink, sa.func.count()).where(row.delivered_at.is_(None)).group_by(row.sink)
    with transaction(engine) as connection:
        return dict(connection.execute(query).tuples().all())


def send_again(engine: sa.Engine, sink: str, number: int | None, *, who: str, reason: str) -> int:
    """Let the relay send a refused message again, or all of an output's; return how many.

    Args:
        engine: The database.
        sink: Name of the output.
        number: Which message; None: all that were refused and not taken since.
        who: Who wants it.
        reason: Why.

    Raises:
        ValueError: The reason is empty or too long.
        DatabaseAwayError: PostgreSQL does not answer; to try again is safe.
    """
    text = checked_reason(reason)
    row = output_refusals.c
    again = sa.update(output_refusals).where(row.sink == sink, row.delivered_at.is_(None), row.again_at.is_(None))
    if number is not None:
        again = again.where(row.number == number)
    with transaction(engine) as connection:
        asked = connection.execute(again.values(again_at=sa.func.clock_timestamp())).rowcount
        if asked:
            detail = {"messages": asked} | ({} if number is None else {"number": number})
            record(connection, who, "send_again", output_subject(sink), reason=text, detail=detail)
    return asked
