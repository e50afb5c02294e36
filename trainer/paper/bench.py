"""Flows and baselines on one split, each trained once and remembered."""

import hashlib
from dataclasses import asdict, dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scorer.detector import CHANNELS, SCALES_PX, Extractor, Flow, heatmaps, prepare, score_views
from trainer.baselines import BASELINES, baseline_scores
from trainer.paper.bank import FeatureBank, Photometry
from trainer.paper.labelled import LabelledSet
from trainer.paper.splits import Split
from trainer.paper.store import ArrayStore
from trainer.presets import Preset
from trainer.progress import Progress, Stage, silent
from trainer.training import TrainingRun, train_flow


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
        key = {**self._trial(split, FULL, seed), "what": "heatmaps", "views": self.preset.heatmap_views}
        known = self.store.read(key)
        if known is not None:
            return known
        flow = self.flow(split, FULL, seed).requires_grad_(requires_grad=False)
        plan = self.preset.heatmap_plan(seed)
        maps: list[NDArray[np.float32]] = []
        for done, index in enumerate(split.test.tolist()):
            self.progress(Stage.PIXELS, done, len(split.test))
            prepared = prepare([self.labelled.pictures.pictures[index].load()], device=self.device)
            maps.append(heatmaps(self.extractor.to(self.device), flow, prepared, plan, plan.count))
        self.progress(Stage.PIXELS, len(maps), len(maps))
        made = np.concatenate(maps)
        self.store.write(key, made)
        return made

    def training_features(self, split: Split, recipe: Recipe) -> Tensor:
        """Features of the training views of a split: (N, V, 768) float32, V of the preset."""
        views = self.preset.bank_plan(len(split.train), 0).count if recipe.training_views else 1
        return self.bank(recipe.photometry).features(split.train, views)

    def _trial(self, split: Split, recipe: Recipe, seed: int) -> dict[str, object]:
        return {
            "extractor": self.extractor.sha256,
            "preset": {**asdict(self.preset), "name": "", "scoring_views": 0, "heatmap_views": 0},
            "recipe": [list(recipe.scales_px), recipe.training_views, recipe.photometry.value],
            "seed": seed,
            **self.hashes(split),
        }

    def hashes(self, split: Split) -> dict[str, str]:
        """What a split is made of: hashes over its training and its test pictures."""
        return {"train": self._hash_of(split.train), "test": self._hash_of(split.test)}

    def _hash_of(self, indices: NDArray[np.int64]) -> str:
        hashes = (self.labelled.pictures.pictures[int(index)].sha256 for index in indices)
        return hashlib.sha256(" ".join(hashes).encode()).hexdigest()
