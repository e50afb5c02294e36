"""Evaluation on labelled pictures in the layout of MVTec AD: `train/good`, `test/good`, `test/<defect>`."""

import math
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from sklearn.metrics import roc_auc_score

from infra.errors import TrainingSetError
from scorer.detector import PARTS, Extractor
from trainer.baselines import baseline_scores
from trainer.choice import fit_parts
from trainer.images import MAX_PIXELS, PictureSet, read_folder, require_enough
from trainer.presets import Preset
from trainer.progress import Progress, Stage, silent
from trainer.training import TrainingRun, runs_of, set_features, training_bank

GOOD = "good"
FALSE_ALARMS = 0.01


class Separation(BaseModel):
    """How well scores tell defective from defect-free pictures; fractions from 0 to 1.

    Attributes:
        auroc: Area under the ROC curve, all defects against test/good.
        recall_at_1pct: Share of defects above the lowest threshold with at most 1 % false alarms on test/good.
        recall_at_none: Share of defects above every picture of test/good (section 4.3 of the paper).
        per_class: AUROC of each class of defects against test/good.
    """

    model_config = ConfigDict(frozen=True)

    auroc: float
    recall_at_1pct: float
    recall_at_none: float
    per_class: dict[str, float]


class Counts(BaseModel):
    """What was looked at: every file found is one of these.

    Attributes:
        train: Pictures fitted to.
        test: Pictures scored, by class.
        skipped: Files that could not be used, with the reason.
    """

    model_config = ConfigDict(frozen=True)

    train: int
    test: dict[str, int]
    skipped: dict[str, str]


class EvaluationReport(Separation):
    """What `differline evaluate` prints; the flow is the one of the last epoch.

    Attributes:
        seconds: Seconds for all of it.
        seconds_by_stage: Seconds by stage.
        parts: The separation of each part alone; empty where the flow is all there is.
        evidence: AUROC on synthetic defects in training pictures that nothing was learned from, of each extractor tried.
        baselines: The baselines' separation on the same features.
        counts: What was looked at.
        preset: Name of the preset.
        views: Views behind a score.
        extractor: Name of the extractor.
        extractor_sha256: SHA-256 of its weights.
        seed: Seed of views, initial weights and order.
        final_loss: Mean loss a view in the last epoch.
    """

    seconds: float
    seconds_by_stage: dict[str, float]
    parts: dict[str, Separation]
    evidence: dict[str, float]
    baselines: dict[str, Separation]
    counts: Counts
    preset: str
    views: int
    extractor: str
    extractor_sha256: str
    seed: int
    final_loss: float


def evaluate(
    folder: Path,
    preset: Preset,
    extractor: Extractor | Sequence[Extractor],
    *,
    adapt_minutes: float = 0.0,
    views: int | None = None,
    seed: int = 0,
    device: str | torch.device = "cpu",
    max_pixels: int = MAX_PIXELS,
    progress: Progress = silent,
) -> EvaluationReport:
    """Fit on all of `train/good` and score all of `test`. No picture is held out for a threshold, as none is needed here.

    Args:
        folder: Folder in MVTec AD layout.
        preset: How to train.
        extractor: The frozen extractor, or several to choose from.
        adapt_minutes: Minutes of adaptation, as one more to choose from.
        views: Views behind a score; the preset's, if not given.
        seed: Seed of views, initial weights and order.
        device: Where to compute.
        max_pixels: Largest width x height that is decoded.
        progress: Told how far it is.

    Raises:
        TrainingSetError: The layout is another one, too few pictures to learn from, or scores that are not finite.
    """
    started = time.perf_counter()
    training = read_folder(folder / "train" / GOOD, max_pixels, progress)
    require_enough(training, str(folder / "train" / GOOD))
    test, classes = read_test(folder / "test", max_pixels, progress)

    laps = [time.perf_counter()]
    runs = runs_of(preset.with_views(views), extractor, seed, torch.device(device), progress)
    choice = fit_parts(training, runs, adapt_minutes)
    taken = choice.taken
    laps.append(time.perf_counter())
    found = taken.parts(test, progress, Stage.TEST)
    scores = taken.score(found)
    laps.append(time.perf_counter())
    run = TrainingRun(preset, taken.extractor, seed, taken.device, progress)
    features = set_features(run, test, taken.views.draw(len(test)), Stage.BASELINES)
    baselines: dict[str, Separation] = {}
    for name, baseline in baseline_scores(training_bank(run, training), features, seed):
        baselines[name] = separation(baseline, classes)
        progress(Stage.BASELINES, len(test), len(test), name)
    laps.append(time.perf_counter())
    alone = {} if found.local is None else dict(zip(PARTS, found.side_by_side().T, strict=True))
    return EvaluationReport(
        **separation(scores, classes).model_dump(),
        seconds=time.perf_counter() - started,
        seconds_by_stage=dict(
            zip(("fit", "test", "baselines"), np.diff(laps).tolist(), strict=True), scan=laps[0] - started
        ),
        parts={name: separation(column, classes) for name, column in alone.items()},
        evidence=choice.evidence,
        baselines=baselines,
        counts=_counts(training, test, classes),
        preset=preset.name,
        views=taken.views.count,
        extractor=taken.extractor.name,
        extractor_sha256=taken.extractor.sha256,
        seed=seed,
        final_loss=taken.final_loss,
    )


