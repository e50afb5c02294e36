"""Flows and baselines on one split, each trained once and remembered."""

import hashlib
import math
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scorer.detector import (
    CHANNELS,
    SCALES_PX,
    Extractor,
    Flow,
    Fusion,
    LocalModel,
    PartScores,
    Subject,
    heatmaps,
    local_features,
    local_heat,
    local_scores,
    look,
    prepare,
    score_views,
)
from trainer.adaptation import AdaptationBudget, adapt
from trainer.assembly import fuse, part_off_places
from trainer.baselines import BASELINES, baseline_scores
from trainer.local import fit_local
from trainer.paper.bank import PICTURES_PER_CHUNK, FeatureBank, Photometry
from trainer.paper.ganomaly import EPOCHS, SIZE_PX, ganomaly_scores
from trainer.paper.labelled import LabelledSet
from trainer.paper.splits import Split
from trainer.paper.store import ArrayStore
from trainer.presets import LocalRecipe, Preset
from trainer.progress import Progress, Stage, silent
from trainer.synthetic import with_turned
from trainer.training import TrainingRun, train_flow

DETECTOR_ROWS = ("differline", "unlikeness alone", "defect map alone")
"""The whole detector, and what its local model says by itself."""


@dataclass(frozen=True)
class Recipe:
    """A DifferNet, or one with something left out.

    Attributes:
        scales_px: Which of the extractor's scales the flow sees.
        training_views: Whether it learns from rotated views; else from each picture as it is, in as many steps.
        photometry: What is done about light.
    """

    scales_px: tuple[int, ...] = SCALES_PX
    training_views: bool = True
    photometry: Photometry = Photometry.AS_IT_IS

    def columns(self) -> Tensor:
        """Which features the flow sees, int64."""
        wanted = [SCALES_PX.index(scale) for scale in self.scales_px]
        return torch.cat([torch.arange(CHANNELS) + CHANNELS * place for place in wanted])


FULL = Recipe()


