"""Choice by evidence: which of several extractors tells synthetic defects in this product's own good pictures best."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from trainer.adaptation import AdaptationBudget, adapt
from trainer.assembly import Assembly, Parted, assemble, part_off
from trainer.images import PictureSet
from trainer.training import TrainingRun

FAILS_BELOW = 0.65
"""AUROC on synthetic defects below which a detector is said to fail: a coin gives 0.5."""


@dataclass(frozen=True)
class Choice:
    """What was tried and what was taken.

    Attributes:
        taken: The parts with the best evidence; of equals, the first.
        evidence: AUROC by the name of the extractor; empty where there was nothing to measure with.
    """

    taken: Assembly
    evidence: dict[str, float]

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a person must know before this goes live, a line each."""
        if not self.evidence or max(self.evidence.values()) >= FAILS_BELOW:
            return ()
        tried = ", ".join(f"{name} {100 * auroc:.0f}" for name, auroc in self.evidence.items())
        line = (
            f"this detector hardly tells defects from good parts of this product: AUROC on synthetic defects {tried},"
            " where 50 is a coin; do not rely on it alone before real defective parts were tried"
        )
        return (line,)


def fit_parts(training: PictureSet, runs: Sequence[TrainingRun], adapt_minutes: float = 0.0) -> Choice:
    """Fit the parts of a detector, on the extractor with the best evidence where there are several.

    Args:
        training: Defect-free pictures; a fifth of them is a probe, where one is needed.
        runs: One for each extractor, which differ in nothing else.
        adapt_minutes: Minutes in which the first extractor is tuned to the product, as one more to choose from.

    Raises:
        TrainingSetError: A loss stopped being a number, or a score is not finite.
    """
    first = runs[0]
    several = len(runs) > 1 or adapt_minutes > 0
    parted = part_off(training, first.seed, needed=several or first.preset.local is not None)
    if adapt_minutes > 0:
        adapted = adapt(first, parted.learning, AdaptationBudget(60 * adapt_minutes))
        runs = [*runs, replace(first, extractor=adapted)]
    return choose(runs, parted)


def choose(runs: Sequence[TrainingRun], parted: Parted) -> Choice:
    """Fit a detector on each extractor and take the one with the best evidence.

    Args:
        runs: One for each extractor, which differ in nothing else.
        parted: The training pictures.

    Raises:
        TrainingSetError: A loss stopped being a number, or a score is not finite.
    """
    taken: Assembly | None = None
    evidence: dict[str, float] = {}
    for run in runs:
        found = assemble(run, parted)
        if found.evidence is not None:
            evidence[run.extractor.name] = found.evidence
        if taken is None or (found.evidence or 0.0) > (taken.evidence or 0.0):
            taken = found
    assert taken is not None  # noqa: S101 - there is one run at least
    return Choice(taken, evidence)