def separation(scores: NDArray[np.float64], classes: NDArray[np.str_]) -> Separation:
    """Measure how scores separate `good` from every other class.

    Args:
        scores: (N,) float64, larger for less likely pictures.
        classes: (N,) str.

    Raises:
        TrainingSetError: A score is not finite: no order, no ROC curve.
    """
    if not np.isfinite(scores).all():
        raise TrainingSetError(f"{int((~np.isfinite(scores)).sum())} of {len(scores)} scores are not finite")
    good, defects = scores[classes == GOOD], scores[classes != GOOD]
    per_class = {str(name): _auroc(good, scores[classes == name]) for name in np.unique(classes) if name != GOOD}
    allowed = math.floor(FALSE_ALARMS * len(good))
    threshold = np.sort(good)[len(good) - 1 - allowed]
    return Separation(
        auroc=_auroc(good, defects),
        recall_at_1pct=float((defects > threshold).mean()),
        recall_at_none=float((defects > good.max()).mean()),
        per_class=per_class,
    )


def _auroc(good: NDArray[np.float64], defects: NDArray[np.float64]) -> float:
    labels = np.repeat([0, 1], [len(good), len(defects)])
    return float(roc_auc_score(labels, np.concatenate([good, defects])))


def read_test(folder: Path, max_pixels: int, progress: Progress) -> tuple[PictureSet, NDArray[np.str_]]:
    """Read the pictures of `test`, a class a folder, and the class of each.

    Raises:
        TrainingSetError: There is no folder `good`, no class of defects, or a class without usable pictures.
    """
    names = sorted(entry.name for entry in folder.iterdir() if entry.is_dir()) if folder.is_dir() else []
    if GOOD not in names or len(names) < 2:
        raise TrainingSetError(f"{folder} needs a folder {GOOD} and a folder for each class of defects")
    sets = [read_folder(folder / name, max_pixels, progress, drop_equal=False) for name in names]
    empty = next((name for name, pictures in zip(names, sets, strict=True) if not len(pictures)), None)
    if empty is not None:
        raise TrainingSetError(f"{folder / empty} holds no usable pictures")
    classes = np.repeat(names, [len(pictures) for pictures in sets])
    together = PictureSet(
        tuple(picture for pictures in sets for picture in pictures.pictures),
        tuple(skipped for pictures in sets for skipped in pictures.skipped),
    )
    return together, classes


def _counts(training: PictureSet, test: PictureSet, classes: NDArray[np.str_]) -> Counts:
    names, counts = np.unique(classes, return_counts=True)
    return Counts(
        train=len(training),
        test=dict(zip(names.tolist(), counts.tolist(), strict=True)),
        skipped={str(skipped.path): skipped.reason for skipped in (*training.skipped, *test.skipped)},
    )
