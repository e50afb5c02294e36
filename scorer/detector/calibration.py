"""From scores of held-out defect-free pictures to a threshold at a stated false-alarm rate."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from scorer.detector.errors import CalibrationError


@dataclass(frozen=True)
class Calibration:
    """A split-conformal threshold.

    A defect-free picture that is exchangeable with the n calibration pictures gets a score above the threshold with a
    probability of at most `rate_in_force`. Pictures of one part, or of one minute, are not independent: the promise is then
    too optimistic.

    Attributes:
        scores: Calibration scores, any order; all finite.
        rate: The false-alarm rate that was asked for, in (0, 1).
    """

    scores: tuple[float, ...]
    rate: float

    def __post_init__(self) -> None:
        if not 0.0 < self.rate < 1.0:
            raise CalibrationError(f"a false-alarm rate lies between 0 and 1, not at {self.rate}")
        if not self.scores:
            raise CalibrationError("no calibration scores")
        if not np.isfinite(self.scores).all():
            raise CalibrationError("a calibration score is not finite")

    @property
    def alarms_allowed(self) -> int:
        """How many of n + 1 exchangeable pictures may be above the threshold at the rate asked for."""
        return math.floor((len(self.scores) + 1) * Fraction(str(self.rate)))

    @property
    def enough(self) -> bool:
        """Whether there are enough scores for the rate asked for."""
        return self.alarms_allowed >= 1

    @property
    def pictures_needed(self) -> int:
        """Least number of calibration pictures for the rate asked for."""
        return pictures_needed(self.rate)

    @property
    def rate_possible(self) -> float:
        """The smallest rate that this many scores can promise: 1 / (n + 1)."""
        return 1.0 / (len(self.scores) + 1)

    @property
    def rate_in_force(self) -> float:
        """The rate that the threshold promises: the one asked for, or the smallest possible one when that is larger."""
        return max(self.rate, self.rate_possible)

    @cached_property
    def threshold(self) -> float:
        """The ceil((n + 1)(1 - rate))-th smallest score; the largest one when there are too few."""
        return float(self._ascending[len(self.scores) - max(self.alarms_allowed, 1)])

    @cached_property
    def _ascending(self) -> NDArray[np.float64]:
        return np.sort(np.asarray(self.scores, dtype=np.float64))

    def p_values(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """Conformal p-values: (1 + number of calibration scores >= s) / (n + 1), NaN where s is not finite.

        p <= rate_in_force says the same as s > threshold.

        Args:
            scores: (N,) float64.

        Returns:
            (N,) float64 in (0, 1].
        """
        count = len(self._ascending)
        at_least = count - np.searchsorted(self._ascending, scores, side="left")
        return np.where(np.isfinite(scores), (1.0 + at_least) / (count + 1.0), np.nan)

    def is_defect(self, scores: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Whether scores are above the threshold; False where a score is not finite, which is no verdict at all."""
        return np.isfinite(scores) & (scores > self.threshold)

    def rate_upper_bound(self, confidence: float = 0.95) -> float:
        """Exact upper confidence bound on the true false-alarm rate of this threshold.

        The share of defect-free pictures above the k-th smallest of n scores is Beta(n + 1 - k, k) distributed.
        """
        above = max(self.alarms_allowed, 1)
        return float(stats.beta.ppf(confidence, above, len(self.scores) + 1 - above))


def pictures_needed(rate: float) -> int:
    """Least number n of calibration pictures that can promise a rate: n + 1 >= 1 / rate."""
    return math.ceil(1 / Fraction(str(rate))) - 1


def calibrate_cameras(scores: Sequence[float], cameras: Sequence[str | None], rate: float) -> dict[str, Calibration]:
    """Make a `Calibration` for each camera that has enough scores for the rate by itself.

    The threshold of all scores together keeps the rate over the frames of all cameras; where one camera's scores lie higher
    than the others', most of the false alarms are that camera's. One of its own keeps the rate at each camera.

    Args:
        scores: Scores of held-out defect-free pictures.
        cameras: The camera of each; None where it is not known.
        rate: The false-alarm rate that is asked for, in (0, 1).

    Returns:
        By camera, in the order of their names; scores in the order in which they were given.

    Raises:
        CalibrationError: A score is not finite, or the rate is not in (0, 1).
    """
    own: dict[str, list[float]] = {}
    for score, camera in zip(scores, cameras, strict=True):
        if camera is not None:
            own.setdefault(camera, []).append(score)
    found = {camera: calibrate(own[camera], rate) for camera in sorted(own)}
    return {camera: calibration for camera, calibration in found.items() if calibration.enough}


def calibrate(scores: Sequence[float] | NDArray[np.float64], rate: float) -> Calibration:
    """Make a `Calibration` of scores of held-out defect-free pictures.

    Raises:
        CalibrationError: A score is not finite, there is none, or the rate is not in (0, 1).
    """
    return Calibration(tuple(float(score) for score in scores), rate)
