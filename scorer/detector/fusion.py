"""Fusion: three scores of one picture, brought to one scale and added."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

PARTS = ("flow", "unlikeness", "defects")
WEIGHTS = (0.25, 1.0, 1.0)
"""The flow sees what is wrong all over a picture, and adds noise where a defect is small.

On synthetic defects (eight held-out products, and good tiles that were not learned from) a flow of weight 0 did better on
average than one of 0.5, and that better than 1. A quarter lies between the first two, for defects that are not small; it was
not measured by itself.
"""

_NORMAL = 1.4826  # deviations of a normal distribution in one median absolute deviation
_LEAST_SPREAD = 1e-3


class Standard(BaseModel):
    """What is usual of one score on defect-free pictures that nothing was learned from.

    Attributes:
        middle: Its median.
        spread: Its deviation, by the median absolute deviation.
        weight: How much it counts.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    middle: float
    spread: float = Field(gt=0)
    weight: float = Field(1.0, ge=0)


class Fusion(BaseModel):
    """How the scores of a picture become one: the weighted sum of their distances from what is usual, in deviations.

    Attributes:
        flow: Of the log of the flow's score.
        unlikeness: Of the local model's first score.
        defects: Of its second.
        views: How views become the flow's score: `mean_log`, the mean of their logs, or `log_mean`, the log of their mean, as
            in models of before. A flow goes astray on a view now and then, by a factor of a thousand, and a mean follows it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    views: Literal["mean_log", "log_mean"] = "log_mean"
    flow: Standard
    unlikeness: Standard
    defects: Standard

    @classmethod
    def fit(cls, scores: NDArray[np.float64]) -> "Fusion":
        """Take the standards from scores of defect-free pictures: (N, 3) float64, the flow's log and the local model's two."""
        columns = zip(PARTS, WEIGHTS, scores.T, strict=True)
        standards = {name: _standard(column, weight) for name, weight, column in columns}
        return cls(views="mean_log", **standards)

    def __call__(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """Fuse scores, (N, 3) float64 to (N,); not finite where one of them is not."""
        standards: Sequence[Standard] = (self.flow, self.unlikeness, self.defects)
        middle = np.array([standard.middle for standard in standards])
        scale = np.array([standard.weight / standard.spread for standard in standards])
        return np.asarray(((scores - middle) * scale).sum(axis=1))

    def bar(self, threshold: float, local: NDArray[np.float64]) -> NDArray[np.float64]:
        """Say which log of a flow score brings a picture to a threshold, given what the local model says of it.

        Args:
            threshold: Of the fused score.
            local: (N, 2) float64, scores of the local model.

        Returns:
            (N,) float64; infinite where no flow score can, minus infinite where each one does.
        """
        left = threshold - self(np.column_stack([np.full(len(local), self.flow.middle), local]))
        if self.flow.weight == 0:
            return np.where(left < 0, -np.inf, np.inf)
        return self.flow.middle + left * self.flow.spread / self.flow.weight


def _standard(scores: NDArray[np.float64], weight: float) -> Standard:
    middle = float(np.median(scores))
    spread = max(_NORMAL * float(np.median(np.abs(scores - middle))), _LEAST_SPREAD)
    return Standard(middle=middle, spread=spread, weight=weight)
