"""Drift: where the tests of all cameras stand, and what one camera and product did within a time."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from dashboard.access import Right, needs
from dashboard.sources import sources
from infra.clock import utc_now
from infra.distances import BoundedDistance, ks_of_p_values, p_value_law, psi_by_chance, psi_of_p_values
from infra.store.drift_history import DriftBucket, drift_buckets
from infra.store.drift_standings import Calibration, DriftStanding, calibrations, drift_standings
from infra.store.promotions import Promotion, promotions_of
from infra.store.rollups import P_VALUE_BINS, RollupBucket, RollupSeries, RollupSum, rollup_series, rollup_sums
from infra.store.tables import DriftKind

RECENTLY = timedelta(hours=24)
LEAST_FRAMES = 100
"""With fewer, chance alone makes a PSI of about 0.1."""
MOST_LINES = 500
MOST_STEPS = 360
MOST_DISTANCES = 60
REFRESH_S = 30
_MINUTE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Distance:
    """How far the scores of some frames lie from calibration.

    Attributes:
        frames: How many frames with a score.
        psi: Population stability index.
        chance: The PSI that chance alone makes in the mean, if frames were independent.
        ks: Kolmogorov-Smirnov distance, as far as a histogram tells it.
    """

    frames: int
    psi: float
    chance: float
    ks: BoundedDistance


@dataclass(frozen=True, slots=True)
class DistanceBucket:
    """How far the scores of the frames from `at` on lie from calibration."""

    at: datetime
    width: timedelta
    distance: Distance


@dataclass(frozen=True, slots=True)
class Standing:
    """A camera and product in the table of all.

    Attributes:
        scores: The test of the scores; None where there is none, as without a model.
        pictures: The test of the picture quality.
        distance: Of the scores of the last 24 hours by the model in the test; None where there were none.
        frames: Frames of the last 24 hours, those without a verdict too.
    """

    camera: str
    product: str
    scores: DriftStanding | None
    pictures: DriftStanding | None
    distance: Distance | None
    frames: int

    @property
    def alarmed(self) -> DriftStanding | None:
        """The test that has alarmed, the earlier one where both have."""
        told = [test for test in (self.scores, self.pictures) if test and test.alarmed_at]
        return min(told, key=lambda test: test.alarmed_at or datetime.max.replace(tzinfo=UTC), default=None)


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


def step_of_tests(since: datetime, until: datetime) -> timedelta:
    """Return how many minutes of a test are drawn together, so that MOST_STEPS are enough."""
    return _MINUTE * max(1, -((since - until) // (_MINUTE * MOST_STEPS)))


def standings(
    tests: Sequence[DriftStanding], recent: Sequence[RollupSum], models: Mapping[int, Calibration]
) -> tuple[Standing, ...]:
    """Put tests and recent frames together, by camera and product; what has alarmed comes first."""
    of = {(test.camera, test.product, test.kind): test for test in tests}
    sums: dict[tuple[str, str], list[RollupSum]] = {(test.camera, test.product): [] for test in tests}
    for one in recent:
        sums.setdefault((one.camera, one.product), []).append(one)
    lines = []
    for (camera, product), found in sums.items():
        scores = of.get((camera, product, DriftKind.SCORE))
        same = [one for one in found if scores and one.model_id == scores.model_id]
        pictures = of.get((camera, product, DriftKind.QUALITY))
        frames = sum(one.frames for one in found)
        lines.append(Standing(camera, product, scores, pictures, distance_of_sums(same, models), frames))
    return tuple(sorted(lines, key=lambda line: (line.alarmed is None, line.camera, line.product)))


def distances_over_time(series: RollupSeries, models: Mapping[int, Calibration]) -> tuple[DistanceBucket, ...]:
    """Return how far scores lie from calibration, MOST_DISTANCES of them: each needs many frames to say something."""
    if not series.buckets:
        return ()
    first, last = series.buckets[0].at, series.buckets[-1].at
    merged = max(1, -(-((last - first) // series.width + 1) // MOST_DISTANCES))
    together: dict[int, list[RollupBucket]] = {}
    for bucket in series.buckets:
        together.setdefault((bucket.at - first) // (merged * series.width), []).append(bucket)
    found = []
    for number, buckets in together.items():
        counts = np.sum([bucket.p_values for bucket in buckets], axis=0)
        judged = [(model, bucket.frames) for bucket in buckets for model in bucket.model_ids]
        if (far := distance(counts, judged, models)) is not None:
            found.append(DistanceBucket(first + number * merged * series.width, merged * series.width, far))
    return tuple(found)


def distance_of_sums(sums: Iterable[RollupSum], models: Mapping[int, Calibration]) -> Distance | None:
    """Return how far the scores of all of them lie from the calibrations of the models that judged them."""
    scored = [(one.model_id, np.array(one.p_values)) for one in sums if one.model_id is not None and any(one.p_values)]
    if not scored:
        return None
    counts = np.sum([p_values for _, p_values in scored], axis=0)
    return distance(counts, [(number, int(p_values.sum())) for number, p_values in scored], models)


def distance(
    p_values: Sequence[int] | NDArray[np.int64], by: Sequence[tuple[int, int]], models: Mapping[int, Calibration]
) -> Distance | None:
    """Return how far scores lie from calibration, told by the histogram of their p-values.

    Args:
        p_values: (P_VALUE_BINS,) how many in each.
        by: Numbers of the models that judged, and how many of the frames.
        models: What they were calibrated with.

    Returns:
        None where there is no p-value, or a model is not known.
    """
    frames = int(np.sum(p_values))
    if not frames or not by or any(number not in models for number, _ in by):
        return None
    sizes = [models[number].frames for number, _ in by]
    laws = [p_value_law(size, P_VALUE_BINS) / (size + 1) for size in sizes]
    law = np.average(laws, axis=0, weights=[count for _, count in by]) * (min(sizes) + 1)
    chance = psi_by_chance(min(sizes), frames)
    return Distance(frames, psi_of_p_values(law, p_values), chance, ks_of_p_values(law, p_values))
