"""The right to deliver to one output, which one relay has at a time; it lasts as long as its connection."""

from collections.abc import Sequence
from typing import NamedTuple

import sqlalchemy as sa

from infra.errors import OutputError
from infra.store.connect import database_errors
from infra.store.outbox import OutboxKey, OutboxKind, OutboxRow, page_query, row_from
from infra.store.output_refusals import count_recent, put_on_record, settle_again, to_send_again
from infra.store.tables import output_cursors

_AGAIN_AT_ONCE = 100


class Cursor(NamedTuple):
    """Up to where an output has passed the rows of a kind.

    Attributes:
        key: The last row that it has passed.
        refused_in_a_row: How many messages its peer refused last, with none taken in between.
    """

    key: OutboxKey
    refused_in_a_row: int


class OutputTurn:
    """Reads what waits for an output, and moves it on; every method may find PostgreSQL away, which ends the turn."""

    def __init__(self, connection: sa.Connection, sink: str) -> None:
        self._connection = connection
        self._sink = sink

    def cursors(self) -> dict[OutboxKind, Cursor]:
        """Return where it stands, by kind.

        Raises:
            DatabaseAwayError: PostgreSQL does not answer.
        """
        row = output_cursors.c
        query = sa.select(row.kind, row.txid, row.id, row.refused_in_a_row).where(row.sink == self._sink)
        with database_errors(), self._connection.begin():
            found = self._connection.execute(query).all()
        return {OutboxKind(kind): Cursor(OutboxKey(txid, id_), in_a_row) for kind, txid, id_, in_a_row in found}

    def take(self, kind: OutboxKind, after: OutboxKey, limit: int) -> list[OutboxRow]:
        """Return the next rows of a kind behind a key, in order.

        Raises:
            DatabaseAwayError: PostgreSQL does not answer.
        """
        with database_errors(), self._connection.begin():
            rows = self._connection.execute(page_query(kind, after, limit)).mappings()
            return [row_from(row) for row in rows]

    def advance(
        self, kind: OutboxKind, key: OutboxKey, refused_in_a_row: int, refused: Sequence[tuple[OutboxRow, str]] = ()
    ) -> None:
        """Pass the rows of a kind up to a key, and put on record what was refused, in one transaction.

        Raises:
            OutputError: The output was forgotten meanwhile.
            DatabaseAwayError: PostgreSQL does not answer; what was acknowledged may be delivered again.
        """
        row = output_cursors.c
        now = sa.func.clock_timestamp()
        moved = {"txid": key.txid, "id": key.id, "refused_in_a_row": refused_in_a_row, "moved_at": now, "turn_at": now}
        mine = (row.sink == self._sink, row.kind == kind)
        with database_errors(), self._connection.begin():
            if not self._connection.execute(sa.update(output_cursors).where(*mine).values(**moved)).rowcount:
                raise OutputError(f"the output {self._sink} has no place in the outbox any more: it was forgotten")
            for each, reason in refused:
                put_on_record(self._connection, self._sink, each, reason)

    def refused_lately(self) -> int:
        """Return how many messages the peer refused within the last minute.

        Raises:
            DatabaseAwayError: PostgreSQL does not answer.
        """
        with database_errors(), self._connection.begin():
            return count_recent(self._connection, self._sink)

    def again(self) -> list[tuple[int, OutboxRow]]:
        """Return refused messages that somebody wants sent again, 100 at most, with their numbers.

        Raises:
            DatabaseAwayError: PostgreSQL does not answer.
        """
        with database_errors(), self._connection.begin():
            return to_send_again(self._connection, self._sink, _AGAIN_AT_ONCE)

    def settle_again(self, number: int, refused: str | None) -> None:
        """Note what became of one of them: None, or why it was refused once more.

        Raises:
            DatabaseAwayError: PostgreSQL does not answer.
        """
        with database_errors(), self._connection.begin():
            settle_again(self._connection, number, refused)

    def keep(self) -> None:
        """Say that the output is worked for, also while nothing moves.

        Raises:
            DatabaseAwayError: PostgreSQL does not answer: the turn may be another relay's.
        """
        touched = sa.update(output_cursors).where(output_cursors.c.sink == self._sink)
        with database_errors(), self._connection.begin():
            self._connection.execute(touched.values(turn_at=sa.func.clock_timestamp()))
