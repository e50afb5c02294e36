"""How the line runs, by what is in the database: times of each stage, throughput, dead letters, and what takes the space."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import sqlalchemy as sa

from infra.store.connect import transaction
from infra.store.tables import PARTITIONED, dead_letters, verdicts

RECENT_FRAMES = 2000
_SHARES = (0.5, 0.95)


@dataclass(frozen=True, slots=True)
class StageTime:
    """How long a stage took for the newest frames, in seconds.

    Attributes:
        name: `to_bus`, `waiting`, `decoding`, `scoring`, `committing` or `in_all`.
        median: Of the newest frames.
        high: 95 % of them took less.
    """

    name: str
    median: float
    high: float


@dataclass(frozen=True, slots=True)
class Pace:
    """The newest frames.

    Attributes:
        frames: How many they are, RECENT_FRAMES at most.
        first: When the oldest of them was received (UTC); None where there is none.
        last: When the newest of them was.
        stages: How long each stage took for those of them that were scored; empty where none was.
    """

    frames: int
    first: datetime | None
    last: datetime | None
    stages: tuple[StageTime, ...]


@dataclass(frozen=True, slots=True)
class LetterKey:
    """Where a dead letter lies, and its place in the list."""

    committed_at: datetime
    received_at: datetime
    topic: str
    partition: int
    bus_offset: int


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter, as a person reads it."""

    committed_at: datetime
    received_at: datetime
    topic: str
    partition: int
    bus_offset: int
    frame_id: str
    camera: str
    reason: str
    detail: str
    headers: dict[str, str]
    body_ref: str | None

    @property
    def key(self) -> LetterKey:
        """Where it stands in the list."""
        return LetterKey(self.committed_at, self.received_at, self.topic, self.partition, self.bus_offset)


@dataclass(frozen=True, slots=True)
class TableSize:
    """What a table takes on the disk, its indexes and partitions included.

    Attributes:
        bytes: In all.
        oldest_day: The first day (UTC) that it still has; None where it is not partitioned by day.
    """

    name: str
    bytes: int
    oldest_day: date | None


def pace(engine: sa.Engine) -> Pace:
    """Return how long the newest frames took, over all cameras.

    Raises:
        DatabaseAwayError: The database does not answer.
    """
    with transaction(engine) as connection:
        row = connection.execute(pace_query()).mappings().one()
    stages = tuple(
        StageTime(name, *(float(value) for value in row[name])) for name in _stages(verdicts) if row[name] is not None
    )
    return Pace(row["frames"], row["first"], row["last"], stages)


def pace_query() -> sa.Select[*tuple[Any, ...]]:
    """The end of the primary key, and quantiles of it."""
    newest = sa.select(verdicts).order_by(verdicts.c.received_at.desc()).limit(RECENT_FRAMES).subquery("newest")
    scored = newest.c.scored_at.is_not(None)
    shares = sa.literal(list(_SHARES), sa.ARRAY(sa.Double))
    quantiles = [
        sa.func.percentile_cont(shares).within_group(seconds).filter(scored).label(name)
        for name, seconds in _stages(newest).items()
    ]
    return sa.select(
        sa.func.count().label("frames"),
        sa.func.min(newest.c.received_at).label("first"),
        sa.func.max(newest.c.received_at).label("last"),
        *quantiles,
    )


def _stages(of: sa.FromClause) -> dict[str, sa.ColumnElement[float]]:
    row = of.c

    def between(first: sa.ColumnElement[Any], then: sa.ColumnElement[Any]) -> sa.ColumnElement[float]:
        return sa.cast(sa.extract("epoch", then - first), sa.Double)

    return {
        "to_bus": between(row.captured_at, row.received_at),
        "waiting": between(row.received_at, row.scored_at),
        "decoding": sa.cast(row.decode_ms / 1000.0, sa.Double),
        "scoring": sa.cast(row.score_ms / 1000.0, sa.Double),
        "committing": between(row.scored_at, row.committed_at),
        "in_all": between(row.captured_at, row.committed_at),
    }


def letters(engine: sa.Engine, *, after: LetterKey | None = None, limit: int = 20) -> list[Letter]:
    """Return dead letters, newest first.

    Args:
        engine: The database.
        after: The last one of the page before; None: from the newest.
        limit: Most that are returned.

    Raises:
        DatabaseAwayError: The database does not answer.
    """
    with transaction(engine) as connection:
        return [_letter(row) for row in connection.execute(letters_query(after, limit)).mappings()]


def letters_query(after: LetterKey | None, limit: int) -> sa.Select[*tuple[Any, ...]]:
    """A page by the index of the time of commit."""
    row = dead_letters.c
    order = (row.committed_at, row.received_at, row.topic, row.partition, row.bus_offset)
    query = sa.select(*(row[name] for name in Letter.__dataclass_fields__))
    if after is not None:
        place = (after.committed_at, after.received_at, after.topic, after.partition, after.bus_offset)
        query = query.where(row.committed_at <= after.committed_at, sa.tuple_(*order) < place)
    return query.order_by(*(column.desc() for column in order)).limit(limit)


def _letter(row: Mapping[Any, Any]) -> Letter:
    headers = {str(name): str(value) for name, value in row["headers"].items()}
    return Letter(**{**{name: row[name] for name in Letter.__dataclass_fields__}, "headers": headers})


def table_sizes(engine: sa.Engine) -> list[TableSize]:
    """Return what the tables take on the disk, the largest first.

    Raises:
        DatabaseAwayError: The database does not answer.
    """
    with transaction(engine) as connection:
        rows = connection.execute(_SIZES).all()
    found = [TableSize(row.name, row.bytes, row.oldest if row.name in PARTITIONED else None) for row in rows]
    return sorted(found, key=lambda size: -size.bytes)


_SIZES = sa.text(r"""
    SELECT root.relname AS name,
           sum(pg_total_relation_size(part.relid))::bigint AS bytes,
           min(to_date(substring(part.relid::regclass::text FROM '\d{8}'), 'YYYYMMDD')) AS oldest
    FROM pg_class root CROSS JOIN LATERAL (
        SELECT relid FROM pg_partition_tree(root.oid) UNION SELECT root.oid::regclass
    ) part
    WHERE root.relnamespace = current_schema()::regnamespace AND root.relkind IN ('r', 'p') AND NOT root.relispartition
    GROUP BY root.relname
""")


def server_version(engine: sa.Engine) -> str:
    """Return PostgreSQL's version.

    Raises:
        DatabaseAwayError: The database does not answer.
    """
    with transaction(engine) as connection:
        return str(connection.scalar(sa.text("SHOW server_version")))
