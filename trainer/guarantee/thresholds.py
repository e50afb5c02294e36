"""From the scores of defect-free pictures to a threshold, where several pictures are of one part or run."""

from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from infra.errors import TrainingSetError
from scorer.detector import CalibrationError, calibrate


class Way(StrEnum):
    """How pictures are split, and what the threshold is taken from."""

    PICTURES = "pictures"  # split picture by picture; from all calibration pictures
    MIXED = "pictures, new groups tested"  # calibrated on pictures of groups that were learned from, tested on others
    GROUPS = "whole groups, all pictures"  # split by whole groups; from all calibration pictures
    ONE = "whole groups, one picture each"  # from one picture of each, drawn
    ALIKE = "whole groups, each of one weight"  # from all pictures, which share the weight of their group
    HIGHEST = "whole groups, the highest of each"  # from the highest score of each


class Share(StrEnum):
    """What a rate is a share of."""

    PICTURES = "pictures"  # test pictures above the threshold
    ALIKE = "pictures of a group"  # the same where a group is drawn first, and one of its pictures then
    GROUPS = "groups"  # test groups with at least one picture above the threshold


PROMISED = {
    Way.PICTURES: Share.PICTURES,
    Way.MIXED: Share.PICTURES,
    Way.GROUPS: Share.PICTURES,
    Way.ONE: Share.ALIKE,
    Way.ALIKE: Share.ALIKE,
    Way.HIGHEST: Share.GROUPS,
}
"""What each way bounds; `MIXED` and `GROUPS` do so only if pictures of one group are as different as those of two."""

OF_PICTURES = frozenset({Way.PICTURES, Way.MIXED, Way.GROUPS})
"""Ways whose threshold is a quantile of the scores of pictures, not of one for each group."""


@dataclass(frozen=True)
class Scored:
    """Scores of N defect-free pictures that one detector did not learn from.

    Attributes:
        scores: (N,) float64, all finite.
        groups: (N,) int64, the part or run that a picture is of; None where that is not known.
        cameras: (N,) names of cameras; None where they are not known.
    """

    scores: NDArray[np.float64]
    groups: NDArray[np.int64] | None = None
    cameras: NDArray[np.str_] | None = None

    def subset(self, places: NDArray[np.int64]) -> "Scored":
        """Those at `places`."""
        return Scored(
            self.scores[places],
            None if self.groups is None else self.groups[places],
            None if self.cameras is None else self.cameras[places],
        )

    def known_groups(self) -> NDArray[np.int64]:
        """The groups.

        Raises:
            TrainingSetError: There are none.
        """
        if self.groups is None:
            raise TrainingSetError("no groups: which pictures show the same part is not known")
        return self.groups

    def known_cameras(self) -> NDArray[np.str_]:
        """The cameras.

        Raises:
            TrainingSetError: There are none.
        """
        if self.cameras is None:
            raise TrainingSetError("no cameras: which picture came from which is not known")
        return self.cameras


class Line(NamedTuple):
    """A threshold.

    Attributes:
        threshold: A score above it is a defect.
        possible: The smallest rate that its calibration can promise.
        units: How many exchangeable things it was taken from: pictures or groups.
        above: How many of them and a new one may lie above it; 0 where theory has no such number.
    """

    threshold: float
    possible: float
    units: int
    above: int


def line_of(calibration: Scored, way: Way, rate: float, rng: np.random.Generator) -> Line:
    """Take a threshold from calibration scores.

    Raises:
        TrainingSetError: The rate lies outside (0, 1), or the way needs groups and there are none.
    """
    try:
        if way is Way.ALIKE:
            return _weighted(calibration, rate)
        made = calibrate(_units(calibration, way, rng), rate)
    except CalibrationError as error:
        raise TrainingSetError(f"no threshold can be set: {error}") from error
    return Line(made.threshold, made.rate_possible, len(made.scores), max(made.alarms_allowed, 1))


def _units(calibration: Scored, way: Way, rng: np.random.Generator) -> NDArray[np.float64]:
    """The scores that a threshold is a quantile of."""
    if way in OF_PICTURES:
        return calibration.scores
    groups = calibration.known_groups()
    if way is Way.ONE:
        order = rng.permutation(len(groups))
        return calibration.scores[order[np.unique(groups[order], return_index=True)[1]]]
    numbers = np.unique(groups, return_inverse=True)[1]
    highest = np.full(numbers.max() + 1, -np.inf)
    np.maximum.at(highest, numbers, calibration.scores)
    return highest


def _weighted(calibration: Scored, rate: float) -> Line:
    """The quantile of all scores where those of a group share its weight, and a new group has one weight more.

    Source: Lee, Barber and Willett 2023, "Distribution-free inference with hierarchical data"; with one picture a group it is
    what `calibrate` gives.
    """
    groups = calibration.known_groups()
    _, numbers, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    count = len(sizes)
    allowed = float((count + 1) * Fraction(str(rate))) - 1  # weight above the threshold, in groups
    possible = 1 / (count + 1)
    order = np.argsort(-calibration.scores, kind="stable")
    if allowed < 0:
        return Line(float(calibration.scores[order[0]]), possible, count, 0)
    reached = np.cumsum(1 / sizes[numbers[order]])
    place = int(np.searchsorted(reached, allowed + 1e-9, side="right"))
    return Line(float(calibration.scores[order[min(place, len(order) - 1)]]), possible, count, 0)
