"""Fitting: defect-free pictures in, a calibrated detector out."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from infra.errors import TrainingSetError
from infra.picture_quality import picture_quality
from scorer.detector import (
    ArtifactHashes,
    Calibration,
    CalibrationError,
    Detector,
    EarlyExit,
    Extractor,
    ExtractorIdentity,
    Manifest,
    calibrate,
    calibrate_cameras,
    pictures_needed,
    save_artifact,
)
from trainer.assembly import Assembly
from trainer.choice import Choice, fit_parts
from trainer.images import MAX_PIXELS, PictureSet, read_folder, require_enough
from trainer.presets import Preset
from trainer.progress import Progress, Stage, silent
from trainer.splitting import hold_out, on_both_sides
from trainer.training import runs_of

CALIBRATION_SHARE = 5  # one picture in five is held out
HEAT_SCALE_PICTURES = 16
BLOCKS_TOGETHER = 12  # of the flow, where it is of several products (section 4.2 of the paper)
_LEAST_HEAT = 1e-12


@dataclass(frozen=True)
class FitReport:
    """What a person should know of a fit.

    Attributes:
        n_train: Pictures that the flow was fitted to.
        n_calibration: Held-out pictures behind the threshold.
        n_skipped: Files that were not used.
        fit_s: Seconds on features, flow, local model and choice.
        calibration_s: Seconds on scores and heatmaps of held-out pictures.
        final_loss: Mean loss a view in the last epoch.
        threshold: A score above it is a defect.
        rate_requested: The false-alarm rate asked for.
        rate_possible: The smallest one that so many held-out pictures can promise.
        rate_upper_bound: Exact 95 % upper confidence bound on the true rate, if pictures are independent.
        evidence: AUROC on synthetic defects in pictures that nothing was learned from, of each extractor that was tried; the
            best was taken. Empty where there was nothing to choose and no local model.
        warnings: One line each, to be shown.
    """

    n_train: int
    n_calibration: int
    n_skipped: int
    fit_s: float
    calibration_s: float
    final_loss: float
    threshold: float
    rate_requested: float
    rate_possible: float
    rate_upper_bound: float
    evidence: dict[str, float]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class FittedModel:
    """A detector fresh from fitting.

    Attributes:
        detector: Ready to score.
        report: How it came about.
    """

    detector: Detector
    report: FitReport

    def save(self, folder: Path) -> ArtifactHashes:
        """Write the artifact into a new folder."""
        return save_artifact(folder, self.detector)


def fit(
    source: Path | PictureSet,
    product: str,
    preset: Preset,
    extractor: Extractor | Sequence[Extractor],
    *,
    adapt_minutes: float = 0.0,
    false_alarm_rate: float = 0.01,
    views: int | None = None,
    seed: int = 0,
    device: str | torch.device = "cpu",
    max_pixels: int = MAX_PIXELS,
    progress: Progress = silent,
) -> FittedModel:
    """Fit a flow to defect-free pictures and calibrate its threshold on held-out ones.

    Args:
        source: A folder of JPEG and PNG files, or a set of pictures.
        product: What the model is for.
        preset: How to train.
        extractor: The frozen extractor; of several, the one is taken whose detector finds synthetic defects best.
        adapt_minutes: Minutes in which the first extractor is tuned to the product; the result is one more to choose from.
        false_alarm_rate: Share of defect-free pictures that may be called a defect, in (0, 1).
        views: Views behind a score; the preset's, if not given.
        seed: Seed of split, views, initial weights and order.
        device: Where to compute.
        max_pixels: Largest width x height that is decoded.
        progress: Told how far it is.

    Raises:
        TrainingSetError: No pictures, fewer than 16, a rate out of range, or the loss stopped being a number.
    """
    return fit_together(
        {product: source},
        preset,
        extractor,
        adapt_minutes=adapt_minutes,
        false_alarm_rate=false_alarm_rate,
        views=views,
        seed=seed,
        device=device,
        max_pixels=max_pixels,
        progress=progress,
    )[product]


def fit_together(
    sources: Mapping[str, Path | PictureSet],
    preset: Preset,
    extractor: Extractor | Sequence[Extractor],
    *,
    adapt_minutes: float = 0.0,
    false_alarm_rate: float | Mapping[str, float] = 0.01,
    views: int | None = None,
    seed: int = 0,
    device: str | torch.device = "cpu",
    max_pixels: int = MAX_PIXELS,
    progress: Progress = silent,
) -> dict[str, FittedModel]:
    """Fit one flow to the defect-free pictures of several products, and calibrate a threshold for each of them.

    Source: section 4.5 of the paper (12 coupling blocks for several products). Each product gets an artifact of its own, with
    the flow of all and its own threshold; its manifest has the training pictures of all.

    Args:
        sources: A folder of JPEG and PNG files, or a set of pictures, by product.
        preset: How to train; with several products, of 12 coupling blocks at least.
        extractor: As for `fit`, and so are the others.
        adapt_minutes: Minutes in which the first extractor is tuned.
        false_alarm_rate: Share of defect-free pictures that may be called a defect, in (0, 1); of all products, or of each.
        views: Views behind a score; the preset's, if not given.
        seed: Seed of split, views, initial weights and order.
        device: Where to compute.
        max_pixels: Largest width x height that is decoded.
        progress: Told how far it is.

    Raises:
        TrainingSetError: No pictures, fewer than 16 of a product, a picture of two of them, a rate out of range, or the loss
            stopped being a number.
    """
    rates = false_alarm_rate if isinstance(false_alarm_rate, Mapping) else dict.fromkeys(sources, false_alarm_rate)
    for rate in rates.values():
        if not 0.0 < rate < 1.0:
            raise TrainingSetError(f"a false-alarm rate lies between 0 and 1, not at {rate}")
    sets = {product: _read(source, max_pixels, progress) for product, source in sources.items()}
    _refuse_shared(sets)
    parts = {product: split(pictures, rates[product], seed) for product, pictures in sets.items()}
    training = PictureSet(tuple(picture for learned, _ in parts.values() for picture in learned.pictures))
    if len(sets) > 1:
        preset = replace(preset, blocks=max(preset.blocks, BLOCKS_TOGETHER))
    clock = _Stopwatch()
    runs = runs_of(preset.with_views(views), extractor, seed, torch.device(device), progress)
    choice = fit_parts(training, runs, adapt_minutes)
    fit_s = clock.lap()
    order = _Order(preset, rates, seed, training, choice, fit_s, progress)
    return {product: _calibrated(product, sets[product], parts[product], order) for product in sets}


@dataclass(frozen=True)
class _Order:
    """What the products of a fit share: how it was made, all that was learned from, and what came out."""

    preset: Preset
    rates: Mapping[str, float]
    seed: int
    training: PictureSet
    choice: Choice
    fit_s: float
    progress: Progress


def _read(source: Path | PictureSet, max_pixels: int, progress: Progress) -> PictureSet:
    pictures = source if isinstance(source, PictureSet) else read_folder(source, max_pixels, progress)
    require_enough(pictures, str(source) if isinstance(source, Path) else "the training set")
    return pictures


def _refuse_shared(sets: Mapping[str, PictureSet]) -> None:
    """A picture of two products would be learned from for one and calibrate the other."""
    product_of: dict[str, str] = {}
    for product, pictures in sets.items():
        for picture in pictures.pictures:
            other = product_of.setdefault(picture.sha256, product)
            if other != product:
                raise TrainingSetError(f"picture {picture.sha256} is of {other} and of {product}")


def _calibrated(product: str, pictures: PictureSet, parts: tuple[PictureSet, PictureSet], order: _Order) -> FittedModel:
    """Calibrate what was fitted on the held-out pictures of one product."""
    choice, preset, rate = order.choice, order.preset, order.rates[product]
    taken = choice.taken
    training, held_out = parts
    clock = _Stopwatch()
    held_out_parts = taken.parts(held_out, order.progress, Stage.CALIBRATION)
    calibration = _calibrate(taken.score(held_out_parts), rate)
    known = any(camera is not None for camera in held_out.cameras)
    own = calibrate_cameras(calibration.scores, held_out.cameras, rate)
    manifest = Manifest(
        product=product,
        preset=preset.name,
        architecture=taken.flow.spec,
        extractor=ExtractorIdentity.of(taken.extractor),
        local=None if taken.local is None else taken.local.spec,
        fusion=taken.fusion,
        evidence=taken.evidence,
        views=taken.views,
        early_exit=EarlyExit.calibrate(held_out_parts.by_view),
        heatmap_views=preset.heatmap_plan(order.seed),
        training_sha256=tuple(picture.sha256 for picture in order.training.pictures),
        calibration_sha256=tuple(picture.sha256 for picture in held_out.pictures),
        calibration_scores=calibration.scores,
        calibration_cameras=tuple(held_out.cameras) if known else (),
        calibration_quality=tuple(picture_quality(picture) for (picture,) in held_out.chunks(1)),
        false_alarm_rate=rate,
        threshold=calibration.threshold,
        camera_thresholds={camera: each.threshold for camera, each in own.items()},
        heat_scale=1.0,
        epochs=preset.epochs,
        final_loss=taken.final_loss,
        seed=order.seed,
    )
    scale = _heat_scale(_detector(manifest, taken), held_out, order.progress)
    detector = _detector(manifest.model_copy(update={"heat_scale": scale}), taken)
    report = FitReport(
        n_train=len(order.training),
        n_calibration=len(held_out),
        n_skipped=len(pictures.skipped),
        fit_s=order.fit_s,
        calibration_s=clock.lap(),
        final_loss=taken.final_loss,
        threshold=calibration.threshold,
        rate_requested=rate,
        rate_possible=calibration.rate_possible,
        rate_upper_bound=calibration.rate_upper_bound(),
        evidence=choice.evidence,
        warnings=(*_warnings(pictures, calibration), *_run_warnings(training, held_out), *choice.warnings),
    )
    return FittedModel(detector, report)


def split(pictures: PictureSet, false_alarm_rate: float, seed: int) -> tuple[PictureSet, PictureSet]:
    """Hold pictures out for calibration: one in five, drawn by seed; whole production runs, where they are known.

    More, up to half, where that is just what the false-alarm rate needs; where even half would not do, one in five again.

    Returns:
        The training pictures and the calibration pictures.
    """
    count = len(pictures)
    wanted, needed = math.ceil(count / CALIBRATION_SHARE), pictures_needed(false_alarm_rate)
    if wanted < needed <= count // 2:
        wanted = needed
    places = hold_out(pictures.runs, wanted, np.random.default_rng(seed))
    return pictures.subset(places.kept), pictures.subset(places.held_out)


def _detector(manifest: Manifest, taken: Assembly) -> Detector:
    return Detector(manifest, taken.extractor, taken.flow, taken.device, local=taken.local)


def _calibrate(scores: NDArray[np.float64], rate: float) -> Calibration:
    try:
        return calibrate(scores, rate)
    except CalibrationError as error:
        raise TrainingSetError(f"no threshold can be set: {error}") from error


def _heat_scale(detector: Detector, held_out: PictureSet, progress: Progress) -> float:
    """The hottest pixel of the heatmaps of up to 16 held-out pictures, made with a scale of 1."""
    some = held_out.subset(range(min(HEAT_SCALE_PICTURES, len(held_out))))
    hottest = 0.0
    progress(Stage.HEATMAPS, 0, len(some))
    for done, (picture,) in enumerate(some.chunks(1), start=1):
        hottest = max(hottest, float(detector.heatmap([picture]).max()))
        progress(Stage.HEATMAPS, done, len(some))
    return max(hottest, _LEAST_HEAT)


def _warnings(pictures: PictureSet, calibration: Calibration) -> tuple[str, ...]:
    lines: list[str] = []
    if pictures.skipped:
        first = pictures.skipped[0]
        lines.append(f"{len(pictures.skipped)} files were skipped, first {first.path}: {first.reason}")
    if not calibration.enough:
        needed = calibration.pictures_needed
        lines.append(
            f"{len(calibration.scores)} held-out pictures can promise a false-alarm rate of "
            f"{calibration.rate_possible:.2%} at best, not {calibration.rate:.2%}: "
            f"that needs {needed} held-out ones, {2 * needed} pictures in all"
        )
    return tuple(lines)


def _run_warnings(training: PictureSet, held_out: PictureSet) -> tuple[str, ...]:
    both = on_both_sides(training.runs, held_out.runs)
    if not both:
        return ()
    named = both[0] if len(both) == 1 else f"{both[0]} and {len(both) - 1} more"
    line = (
        f"pictures of the same production run ({named}) are learned from and calibrated on, as there are too few runs: the "
        "false-alarm rate is promised for parts of these runs, not for the next one"
    )
    return (line,)


class _Stopwatch:
    def __init__(self) -> None:
        self._started = time.perf_counter()

    def lap(self) -> float:
        """Seconds since the lap before."""
        before, self._started = self._started, time.perf_counter()
        return self._started - before
