"""Where each output stands in the outbox, and the turn to deliver to it, which one relay has at a time.

An output has a cursor for each kind of row that it wants, so that dead letters that cannot go out hold up no verdict. The very
first outputs begin at whatever was put aside; one that joins later begins at now. A row of the outbox goes once every cursor of
its kind is behind it.

An output that is turned off keeps its place, and with it the rows behind it: nobody can tell a relay that is down from one that
is not wanted any more. `differline outputs forget` says that it is not wanted; and an output that no relay has worked for
longer than the setting allows, while relays of others did work, is forgotten with a row in the audit log.
"""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import sqlalchemy as sa

from infra.errors import OutputError
from infra.store.audit import output_subject, record
from infra.store.connect import database_errors, transaction
from infra.store.outbox import SETTLED, Backlog, OutboxKey, OutboxKind
from infra.store.output_turn import OutputTurn
from infra.store.reasons import checked_reason
from infra.store.tables import outbox, output_cursors

_BEFORE_0016_LOCK = 5_704_130_002  # what relays of earlier versions hold while they work
_SINK_LOCKS = 570_413  # first half of the locks of the outputs; any number that nothing else locks
_CURSORS_LOCK = sa.text("SELECT pg_advisory_xact_lock(hashtext('output_cursors'))")
# A machine that vanished is noticed in half a minute, and its turn is free; over a Unix socket this does nothing.
_KEEPALIVE = "SET tcp_keepalives_idle = 15; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3"
PRUNED_AT_ONCE = 10_000
_NEXT_TXID = sa.literal_column("pg_snapshot_xmax(pg_current_snapshot())::text::bigint", sa.BigInteger)
_LAST_ID = 2**63 - 1
_COMMON_REST = timedelta(minutes=5)  # a relay that works says so twice a minute
_PLACES = sa.select(output_cursors.c.kind, output_cursors.c.txid, output_cursors.c.id)
_AT_WORK = sa.text("""
    SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 2
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND classid::bigint = :locks AND objid::bigint = hashtext(:sink)::bigint & 4294967295)
""")


class OutputState(NamedTuple):
    """How an output stands.

    Attributes:
        sink: Its name.
        waiting: What waits for it.
        begun_at: When it joined (UTC).
        moved_at: When its peer last took or refused something (UTC); None: never.
        turn_at: When a relay last worked for it (UTC).
        at_work: Whether one does now.
    """

    sink: str
    waiting: Backlog
    begun_at: datetime
    moved_at: datetime | None
    turn_at: datetime
    at_work: bool


def subscribe(engine: sa.Engine, sinks: Mapping[str, Collection[OutboxKind]]) -> None:
    """Give each output a cursor for each kind that it wants, where it has none; and take from it those that it does not want.

    Raises:
        DatabaseAwayError: PostgreSQL does not answer.
    """
    cursor = output_cursors.c
    with transaction(engine) as connection:
        connection.execute(_CURSORS_LOCK)
        # A database that was restored from a dump counts its transactions anew: what was passed there says nothing here.
        lost = sa.update(output_cursors).where(cursor.txid >= _NEXT_TXID).values(txid=0, id=0)
        connection.execute(lost)
        _leave_out_common_rest(connection)
        known = {(row.sink, row.kind) for row in connection.execute(sa.select(cursor.sink, cursor.kind))}
        now = sa.select(SETTLED - 1).scalar_subquery()
        for sink, kinds in sinks.items():
            unwanted = sa.delete(output_cursors).where(cursor.sink == sink, cursor.kind.not_in(list(kinds)))
            connection.execute(unwanted)
            for kind in sorted(kinds):
                if (sink, kind) in known:
                    continue
                place = {"txid": now, "id": _LAST_ID} if known else {"txid": 0, "id": 0}
                connection.execute(sa.insert(output_cursors).values(sink=sink, kind=kind, **place))


