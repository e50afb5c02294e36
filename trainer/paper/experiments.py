"""Everything that a report measures, as outcomes; no test picture is used for any choice."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from trainer.images import LEAST_PICTURES
from trainer.paper.bank import Photometry
from trainer.paper.bench import DETECTOR_ROWS, FULL, Bench, Recipe
from trainer.paper.controls import PictureStatistics, control_scores
from trainer.paper.outcomes import Kind, Outcome
from trainer.paper.splits import Split
from trainer.progress import Progress, Stage, silent

_Result = TypeVar("_Result")

DIFFERNET = "DifferNet"
GANOMALY = "GANomaly"
ADAPTED = "differline, adapted"
DIFFERLINE = DETECTOR_ROWS[0]
SUBSETS = (16, 32, 64, 128)  # figure 7 of the paper
SUBSET_DRAWS = 3
VIEW_STEPS = (1, 4, 16, 64)  # table 3 of the paper
NOT_TURNED = "no rotated views in training"
NEVER_TURNED = "no rotated views in training, 1 test view"
ABLATIONS = {
    "448 px alone": Recipe(scales_px=(448,)),
    "448 and 224 px": Recipe(scales_px=(448, 224)),
    NOT_TURNED: Recipe(training_views=False),
}
PHOTOMETRY = {
    Photometry.FACTORS.value: Recipe(photometry=Photometry.FACTORS),
    Photometry.NORMALISED.value: Recipe(photometry=Photometry.NORMALISED),
}
BASELINE_TITLES = {"one_nearest_neighbour": "1-NN", "one_class_svm": "one-class SVM"}


@dataclass(frozen=True)
class Plan:
    """How much is measured.

    Attributes:
        splits: All splits, the honest protocol's first.
        seeds: Seeds of each flow; ablations and subsets have the first one alone.
        views_max: The largest step of views in table 3.
        photometry: Whether photometric choices are measured, each with a bank of its own.
        ganomaly: Whether GANomaly is trained beside the other methods.
        adapt_minutes: Minutes of adaptation of an extractor to each split, as a row beside the detector's; 0 for none.
    """

    splits: tuple[Split, ...]
    seeds: tuple[int, ...]
    views_max: int
    photometry: bool = False
    ganomaly: bool = False
    adapt_minutes: float = 0.0


@dataclass(frozen=True)
class Measured:
    """All outcomes of a report, by experiment.

    Attributes:
        methods: Table 2 and the figures: DifferNet, baselines, controls on every split.
        ablations: Table 3: DifferNet with something left out, and with other numbers of views.
        photometry: Table of photometric choices; empty where they were not measured.
        subsets: Figure 7: few training pictures; `training` says how many.
        statistics: What the pictures tell without a network.
    """

    methods: tuple[Outcome, ...]
    ablations: tuple[Outcome, ...]
    photometry: tuple[Outcome, ...]
    subsets: tuple[Outcome, ...]
    statistics: PictureStatistics


def views_title(views: int) -> str:
    """Name of the row of table 3 with that many test views."""
    return f"all scales, {views} test view{'s' if views > 1 else ''}"


def measure(bench: Bench, plan: Plan, statistics: PictureStatistics, progress: Progress = silent) -> Measured:
    """Run every trial of the plan.

    Raises:
        TrainingSetError: A score, a loss or a feature is not finite, or the store cannot be written to.
    """
    trials = _Trials(bench, plan, statistics, progress)
    return Measured(
        tuple(outcome for split in plan.splits for outcome in trials.methods(split)),
        tuple(outcome for split in plan.splits for outcome in trials.ablations(split)),
        tuple(outcome for split in plan.splits for outcome in trials.photometry(split)),
        tuple(outcome for split in _subset_splits(plan) for outcome in trials.subsets(split)),
        statistics,
    )


def _subset_splits(plan: Plan) -> tuple[Split, ...]:
    """Three splits of the honest protocol; where there are fewer, the ones there are, with other draws."""
    first = [split for split in plan.splits if split.protocol == plan.splits[0].protocol]
    return tuple(first[draw % len(first)] for draw in range(SUBSET_DRAWS))


class _Trials:
    def __init__(self, bench: Bench, plan: Plan, statistics: PictureStatistics, progress: Progress) -> None:
        self._bench, self._plan, self._statistics, self._progress = bench, plan, statistics, progress
        self._scoring = bench.preset.scoring_views
        self._adapts = plan.adapt_minutes > 0 and bench.preset.local is not None
        self._steps = [step for step in VIEW_STEPS if step <= plan.views_max]
        self._done, self._draw = 0, 0
        extras = len(ABLATIONS) + len(PHOTOMETRY) * plan.photometry + plan.ganomaly
        detectors = sum(len(self._detector_seeds(split)) for split in plan.splits)
        extras += self._adapts
        self._total = len(plan.splits) * (1 + len(plan.seeds) + extras) + detectors + SUBSET_DRAWS * (len(SUBSETS) + 1)
        progress(Stage.TRIALS, 0, self._total)

    def methods(self, split: Split) -> list[Outcome]:
        first, *others = self._plan.seeds
        found = [self._flow(DIFFERNET, split, FULL, first, max(self._scoring, *self._steps))]
        found += [self._flow(DIFFERNET, split, FULL, seed, self._scoring) for seed in others]
        for seed in self._detector_seeds(split):
            for name, scores in self._told(split, partial(self._bench.detector_scores, split, seed)).items():
                found.append(self._outcome(name, Kind.MEASURED, split, seed, scores))
        if self._adapts:
            seed = self._detector_seeds(split)[0]
            scores = self._told(split, lambda: self._bench.adapted_scores(split, seed, self._plan.adapt_minutes))
            found.append(self._outcome(ADAPTED, Kind.MEASURED, split, seed, scores))
        baselines = self._told(split, lambda: self._bench.baselines(split, first))
        for name, scores in baselines.items():
            found.append(self._outcome(BASELINE_TITLES[name], Kind.MEASURED, split, first, scores))
        if self._plan.ganomaly:
            scores = self._told(split, lambda: self._bench.ganomaly(split, first))
            found.append(self._outcome(GANOMALY, Kind.MEASURED, split, first, scores))
        for name, scores in control_scores(self._statistics, split).items():
            found.append(self._outcome(name, Kind.CONTROL, split, first, scores))
        return found

    def _detector_seeds(self, split: Split) -> tuple[int, ...]:
        """Every seed on a protocol's only split; else one a split, since a local model takes minutes."""
        seeds = self._plan.seeds
        alone = sum(each.protocol == split.protocol for each in self._plan.splits) == 1
        return seeds if alone else (seeds[split.number % len(seeds)],)

    def ablations(self, split: Split) -> list[Outcome]:
        seed = self._plan.seeds[0]
        found = [self._flow(name, split, recipe, seed, self._scoring) for name, recipe in ABLATIONS.items()]
        upright = self._bench.flow_scores(split, ABLATIONS[NOT_TURNED], seed, self._scoring)[:, 0]
        found.append(self._outcome(NEVER_TURNED, Kind.MEASURED, split, seed, upright))
        by_view = self._bench.flow_scores(split, FULL, seed, max(self._scoring, *self._steps))
        for views in sorted({*self._steps, self._scoring}):
            scores = by_view[:, :views].mean(axis=1)
            found.append(self._outcome(views_title(views), Kind.MEASURED, split, seed, scores))
        return found

    def photometry(self, split: Split) -> list[Outcome]:
        recipes = PHOTOMETRY if self._plan.photometry else {}
        seed = self._plan.seeds[0]
        return [self._flow(name, split, recipe, seed, self._scoring) for name, recipe in recipes.items()]

    def subsets(self, split: Split) -> list[Outcome]:
        seed, draw = self._plan.seeds[0], self._draw
        self._draw += 1
        sizes = [size for size in SUBSETS if LEAST_PICTURES <= size < len(split.train)]
        parts = [split.learning_from(size, draw) for size in sizes]
        found = []
        for part in (*parts, split):
            found.append(self._flow(DIFFERNET, part, FULL, seed, self._scoring))
            for name, scores in self._bench.detector_scores(part, seed).items():
                if name == DIFFERLINE:
                    found.append(self._outcome(name, Kind.MEASURED, part, seed, scores))
            scores = self._bench.baselines(part, seed)["one_nearest_neighbour"]
            found.append(self._outcome(BASELINE_TITLES["one_nearest_neighbour"], Kind.MEASURED, part, seed, scores))
        return found

    def _flow(self, name: str, split: Split, recipe: Recipe, seed: int, views: int) -> Outcome:
        by_view = self._told(split, lambda: self._bench.flow_scores(split, recipe, seed, views))
        return self._outcome(name, Kind.MEASURED, split, seed, by_view[:, : self._scoring].mean(axis=1))

    def _told(self, split: Split, work: Callable[[], _Result]) -> _Result:
        result = work()
        self._done += 1
        self._progress(Stage.TRIALS, self._done, self._total, f"{split.protocol} split {split.number}")
        return result

    def _outcome(self, name: str, kind: Kind, split: Split, seed: int, scores: NDArray[np.float64]) -> Outcome:
        classes = self._bench.labelled.classes[split.test]
        outcome = Outcome(name, kind, split.protocol, split.number, seed, len(split.train), scores, classes)
        outcome.separation()  # refuses a score that is not finite where it arises
        return outcome
