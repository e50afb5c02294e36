"""What the drift page makes of counts: how far scores lie from calibration, and which camera stands first."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from infra.distances import BoundedDistance, ks_of_p_values, p_value_law, psi_by_chance, psi_of_p_values
from infra.store.drift_standings import Calibration, DriftStanding
from infra.store.rollups import P_VALUE_BINS, RollupBucket, RollupSeries, RollupSum
from infra.store.tables import DriftKind

LEAST_FRAMES = 100
"""With fewer, chance alone makes a PSI of about 0.1."""
MOST_STEPS = 360
MOST_DISTANCES = 60
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
