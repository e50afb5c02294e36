"""Verdicts added up by camera, product, model and ten minutes: what pages read that show days and months.

The scorers keep them up; see infra/store/rolling.py. They lag behind by a minute or two.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from infra.store.connect import transaction
from infra.store.tables import verdict_rollups

BUCKET = timedelta(minutes=10)
P_VALUE_BINS = 50
MOST_BUCKETS = 240
MOST_SUMS = 1_000
_ORIGIN = datetime(2000, 1, 1, tzinfo=UTC)
_COUNTED = ("frames", "defects", "no_verdicts")
_MIDDLE = ("q05", "q25", "median", "q75", "q95")
_QUALITY = ("focus", "brightness", "contrast")


@dataclass(frozen=True, slots=True)
class RollupBucket:
    """Neighbouring frames of a camera: one or more times ten minutes, of one or more products and models.

    Where several are merged, frames, counts and p-values add, `lowest` and `highest` are the lowest and the highest, and
    `threshold` is the highest. `q05` to `q95` and the three qualities are then the mean of those of each ten minutes, each as
    heavy as it has frames: what is usual in this time, not the quantile of all of its frames together. The two differ where the
    scores move within the bucket; the mean always lies between the lowest and the highest quantile of the ten minutes.

    Attributes:
        at: Where it begins (UTC).
        frames: How many frames.
        defects: How many of them are DEFECT.
        no_verdicts: How many of them are NO_VERDICT.
        lowest: Lowest score of what was judged; this and the next seven are None where nothing was.
        q05: Quantiles of the scores.
        threshold: Threshold in force.
        p_values: How many p-values in each of P_VALUE_BINS equal parts of (0, 1], each with its upper end.
        focus: Medians of picture quality (see infra/picture_quality.py); None where it was not measured.
        model_ids: The models that judged, by number.
    """

    at: datetime
    frames: int
    defects: int
    no_verdicts: int
    lowest: float | None
    q05: float | None
    q25: float | None
    median: float | None
    q75: float | None
    q95: float | None
    highest: float | None
    threshold: float | None
    p_values: tuple[int, ...]
    focus: float | None
    brightness: float | None
    contrast: float | None
    model_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class RollupSeries:
    """A camera's buckets, oldest first; at most MOST_BUCKETS + 1. A time without frames has none.

    Attributes:
        width: How long each of them is: ten minutes, or a multiple of it.
    """

    width: timedelta
    buckets: tuple[RollupBucket, ...]


@dataclass(frozen=True, slots=True)
class RollupSum:
    """Everything that one model, or none, said of one product at one camera within a time; see RollupBucket.

    Attributes:
        model_id: None where no model judged.
        first_at: Where the first ten minutes with frames begin (UTC).
        last_at: Where the last ten minutes with frames begin (UTC).
    """

    camera: str
    product: str
    model_id: int | None
    frames: int
    defects: int
    no_verdicts: int
    p_values: tuple[int, ...]
    first_at: datetime
    last_at: datetime


def rollup_series(
    engine: sa.Engine,
    camera: str,
    since: datetime,
    until: datetime,
    *,
    product: str | None = None,
    model_id: int | None = None,
) -> RollupSeries:
    """Return a camera's rollups from the ten minutes that `since` lies in up to `until`, merged in the database.

    Args:
        engine: The database.
        camera: Which camera.
        since: Begin.
        until: End; ten minutes that begin before it are in it as a whole.
        product: Only this product; None: all of them in one series.
        model_id: Only what this model judged.

    Raises:
        DatabaseAwayError: PostgreSQL does not answer.
    """
    width = series_width(since, until)
    with transaction(engine) as connection:
        rows = connection.execute(series_query(camera, since, until, product, model_id)).mappings()
        return RollupSeries(width, tuple(_bucket(row) for row in rows))


def series_width(since: datetime, until: datetime) -> timedelta:
    """Return how long each bucket of a series is, so that MOST_BUCKETS of them are enough."""
    wanted = -((since - until) // (BUCKET * MOST_BUCKETS))  # rounded up
    return BUCKET * max(1, wanted)


def series_query(
    camera: str, since: datetime, until: datetime, product: str | None, model_id: int | None
) -> sa.Select[*tuple[Any, ...]]:
    """A range of the primary key, grouped."""
    rollup = verdict_rollups.c
    judged = rollup.frames - rollup.no_verdicts
    query = (
        sa.select(
            sa.func.date_bin(series_width(since, until), rollup.at, _ORIGIN).label("at"),
            *_counts(),
            sa.func.min(rollup.lowest).label("lowest"),
            *(_mean(rollup[name], judged) for name in _MIDDLE),
            sa.func.max(rollup.highest).label("highest"),
            sa.func.max(rollup.threshold).label("threshold"),
            *(_mean(rollup[name], rollup.frames) for name in _QUALITY),
            sa.func.array_agg(sa.distinct(rollup.model_id)).label("model_ids"),
        )
        .where(rollup.camera == camera, _within(since, until))
        .group_by(sa.literal_column("1"))
        .order_by(sa.literal_column("1"))
    )
    if product is not None:
        query = query.where(rollup.product == product)
    return query if model_id is None else query.where(rollup.model_id == model_id)


def rollup_sums(
    engine: sa.Engine, since: datetime, until: datetime, *, camera: str | None = None, product: str | None = None
) -> list[RollupSum]:
    """Return what was found within a time, by camera, product and model; at most MOST_SUMS of them.

    Args:
        engine: The database.
        since: Begin; the ten minutes that it lies in are in it as a whole.
        until: End; ten minutes that begin before it are in it as a whole.
        camera: Only this camera.
        product: Only this product.

    Raises:
        DatabaseAwayError: PostgreSQL does not answer.
    """
    with transaction(engine) as connection:
        rows = connection.execute(sums_query(since, until, camera, product)).mappings()
        return [
            RollupSum(**{**row, "model_id": row["model_id"] or None, "p_values": tuple(map(int, row["p_values"]))})
            for row in rows
        ]


def sums_query(
    since: datetime, until: datetime, camera: str | None, product: str | None
) -> sa.Select[*tuple[Any, ...]]:
    """A range of the primary key for one camera, else of the index by time."""
    rollup = verdict_rollups.c
    key = (rollup.camera, rollup.product, rollup.model_id)
    ends = (sa.func.min(rollup.at).label("first_at"), sa.func.max(rollup.at).label("last_at"))
    query = sa.select(*key, *_counts(), *ends).where(_within(since, until)).group_by(*key).order_by(*key)
    if camera is not None:
        query = query.where(rollup.camera == camera)
    if product is not None:
        query = query.where(rollup.product == product)
    return query.limit(MOST_SUMS)


def _within(since: datetime, until: datetime) -> sa.ColumnElement[bool]:
    first = _ORIGIN + (since - _ORIGIN) // BUCKET * BUCKET
    return sa.and_(verdict_rollups.c.at >= first, verdict_rollups.c.at < until)


def _counts() -> list[sa.Label[Any]]:
    """Frames by state, and the histogram; element by element, which is quicker than to take the arrays apart."""
    rollup = verdict_rollups.c
    counts = [sa.cast(sa.func.sum(rollup[name]), sa.BigInteger).label(name) for name in _COUNTED]
    bins = ", ".join(f"sum(verdict_rollups.p_values[{n}])" for n in range(1, P_VALUE_BINS + 1))
    return [*counts, sa.literal_column(f"ARRAY[{bins}]").label("p_values")]


def _mean(column: sa.ColumnElement[Any], weight: sa.ColumnElement[Any]) -> sa.Label[Any]:
    known = sa.func.sum(weight).filter(column.is_not(None))
    return (sa.func.sum(column * weight) / sa.func.nullif(known, 0)).label(column.key)


def _bucket(row: Mapping[Any, Any]) -> RollupBucket:
    models = tuple(number for number in row["model_ids"] if number)
    return RollupBucket(**{**row, "p_values": tuple(map(int, row["p_values"])), "model_ids": models})
