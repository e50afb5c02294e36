"""`differline guarantee`: fit, score, split, calibrate and count."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from infra.errors import TrainingSetError
from scorer.detector import Extractor
from trainer.choice import fit_parts
from trainer.guarantee.cameras import CameraRow, measure_cameras
from trainer.guarantee.pictures import GoodPictures, GuaranteeOrder, learned_from, mixed_with
from trainer.guarantee.rates import Row, measure
from trainer.guarantee.thresholds import Scored
from trainer.images import PictureSet
from trainer.paper.store import ArrayStore
from trainer.presets import Preset
from trainer.progress import Progress, Stage, silent
from trainer.training import runs_of


class Measured(BaseModel):
    """What came out on the pictures of one folder.

    Attributes:
        name: Name of the folder.
        pictures: Defect-free pictures.
        groups: How many groups they are in; None where that is not known.
        learned: Pictures that a fit learned from, on average.
        skipped: Files that were not used, with the reason.
        rows: One for each rate and each way to split and calibrate.
        cameras: One for each rate and camera, where cameras are known.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    pictures: int
    groups: int | None
    learned: float
    skipped: dict[str, str]
    rows: tuple[Row, ...]
    cameras: tuple[CameraRow, ...] = ()


class GuaranteeReport(BaseModel):
    """What `differline guarantee` prints; rates are fractions from 0 to 1.

    Attributes:
        measured: By folder.
        fits: Detectors that were fitted on each folder.
        splits: Random splits on each folder.
        seed: Seed of all draws.
        preset: Name of the preset.
        views: Views behind a score.
        training_views: Views of a training picture.
        extractor: Name of the extractor.
        extractor_sha256: SHA-256 of its weights.
    """

    model_config = ConfigDict(frozen=True)

    measured: tuple[Measured, ...]
    fits: int
    splits: int
    seed: int
    preset: str
    views: int
    training_views: int
    extractor: str
    extractor_sha256: str


@dataclass(frozen=True)
class Bench:
    """What all fits share.

    Attributes:
        preset: How to train.
        extractor: The frozen extractor.
        device: Where to compute.
        store: Where scores are kept: what was interrupted goes on where it was.
        progress: Told how far it is.
    """

    preset: Preset
    extractor: Extractor
    device: torch.device
    store: ArrayStore
    progress: Progress = silent

    def report(self, sets: Sequence[GoodPictures], order: GuaranteeOrder) -> GuaranteeReport:
        """Fit, score, split, calibrate and count.

        Raises:
            TrainingSetError: Too few pictures or groups, or scores that are not finite.
        """
        return GuaranteeReport(
            measured=tuple(self._measure(each, order) for each in sets),
            fits=order.fits,
            splits=order.splits,
            seed=order.seed,
            preset=self.preset.name,
            views=self.preset.scoring_views,
            training_views=self.preset.bank_views,
            extractor=self.extractor.name,
            extractor_sha256=self.extractor.sha256,
        )

    def _measure(self, good: GoodPictures, order: GuaranteeOrder) -> Measured:
        scored = list(self._scored(good, order))
        mixed = list(self._mixed(good, order)) if order.mixed else []
        return Measured(
            name=good.name,
            pictures=len(good.pictures),
            groups=None if good.groups is None else len(np.unique(good.groups)),
            learned=float(np.mean([len(good.pictures) - len(each.scores) for each in scored])),
            skipped={str(skipped.path): skipped.reason for skipped in good.pictures.skipped},
            rows=measure(scored, order.rates, order.splits, order.seed, mixed),
            cameras=() if good.cameras is None else measure_cameras(scored, order.rates, order.splits, order.seed),
        )

    def _scored(self, good: GoodPictures, order: GuaranteeOrder) -> Iterator[Scored]:
        for number in range(order.fits):
            self.progress(Stage.TRIALS, number, order.fits, good.name)
            learned = learned_from(good, order, number)
            others = np.flatnonzero(~learned)
            scores = np.full(len(learned), np.nan)
            scores[others] = self._scores(good.pictures, learned, order.seed + number)
            yield Scored(scores, good.groups, good.cameras).subset(others)
        self.progress(Stage.TRIALS, order.fits, order.fits, good.name)

    def _mixed(self, good: GoodPictures, order: GuaranteeOrder) -> Iterator[tuple[Scored, Scored]]:
        for number in range(order.fits):
            self.progress(Stage.TRIALS, number, order.fits, f"{good.name}, mixed")
            learned, tested = mixed_with(good, order, number)
            scores = np.full(len(learned), np.nan)
            scores[~learned] = self._scores(good.pictures, learned, order.seed + number)
            everything = Scored(scores, good.groups)
            yield everything.subset(np.flatnonzero(~learned & ~tested)), everything.subset(np.flatnonzero(tested))
        self.progress(Stage.TRIALS, order.fits, order.fits, f"{good.name}, mixed")

    def _scores(self, pictures: PictureSet, learned: NDArray[np.bool_], seed: int) -> NDArray[np.float64]:
        """Learn from some pictures and score the others, which nothing is learned from."""
        training = pictures.subset(np.flatnonzero(learned).tolist())
        others = pictures.subset(np.flatnonzero(~learned).tolist())
        key = {
            "what": "false alarms",
            "extractor": self.extractor.sha256,
            "arithmetic": str(self.extractor.arithmetic),
            "preset": asdict(self.preset),
            "seed": seed,
            "training": _hash_of(training),
            "others": _hash_of(others),
        }
        known = self.store.read(key)
        if known is not None:
            return known
        runs = runs_of(self.preset, self.extractor, seed, self.device, self.progress)
        taken = fit_parts(training, runs).taken
        scores = taken.score(taken.parts(others, self.progress, Stage.TEST))
        if not np.isfinite(scores).all():
            raise TrainingSetError("a score of a held-out picture is not finite: nothing was learned")
        self.store.write(key, scores)
        return scores


def _hash_of(pictures: PictureSet) -> str:
    return hashlib.sha256(" ".join(picture.sha256 for picture in pictures.pictures).encode()).hexdigest()
