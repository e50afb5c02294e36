"""Drift: where the tests of all cameras stand, and what one camera and product did within a time."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import streamlit as st

from dashboard.access import Right, needs
from dashboard.drift_distances import (
    Distance,
    DistanceBucket,
    Standing,
    distance_of_sums,
    distances_over_time,
    standings,
    step_of_tests,
)
from dashboard.sources import sources
from infra.clock import utc_now
from infra.store.drift_history import DriftBucket, drift_buckets
from infra.store.drift_standings import Calibration, calibrations, drift_standings
from infra.store.promotions import Promotion, promotions_of
from infra.store.rollups import RollupSeries, rollup_series, rollup_sums

RECENTLY = timedelta(hours=24)
MOST_LINES = 500
REFRESH_S = 30


@dataclass(frozen=True, slots=True)
class History:
    """What a camera and product did from `since` to `until`.

    Attributes:
        series: Scores and picture quality, in buckets.
        distances: How far scores lie from calibration, over time; what cannot be told is left out.
        tests: How the tests went, by kind and time.
        models: What the models of these frames were calibrated with, by number.
        promotions: When another model came into force, oldest first.
        whole: Distance of all frames of the range together; None where there are none with a score.
        frames: All frames of the range.
    """

    since: datetime
    until: datetime
    series: RollupSeries
    distances: tuple[DistanceBucket, ...]
    tests: tuple[DriftBucket, ...]
    models: Mapping[int, Calibration]
    promotions: tuple[Promotion, ...]
    whole: Distance | None
    frames: int


@needs(Right.SEE)
def overview() -> tuple[Standing, ...]:
    """Return where all cameras and products stand, those that have alarmed first; at most MOST_LINES.

    Raises:
        DatabaseAwayError: The database does not answer.
    """
    return _overview()


@needs(Right.SEE)
def history(camera: str, product: str, since: datetime, until: datetime | None) -> History:
    """Return what a camera and product did; the same answer for half a minute.

    Args:
        camera: Which camera.
        product: Which product.
        since: Begin.
        until: End; None: now.

    Raises:
        DatabaseAwayError: The database does not answer.
    """
    tick = int(utc_now().timestamp() / REFRESH_S) if until is None else 0
    return _history(camera, product, since, until, tick)


@st.cache_data(ttl=REFRESH_S / 2, max_entries=1, show_spinner=False)
def _overview() -> tuple[Standing, ...]:
    database, now = sources().database, utc_now()
    tests = drift_standings(database)
    recent = rollup_sums(database, now - RECENTLY, now)
    known = calibrations(database, _numbers([*(one.model_id for one in tests), *(one.model_id for one in recent)]))
    return standings(tests, recent, known)[:MOST_LINES]


@st.cache_data(ttl=2.0 * REFRESH_S, max_entries=64, show_spinner=False)
def _history(camera: str, product: str, since: datetime, until: datetime | None, tick: int) -> History:  # noqa: ARG001 - part of the cache's key
    database, end = sources().database, until or utc_now()
    series = rollup_series(database, camera, since, end, product=product)
    sums = rollup_sums(database, since, end, camera=camera, product=product)
    tests = drift_buckets(database, camera, product, since=since, until=end, step=step_of_tests(since, end))
    models = calibrations(database, _numbers([*(one.model_id for one in sums), *(one.model_id for one in tests)]))
    promoted = [one for one in promotions_of(database, product) if since <= one.done_at < end]
    return History(
        since,
        end,
        series,
        distances_over_time(series, models),
        tuple(tests),
        models,
        tuple(reversed(promoted)),
        distance_of_sums(sums, models),
        sum(one.frames for one in sums),
    )


def _numbers(model_ids: Iterable[int | None]) -> set[int]:
    return {number for number in model_ids if number is not None}
