"""Early exit: look at few views first, and stop where more of them could not change the verdict.

The mean over the first k of V views, taken in an order that covers the circle evenly, is an estimate of the mean over all of
them. Some views look more unlikely than others on every picture (a corner is black, an edge is slanted), and what is usual of
each view is known from defect-free pictures: it is taken out first, which makes the estimate far closer. How far off it may
still be is calibrated on the same pictures, in deviations between a picture's own views.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

_STEPS = (1, 2, 4, 8, 16, 32)
_FLOOR = 1.0  # of the median deviation: few views may agree by chance
_MARGIN = 2.0  # on the largest error seen: a new picture may have a larger one
_LEAST_PICTURES = 16
_TINY = float(np.finfo(np.float64).tiny)


class Estimate(NamedTuple):
    """The mean over all views as far as it is known, and how far off it may be: (N,) float64 each."""

    mean: NDArray[np.float64]
    reach: NDArray[np.float64]


class EarlyExit(BaseModel):
    """The rule by which a picture needs no more views.

    Attributes:
        usual: What is usual of each view on defect-free pictures, less the mean over views; in the order of looking.
        steps: Numbers of views behind which a picture may stop.
        reach: By step, the largest error of the estimate, in standard errors of a mean of so many views, with a margin.
        floor: Least deviation between a picture's views that is believed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    usual: tuple[float, ...]
    steps: tuple[int, ...]
    reach: tuple[float, ...]
    floor: float = Field(ge=0)

    @model_validator(mode="after")
    def _fits(self) -> "EarlyExit":
        if len(self.steps) != len(self.reach) or any(not 1 <= step < len(self.usual) for step in self.steps):
            raise ValueError("steps of an early exit do not fit its views")
        if list(self.steps) != sorted(set(self.steps)):
            raise ValueError("steps of an early exit do not ascend")
        return self

    @classmethod
    def calibrate(cls, by_view: NDArray[np.float64]) -> "EarlyExit | None":
        """Make the rule of defect-free pictures that nothing learned from.

        Args:
            by_view: (N, V) float64, -log p of each view or its log, in the order of looking.

        Returns:
            The rule; None where there are too few views to leave any out, or fewer than 16 pictures to know it by.
        """
        views = by_view.shape[1]
        steps = tuple(step for step in _STEPS if 2 * step <= views)
        if not steps or len(by_view) < _LEAST_PICTURES or not np.isfinite(by_view).all():
            return None
        usual = by_view.mean(axis=0) - by_view.mean()
        floor = _FLOOR * float(np.median((by_view - usual).std(axis=1, ddof=1)))
        rule = cls(usual=tuple(usual.tolist()), steps=steps, reach=(1.0,) * len(steps), floor=floor)
        reach = []
        for step in steps:
            estimate = rule.estimate(by_view[:, :step])
            error = np.abs(estimate.mean - by_view.mean(axis=1))
            reach.append(_MARGIN * float((error / np.maximum(estimate.reach, _TINY)).max()))
        return rule.model_copy(update={"reach": tuple(reach)})

    def estimate(self, by_view: NDArray[np.float64]) -> Estimate:
        """Estimate the mean over all views from the first ones.

        Args:
            by_view: (N, k) float64, the same of the first k views; k is one of the steps.
        """
        views, looked = len(self.usual), by_view.shape[1]
        own = by_view - np.array(self.usual[:looked])
        # The views are a finite set: with all of them looked at nothing is left to be wrong about.
        deviation = own.std(axis=1, ddof=1) if looked > 1 else np.zeros(len(own))  # one view says nothing of it
        error = np.maximum(deviation, self.floor) * math.sqrt(1 / looked - 1 / views)
        return Estimate(own.mean(axis=1), self.reach[self.steps.index(looked)] * error)

    def decided(self, estimate: Estimate, bar: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Whether more views could not bring the mean to the other side of the bar, (N,).

        A picture whose views are not finite is decided: it will have no score.

        Args:
            estimate: Of N pictures.
            bar: (N,) float64, the mean over all views at which the verdict changes.
        """
        return (np.abs(estimate.mean - bar) > estimate.reach) | ~np.isfinite(estimate.mean)
