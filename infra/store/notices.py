"""Alerts that people are still to be told of, by target: a mail address, a chat, a phone.

An alert waits for a target while it is open and the target has no row of it. Alerts do not become visible in the order of
their numbers, so a target's cursor, which keeps the search short, stays behind every alert of the last hour.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from infra.store.connect import transaction
from infra.store.tables import alert_notices, alerts, notice_cursors, verdicts

_TURN_LOCK = 570_413_017  # any number that nothing else in the database locks
_LONGEST_TRANSACTION = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class WaitingAlert:
    """An open alert that a target was not told of; times in UTC."""

    id: int
    kind: str
    camera: str
    product: str
    opened_at: datetime
    missing: int | None
    detail: str | None
    part_id: str | None


class NoticeTurn:
    """The right to tell one target; what it has been told is on record once its transaction is committed."""

    def __init__(self, connection: sa.Connection, target: str) -> None:
        self._connection = connection
        self._target = target

    def waiting(self, now: datetime, limit: int) -> list[WaitingAlert]:
        """Return open alerts that the target was not told of, lowest number first.

        Args:
            now: The time, for the cursor.
            limit: Most that are returned.

        Raises:
            DatabaseAwayError: PostgreSQL does not answer.
        """
        cursor = sa.select(notice_cursors.c.after_id).where(notice_cursors.c.target == self._target)
        after = self._connection.scalar(cursor) or 0
        told = sa.exists().where(alert_notices.c.target == self._target, alert_notices.c.alert_id == alerts.c.id)
        chosen = (
            sa.select(alerts)
            # Written out, so that the planner sees that the index of the open alerts fits.
            .where(alerts.c.state == sa.literal_column("'open'"), alerts.c.id > after, ~told)
            .order_by(alerts.c.id)
            .limit(limit)
            .subquery("chosen")
        )
        of_its_frame = sa.and_(*(verdicts.c[name] == chosen.c[name] for name in ("received_at", "camera", "frame_id")))
        names = (name for name in WaitingAlert.__dataclass_fields__ if name != "part_id")
        query = (
            sa.select(*(chosen.c[name] for name in names), verdicts.c.part_id)
            .select_from(chosen.outerjoin(verdicts, of_its_frame))
            .order_by(chosen.c.id)
        )
        found = [WaitingAlert(**row) for row in self._connection.execute(query).mappings()]
        if not found:
            self._move_on(after, now - _LONGEST_TRANSACTION)
        return found

    def told(self, alert_ids: Sequence[int]) -> None:
        """Put on record that the target knows of alerts.

        Raises:
            DatabaseAwayError: PostgreSQL does not answer; it may be told of them again.
        """
        rows = [{"target": self._target, "alert_id": alert_id} for alert_id in alert_ids]
        self._connection.execute(sa.insert(alert_notices), rows)

    def _move_on(self, after: int, opened_until: datetime) -> None:
        """Nothing waits: leave out what is so old that no transaction can still bring an alert of that time."""
        newest = sa.select(alerts.c.id).where(alerts.c.opened_at <= opened_until).order_by(alerts.c.id.desc()).limit(1)
        reached = self._connection.scalar(newest)
        if reached is None or reached <= after:
            return
        insert = postgresql.insert(notice_cursors).values(target=self._target, after_id=reached)
        self._connection.execute(
            insert.on_conflict_do_update(
                index_elements=[notice_cursors.c.target], set_={"after_id": insert.excluded.after_id}
            )
        )


@contextmanager
def notice_turn(engine: sa.Engine, target: str) -> Iterator[NoticeTurn | None]:
    """Ask for the turn of a target, in one transaction with the block; None where another program has it.

    Raises:
        DatabaseAwayError: PostgreSQL does not answer; nothing is on record.
    """
    with transaction(engine) as connection:
        lock = sa.func.pg_try_advisory_xact_lock(_TURN_LOCK, sa.func.hashtext(target))
        yield NoticeTurn(connection, target) if connection.scalar(sa.select(lock)) else None


def waiting_count(engine: sa.Engine, target: str) -> int:
    """Return how many open alerts the target was not told of.

    Raises:
        DatabaseAwayError: PostgreSQL does not answer.
    """
    cursor = sa.select(notice_cursors.c.after_id).where(notice_cursors.c.target == target).scalar_subquery()
    told = sa.exists().where(alert_notices.c.target == target, alert_notices.c.alert_id == alerts.c.id)
    query = (
        sa.select(sa.func.count())
        .select_from(alerts)
        .where(alerts.c.state == sa.literal_column("'open'"), alerts.c.id > sa.func.coalesce(cursor, 0), ~told)
    )
    with transaction(engine) as connection:
        return connection.scalar(query) or 0