@dataclass(frozen=True)
class Bench:
    """What all trials of a report share.

    Attributes:
        labelled: The pictures.
        extractor: The frozen extractor.
        preset: How flows are trained, and how many views are behind a score.
        store: Where features, scores and heatmaps are kept.
        device: Where to compute.
        progress: Told how far a bank and the heatmaps are.
    """

    labelled: LabelledSet
    extractor: Extractor
    preset: Preset
    store: ArrayStore
    device: torch.device
    progress: Progress = silent
    _banks: dict[Photometry, FeatureBank] = field(default_factory=dict, repr=False)
    _locals: dict[str, LocalModel] = field(default_factory=dict, repr=False)

    def bank(self, photometry: Photometry = Photometry.AS_IT_IS) -> FeatureBank:
        """The bank of views under that photometry."""
        if photometry not in self._banks:
            self._banks[photometry] = FeatureBank(
                self.labelled.pictures, self.extractor, self.store, self.device, photometry, progress=self.progress
            )
        return self._banks[photometry]

    def flow_scores(self, split: Split, recipe: Recipe, seed: int, views: int) -> NDArray[np.float64]:
        """Score each of the first `views` views of the test pictures by a flow of the last epoch: (N, views) float64."""
        key = {**self._trial(split, recipe, seed), "what": "scores"}
        known = self.store.read(key)
        if known is not None and known.shape[1] >= views:
            return known[:, :views]
        features = self.bank(recipe.photometry).features(split.test, views)[..., recipe.columns()]
        flow = self.flow(split, recipe, seed)
        scores = [score_views(flow, part.flatten(0, 1).to(self.device), 1) for part in torch.split(features, 64)]
        made = torch.cat(scores).view(len(split.test), views).cpu().numpy()
        self.store.write(key, made)
        return made

    def detector_scores(self, split: Split, seed: int) -> dict[str, NDArray[np.float64]]:
        """Score the test pictures by the whole detector, and by each part of its local model: by name, (N,) float64.

        Empty where the preset leaves the flow alone. A fifth of the training pictures is a probe, as when a plant trains: the
        flow in here learns from the rest.
        """
        if self.preset.local is None:
            return {}
        views = self.preset.scoring_views
        key = {**self._whole_trial(split, seed), "what": "detector, capped views", "views": views}
        known = self.store.read(key)
        if known is None:
            learning, probe = (split.train[places] for places in part_off_places([None] * len(split.train), seed))
            part = Split(split.protocol, split.number, learning, split.test)
            local = self._local(learning, seed)
            maps = [local(cells) for cells in self._cells(part.test)]
            by_local = torch.cat([local_scores(*both) for both in maps]).numpy()
            fusion = self._fusion(part, probe, local, seed)
            assert fusion.cap is not None  # noqa: S101 - it was fitted just now
            by_flow = np.minimum(np.log(self.flow_scores(part, FULL, seed, views)), fusion.cap).mean(axis=1)
            fused = fusion(np.column_stack([by_flow, by_local]))
            known = np.column_stack([fused, by_local]).T
            self.store.write(key, known)
        return dict(zip(DETECTOR_ROWS, known, strict=True))

    def adapted_scores(self, split: Split, seed: int, minutes: float) -> NDArray[np.float64]:
        """Score the test pictures by the whole detector on an extractor that was tuned to the split's pictures: (N,) float64.

        The extractor is tuned to what the detector learns from, without the probe; its features are of no use to anybody else.
        """
        views = self.preset.scoring_views
        key = {**self._whole_trial(split, seed), "what": "adapted", "views": views, "minutes": minutes}
        known = self.store.read(key)
        if known is None:
            learning = split.train[part_off_places([None] * len(split.train), seed)[0]]
            run = TrainingRun(self.preset, self.extractor, seed, self.device, self.progress)
            pictures = self.labelled.pictures.subset(learning.tolist())
            adapted = adapt(run, pictures, AdaptationBudget(60 * minutes))
            with tempfile.TemporaryDirectory() as folder:
                bench = replace(self, extractor=adapted, store=ArrayStore(Path(folder)), _banks={}, _locals={})
                known = bench.detector_scores(split, seed)[DETECTOR_ROWS[0]]
            self.store.write(key, known)
        return known

    def baselines(self, split: Split, seed: int) -> dict[str, NDArray[np.float64]]:
        """Score the test pictures by each baseline, on the flow's features: by name, (N,) float64."""
        key = {**self._trial(split, FULL, seed), "what": "baselines", "views": self.preset.scoring_views}
        known = self.store.read(key)
        if known is None:
            training = self.training_features(split, FULL)
            test = self.bank().features(split.test, self.preset.scoring_views)
            known = np.stack([scores for _, scores in baseline_scores(training, test, seed)])
            self.store.write(key, known)
        return dict(zip(BASELINES, known, strict=True))

    def ganomaly(self, split: Split, seed: int) -> NDArray[np.float64]:
        """Score the test pictures by GANomaly: (N,) float64."""
        key = {**self.hashes(split), "what": "ganomaly", "seed": seed, "epochs": EPOCHS, "size": SIZE_PX}
        known = self.store.read(key)
        if known is None:
            training, test = (self.labelled.pictures.subset(part.tolist()) for part in (split.train, split.test))
            known = ganomaly_scores(training, test, seed, self.device, self.progress)
            self.store.write(key, known)
        return known

    def flow(self, split: Split, recipe: Recipe, seed: int) -> Flow:
        """Train a flow on the training pictures of a split and take it as it is after the last epoch."""
        preset = self.preset
        if not recipe.training_views:
            preset = replace(preset, epochs=preset.epochs * preset.epoch_views, epoch_views=1)
        run = TrainingRun(preset, self.extractor, seed, self.device)
        flow, _ = train_flow(run, self.training_features(split, recipe)[..., recipe.columns()].contiguous())
        return flow

    def heat(self, split: Split, seed: int) -> NDArray[np.float32]:
        """Heatmaps of the test pictures: (N, 112, 112) float32."""
        key = {**self._whole_trial(split, seed), "what": "heatmaps", "views": self.preset.heatmap_views}
        known = self.store.read(key)
        if known is not None:
            return known
        maps: list[NDArray[np.float32]] = []
        if self.preset.local is not None:
            learning = split.train[part_off_places([None] * len(split.train), seed)[0]]
            local = self._local(learning, seed)
            maps += [local_heat(*local(cells)) for cells in self._cells(split.test)]
        else:
            flow = self.flow(split, FULL, seed).requires_grad_(requires_grad=False)
            plan = self.preset.heatmap_plan(seed)
            for done, index in enumerate(split.test.tolist()):
                self.progress(Stage.PIXELS, done, len(split.test))
                prepared = prepare([self.labelled.pictures.pictures[index].load()], device=self.device)
                maps.append(heatmaps(self.extractor.to(self.device), flow, prepared, plan, plan.count))
        self.progress(Stage.PIXELS, len(split.test), len(split.test))
        made = np.concatenate(maps)
        self.store.write(key, made)
        return made

    def _local(self, learning: NDArray[np.int64], seed: int) -> LocalModel:
        """Fit the local model; the last one is remembered, as heatmaps follow scores."""
        key = f"{seed} {self._hash_of(learning)}"
        if key not in self._locals:
            self._locals.clear()
            run = TrainingRun(self.preset, self.extractor, seed, self.device, self.progress)
            recipe = self.preset.local or LocalRecipe()
            self._locals[key] = fit_local(run, recipe, self.labelled.pictures.subset(learning.tolist()))
        return self._locals[key]

    def _fusion(self, part: Split, probe: NDArray[np.int64], local: LocalModel, seed: int) -> Fusion:
        """Take the scales of the fusion from the probe, turned as well where it is small."""
        flow, plan = self.flow(part, FULL, seed), self.preset.scoring_plan(seed)
        recipe = self.preset.local or LocalRecipe()
        pictures = with_turned(self.labelled.pictures.subset(probe.tolist()), recipe.few)
        found = [
            look([Subject(self.extractor, flow, local, prepare(chunk, device=self.device), plan, cap=math.inf)])[0]
            for chunk in pictures.chunks(PICTURES_PER_CHUNK)
        ]
        return fuse(PartScores.joined(found))[0]

    def _cells(self, indices: NDArray[np.int64]) -> Iterator[Tensor]:
        """Features of the cells of pictures, a few at a time: (n, 27, 27, 1664) each."""
        done = 0
        for chunk in self.labelled.pictures.subset(indices.tolist()).chunks(PICTURES_PER_CHUNK):
            self.progress(Stage.LOCAL, done, len(indices), "of the test")
            with torch.inference_mode():
                yield local_features(self.extractor, prepare(chunk, device=self.device))
            done += len(chunk)

    def training_features(self, split: Split, recipe: Recipe) -> Tensor:
        """Features of the training views of a split: (N, V, 768) float32, V of the preset."""
        views = self.preset.bank_plan(len(split.train), 0).count if recipe.training_views else 1
        return self.bank(recipe.photometry).features(split.train, views)

    def _trial(self, split: Split, recipe: Recipe, seed: int) -> dict[str, object]:
        return {
            "extractor": self.extractor.sha256,
            "arithmetic": str(self.extractor.arithmetic),
            "preset": {**asdict(self.preset), "name": "", "scoring_views": 0, "heatmap_views": 0, "local": None},
            "recipe": [list(recipe.scales_px), recipe.training_views, recipe.photometry.value],
            "seed": seed,
            **self.hashes(split),
        }

    def _whole_trial(self, split: Split, seed: int) -> dict[str, object]:
        local = None if self.preset.local is None else asdict(self.preset.local)
        return {**self._trial(split, FULL, seed), "local": local}

    def hashes(self, split: Split) -> dict[str, str]:
        """What a split is made of: hashes over its training and its test pictures."""
        return {"train": self._hash_of(split.train), "test": self._hash_of(split.test)}

    def _hash_of(self, indices: NDArray[np.int64]) -> str:
        hashes = (self.labelled.pictures.pictures[int(index)].sha256 for index in indices)
        return hashlib.sha256(" ".join(hashes).encode()).hexdigest()
