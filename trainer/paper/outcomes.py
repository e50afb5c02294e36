"""What one scoring of one test set gave, and what is said of many of them: mean and spread."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from trainer.evaluate import GOOD, Separation, separation


class Kind(StrEnum):
    """Where a row of a table comes from."""

    MEASURED = "measured"
    CONTROL = "control"


@dataclass(frozen=True)
class Outcome:
    """The scores of one method, one split, one seed.

    Attributes:
        method: Name of the row.
        kind: A detector, or a control.
        protocol: `grouped` or `given`.
        split: Which of the protocol's splits.
        seed: Seed of the method.
        training: How many pictures it learned from.
        scores: (N,) float64 of the test pictures, larger for less likely ones; all finite.
        classes: (N,) str, their classes.
    """

    method: str
    kind: Kind
    protocol: str
    split: int
    seed: int
    training: int
    scores: NDArray[np.float64]
    classes: NDArray[np.str_]

    def separation(self) -> Separation:
        """AUROC and recalls.

        Raises:
            TrainingSetError: A score is not finite.
        """
        return separation(self.scores, self.classes)


class Spread(BaseModel):
    """A figure over several trials.

    Attributes:
        mean: Their mean.
        deviation: Their standard deviation (n - 1); 0 for a single one.
        count: How many.
    """

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    mean: float
    deviation: float
    count: int

    @classmethod
    def of(cls, values: Iterable[float]) -> "Spread":
        """Summarise values, of which there is one at least."""
        array = np.asarray(list(values), dtype=np.float64)
        return cls(mean=array.mean(), deviation=array.std(ddof=1) if len(array) > 1 else 0.0, count=len(array))


class Figures(BaseModel):
    """How one method separates, over splits and seeds; fractions from 0 to 1.

    Attributes:
        auroc: Area under the ROC curve.
        recall_at_none: Share of defects above every defect-free test picture.
        recall_at_1pct: Share of defects above the lowest threshold with at most 1 % false alarms.
        per_class: AUROC by class of defects.
    """

    model_config = ConfigDict(frozen=True)

    auroc: Spread
    recall_at_none: Spread
    recall_at_1pct: Spread
    per_class: dict[str, Spread]


def figures(outcomes: Sequence[Outcome]) -> Figures:
    """Summarise the outcomes of one method.

    Raises:
        TrainingSetError: A score is not finite.
    """
    found = [outcome.separation() for outcome in outcomes]
    return Figures(
        auroc=Spread.of(each.auroc for each in found),
        recall_at_none=Spread.of(each.recall_at_none for each in found),
        recall_at_1pct=Spread.of(each.recall_at_1pct for each in found),
        per_class={name: Spread.of(each.per_class[name] for each in found) for name in found[0].per_class},
    )


def gain(outcomes: Sequence[Outcome], reference: Sequence[Outcome]) -> Spread:
    """Difference in AUROC to a reference, over the splits and seeds that both have."""
    known = {(each.protocol, each.split, each.seed): each.separation().auroc for each in reference}
    return Spread.of(
        each.separation().auroc - known[each.protocol, each.split, each.seed]
        for each in outcomes
        if (each.protocol, each.split, each.seed) in known
    )


def mean_roc(outcomes: Sequence[Outcome], steps: int = 101) -> NDArray[np.float64]:
    """ROC curves averaged at equal false-alarm rates.

    Source: Fawcett, "An introduction to ROC analysis", 2006 (vertical averaging).

    Returns:
        (steps, 2) float64: false-alarm rate from 0 to 1, mean recall.
    """
    rates = np.linspace(0.0, 1.0, steps)
    curves = []
    for outcome in outcomes:
        good = np.sort(outcome.scores[outcome.classes == GOOD])
        defects = outcome.scores[outcome.classes != GOOD]
        allowed = np.floor(rates * len(good) + 1e-9).astype(int)  # so many good pictures may be above the threshold
        thresholds = np.where(allowed == len(good), -np.inf, good[np.maximum(len(good) - 1 - allowed, 0)])
        curves.append((defects[:, None] > thresholds).mean(axis=0))
    return np.column_stack([rates, np.mean(curves, axis=0)])
