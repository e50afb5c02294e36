"""Challenge parts: known defects that a model must find, and how sure one can be of the share that it finds."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from infra.objections import exact_interval
from scorer.detector import Detector
from trainer.images import PictureSet
from trainer.progress import Progress, Stage, silent

_PICTURES_PER_CHUNK = 16


@dataclass(frozen=True, eq=False)  # arrays have no single answer to ==
class Challenged:
    """What a model said of the challenge parts.

    Attributes:
        scores: (N,) float64, in the order of the parts; NaN where a score is not finite, which finds nothing.
        found: (N,) bool, whether it called the part a defect.
    """

    scores: NDArray[np.float64]
    found: NDArray[np.bool_]

    @property
    def parts(self) -> int:
        """How many parts it was shown."""
        return len(self.found)

    @property
    def count(self) -> int:
        """How many of them it found."""
        return int(self.found.sum())

    def interval(self) -> tuple[float, float]:
        """Exact 95 % confidence interval of the detection rate (Clopper and Pearson, 1934), if parts are independent."""
        return exact_interval(self.count, self.parts)

    def __str__(self) -> str:
        """Say it in one line."""
        if not self.parts:
            return "no challenge parts"
        low, high = self.interval()
        share = self.count / self.parts
        return f"{self.count} of {self.parts} challenge parts found: {share:.1%} (95 % {low:.1%} to {high:.1%})"


def challenge(detector: Detector, parts: PictureSet, progress: Progress = silent) -> Challenged:
    """Show a model its challenge parts, as a scorer would show it frames."""
    scores: list[NDArray[np.float64]] = []
    found: list[NDArray[np.bool_]] = []
    done = 0
    progress(Stage.CHALLENGE, 0, len(parts))
    for chunk in parts.chunks(_PICTURES_PER_CHUNK):
        said = detector.score(chunk, cameras=parts.cameras[done : done + len(chunk)])
        scores.append(said.score)
        found.append(said.defect)
        done += len(chunk)
        progress(Stage.CHALLENGE, done, len(parts))
    if not scores:
        return Challenged(np.empty(0), np.empty(0, bool))
    return Challenged(np.concatenate(scores), np.concatenate(found))
