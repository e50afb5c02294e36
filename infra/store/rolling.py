"""Keeps the rollups of the verdicts up: see infra/store/rollups.py for what they are.

A trigger of `verdicts` marks the camera and the ten minutes of what is inserted, in the same transaction. A roller takes such
marks away and counts their verdicts anew, all of them, from `verdicts`. What it reads was taken after the marks, so it has
every verdict that they stand for; a verdict that is committed later has a mark of its own, which stays. So rollups are never
wrong for good: not by verdicts that come late or twice, by a roller that is killed, nor by several at once. Nothing is ever
added to a count.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from infra.store.connect import transaction
from infra.store.rollups import BUCKET, P_VALUE_BINS
from infra.store.tables import rollup_marks

_QUANTILES = {"lowest": 0.0, "q05": 0.05, "q25": 0.25, "median": 0.5, "q75": 0.75, "q95": 0.95, "highest": 1.0}
_COUNTED = ("frames", "defects", "no_verdicts")
_QUALITY = ("focus", "brightness", "contrast")


@dataclass(frozen=True, slots=True)
class Waiting:
    """Ten minutes of a camera, beginning at `at`, that are to be counted anew."""

    camera: str
    at: datetime


def waiting(engine: sa.Engine, older_than: timedelta, most: int) -> list[Waiting]:
    """Return what is to be counted anew, what was marked first before the others; of the same age, the newest frames first.

    Args:
        engine: The database.
        older_than: Only where the first mark is so old: ten minutes that go on are not counted after every batch.
        most: So many at most.

    Raises:
        DatabaseAwayError: PostgreSQL does not answer.
    """
    mark = rollup_marks.c
    first = sa.func.min(mark.marked_at)
    query = (
        sa.select(mark.camera, mark.at)
        .group_by(mark.camera, mark.at)
        .having(first <= sa.func.clock_timestamp() - older_than)
        .order_by(first, mark.at.desc())
        .limit(most)
    )
    with transaction(engine) as connection:
        return [Waiting(*row) for row in connection.execute(query)]


def roll(engine: sa.Engine, due: Waiting) -> bool:
    """Count ten minutes of a camera anew, in one transaction.

    Returns:
        False where another roller has this camera, or has done it already.

    Raises:
        DatabaseAwayError: PostgreSQL does not answer; to try again is safe.
    """
    these = sa.and_(rollup_marks.c.camera == due.camera, rollup_marks.c.at == due.at)
    with transaction(engine) as connection:
        if not connection.scalar(_LOCK, {"camera": due.camera}):
            return False
        # Each statement sees what is committed before it begins: what is counted was read after the marks were taken.
        if not connection.execute(sa.delete(rollup_marks).where(these)).rowcount:
            return False
        connection.execute(_COUNT_ANEW, {"camera": due.camera, "at": due.at, "until": due.at + BUCKET})
        return True


_LOCK = sa.text("SELECT pg_try_advisory_xact_lock(hashtext('rollups'), hashtext(:camera))")

_VALUES = (*_COUNTED, *_QUANTILES, "threshold", "p_values", *_QUALITY)
_COUNT_ANEW = sa.text(f"""
WITH seen AS MATERIALIZED (
    SELECT product, coalesce(model_id, 0) AS model_id, state, threshold, {", ".join(_QUALITY)},
           CASE WHEN state <> 'NO_VERDICT' THEN score END AS score,
           -- A p-value is a fraction, and 0.14 * 50 is a little more than 7.
           CASE WHEN state <> 'NO_VERDICT' AND p_value > 0 AND p_value <= 1
                THEN greatest(ceil(p_value * {P_VALUE_BINS} - 1e-9), 1)::integer END AS bin
    FROM verdicts
    WHERE camera = :camera AND received_at >= :at AND received_at < :until
), bins AS (
    SELECT product, model_id, bin, count(*)::integer AS frames FROM seen WHERE bin IS NOT NULL GROUP BY 1, 2, 3
), sums AS (
    SELECT product, model_id, count(*) AS frames, count(*) FILTER (WHERE state = 'DEFECT') AS defects,
           count(*) FILTER (WHERE state = 'NO_VERDICT') AS no_verdicts,
           percentile_cont(ARRAY[{", ".join(map(str, _QUANTILES.values()))}]) WITHIN GROUP (ORDER BY score) AS quantiles,
           max(threshold) FILTER (WHERE state <> 'NO_VERDICT') AS threshold,
           {", ".join(f"percentile_cont(0.5) WITHIN GROUP (ORDER BY {name}) AS {name}" for name in _QUALITY)}
    FROM seen GROUP BY 1, 2
)
INSERT INTO verdict_rollups (camera, at, product, model_id, {", ".join(_VALUES)})
SELECT :camera, :at, product, model_id, {", ".join(_COUNTED)},
       {", ".join(f"quantiles[{place}]" for place in range(1, len(_QUANTILES) + 1))}, threshold,
       ARRAY(SELECT coalesce(b.frames, 0) FROM generate_series(1, {P_VALUE_BINS}) AS n
             LEFT JOIN bins b ON b.bin = n AND b.product = sums.product AND b.model_id = sums.model_id ORDER BY n),
       {", ".join(_QUALITY)}
FROM sums
ON CONFLICT (camera, at, product, model_id) DO UPDATE
SET {", ".join(f"{name} = excluded.{name}" for name in _VALUES)}, rolled_at = clock_timestamp()
""")  # noqa: S608 - names of our own columns