@contextmanager
def output_turn(engine: sa.Engine, sink: str) -> Iterator[OutputTurn | None]:
    """Ask for the turn of an output; None where another relay has it. It ends with the block, or with this process.

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
                # A relay of an earlier version takes out what the others have not seen: never at the same time.
                mine = connection.scalar(sa.select(sa.func.pg_try_advisory_lock_shared(_BEFORE_0016_LOCK)))
                mine = mine and connection.scalar(sa.select(sa.func.pg_try_advisory_lock(*_lock(sink))))
        yield OutputTurn(connection, sink) if mine else None
    finally:
        with database_errors():
            connection.close()


def prune(engine: sa.Engine) -> int:
    """Take out rows that every output has passed, or that none wants; return how many, 10,000 of each kind at most.

    Raises:
        DatabaseAwayError: PostgreSQL does not answer.
    """
    row, cursor = outbox.c, output_cursors.c
    pruned = 0
    with transaction(engine) as connection:
        places = [(kind, OutboxKey(txid, id_)) for kind, txid, id_ in connection.execute(_PLACES)]
        # One of another database counts from another time; the next subscription mends it.
        if not places or connection.scalar(sa.select(sa.exists().where(cursor.txid >= _NEXT_TXID))):
            return 0
        for kind in OutboxKind:
            of_kind: sa.ColumnElement[bool] = sa.literal_column(f"outbox.kind = '{kind}'")  # for the planner
            passed = [row.txid < SETTLED, of_kind]
            if slowest := min((place for of, place in places if of == kind), default=None):
                passed.append(sa.tuple_(row.txid, row.id) <= sa.tuple_(*map(sa.literal, slowest)))
            first = sa.select(row.txid, row.id).where(*passed).order_by(row.txid, row.id).limit(PRUNED_AT_ONCE)
            pruned += connection.execute(sa.delete(outbox).where(sa.tuple_(row.txid, row.id).in_(first))).rowcount
    return pruned


def output_states(engine: sa.Engine) -> list[OutputState]:
    """Return how each output stands that was ever on and not forgotten, by name.

    Raises:
        DatabaseAwayError: PostgreSQL does not answer.
    """
    cursor = output_cursors.c
    times = (sa.func.min(cursor.begun_at), sa.func.max(cursor.moved_at), sa.func.max(cursor.turn_at))
    query = sa.select(cursor.sink, *times).group_by(cursor.sink).order_by(cursor.sink)
    found: list[OutputState] = []
    with transaction(engine) as connection:
        for sink, begun_at, moved_at, turn_at in connection.execute(query).all():
            at_work = bool(connection.scalar(_AT_WORK, {"locks": _SINK_LOCKS, "sink": sink}))
            found.append(OutputState(sink, waiting_for(connection, sink), begun_at, moved_at, turn_at, at_work))
    return found


def waiting_for(connection: sa.Connection, sink: str) -> Backlog:
    """Return what waits for one output, rows of running transactions left out."""
    row, cursor = outbox.c, output_cursors.c
    behind = sa.tuple_(row.txid, row.id) > sa.tuple_(cursor.txid, cursor.id)
    joined = outbox.join(output_cursors, sa.and_(cursor.kind == row.kind, behind))
    query = sa.select(sa.func.count(), sa.func.min(row.created_at)).select_from(joined).where(cursor.sink == sink)
    rows, oldest_at = connection.execute(query).one()
    return Backlog(rows, None if oldest_at is None else oldest_at.astimezone(UTC))


def forget(engine: sa.Engine, sink: str, *, who: str, reason: str) -> None:
    """Let an output that is turned off hold nothing any more; if it is turned on again, it begins at that time.

    Raises:
        ValueError: The reason is empty or too long.
        LookupError: There is no such output.
        OutputError: A relay works for it.
        DatabaseAwayError: PostgreSQL does not answer.
    """
    text = checked_reason(reason)
    with transaction(engine) as connection:
        if not _forget(connection, sink, who, text):
            raise OutputError(f"a relay delivers to {sink} now: turn it off there first")


def forget_idle(engine: sa.Engine, after: timedelta, who: str) -> list[str]:
    """Forget outputs that no relay has worked for so long; return their names.

    Call it where a relay works: then it is not the relay that is missing, but the wish for that output.

    Raises:
        DatabaseAwayError: PostgreSQL does not answer.
    """
    cursor = output_cursors.c
    idle = sa.func.max(cursor.turn_at) < sa.func.clock_timestamp() - after
    query = sa.select(cursor.sink).group_by(cursor.sink).having(idle).order_by(cursor.sink)
    why = f"no relay has worked for it for {after.total_seconds() / 86400:g} days"
    with transaction(engine) as connection:
        return [sink for sink in connection.scalars(query).all() if _forget(connection, sink, who, why)]


def _leave_out_common_rest(connection: sa.Connection) -> None:
    """Count the time in which no relay worked at all against none of them: a plant that stood still has forgotten nothing."""
    cursor, now = output_cursors.c, sa.func.clock_timestamp()
    rest = sa.select(now - sa.func.max(cursor.turn_at)).scalar_subquery()
    rested = sa.update(output_cursors).where(rest > _COMMON_REST).values(turn_at=cursor.turn_at + rest)
    connection.execute(rested)


def _forget(connection: sa.Connection, sink: str, who: str, reason: str) -> bool:
    """Forget an output; False where a relay works for it."""
    connection.execute(_CURSORS_LOCK)
    if not connection.scalar(sa.select(sa.func.pg_try_advisory_xact_lock(*_lock(sink)))):
        return False
    waiting = waiting_for(connection, sink)
    if not connection.execute(sa.delete(output_cursors).where(output_cursors.c.sink == sink)).rowcount:
        raise LookupError(f"there is no output {sink!r}")
    record(connection, who, "forget", output_subject(sink), reason=reason, detail={"undelivered": waiting.rows})
    return True


def _lock(sink: str) -> tuple[int, sa.ColumnElement[int]]:
    return _SINK_LOCKS, sa.func.hashtext(sink)
