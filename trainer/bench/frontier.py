"""P3: other detectors on the same bytes, by anomalib: `pip install -r requirements-ganomaly.txt`.

Their backbones have random weights, since a benchmark downloads nothing: that says how fast they are, and nothing of how good.
Sizes and settings are anomalib's defaults, at 256 px.
"""

import importlib
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from infra.pictures import decode
from trainer.bench.row import NotMeasuredError, Row
from trainer.bench.scoring import PICTURES_PER_BATCH, leaves_early, score_bodies
from trainer.bench.setting import Setting, say
from trainer.bench.tables import table
from trainer.bench.timing import seconds
from trainer.images import MAX_PIXELS

SIDE_PX = 256
CORESET = 0.1
FEW_VIEWS = 8
_LEARNED_FROM = 32  # pictures of PatchCore's memory and PaDiM's Gaussians
_SEED = 0
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

Score = Callable[[Sequence[bytes]], object]
"""Scores encoded pictures, a batch at once."""


class Rival(BaseModel):
    """One detector's speed.

    Attributes:
        name: What it is.
        weights: Which ones, and what that means.
        frames_s: Frames a second in batches of eight, JPEG to score.
        p50_ms: Median milliseconds of a picture by itself.
        p99_ms: 99th percentile of the same.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    weights: str
    frames_s: float
    p50_ms: float
    p99_ms: float


class Frontier(Row):
    """Ours beside others; the ratio is our fastest rate over theirs.

    Attributes:
        ours: Our detector at several numbers of views.
        rivals: The others.
        frames: Pictures each of them scored.
    """

    ours: tuple[Rival, ...]
    rivals: tuple[Rival, ...]
    frames: int

    def figures(self) -> str:
        """The frontier in one line."""
        fastest = max(self.rivals, key=lambda each: each.frames_s)
        own = ", ".join(f"{each.frames_s:.2f} ({each.name})" for each in self.ours)
        return f"frames/s: ours {own}; fastest other {fastest.frames_s:.1f} ({fastest.name})"

    def details(self) -> list[str]:
        """Every detector's rate and latencies."""
        rows = [
            (each.name, each.weights, f"{each.frames_s:.2f}", f"{each.p50_ms:.0f}", f"{each.p99_ms:.0f}")
            for each in (*self.ours, *self.rivals)
        ]
        return table(("detector", "weights", "frames/s", "p50 ms", "p99 ms"), rows).splitlines()


@dataclass(frozen=True)
class Contender:
    """A detector that is ready to score.

    Attributes:
        name: What it is.
        weights: Which ones.
        score: Scores encoded pictures.
    """

    name: str
    weights: str
    score: Score


def measure_frontier(setting: Setting) -> Frontier:
    """Score the same bytes by each detector.

    Raises:
        NotMeasuredError: anomalib is not installed.
    """
    _module("padim")  # before minutes are spent on fitting
    bodies = setting.pictures.stream(setting.size.rival_frames)
    ours = [_timed(each, bodies) for each in _ours(setting)]
    rivals: list[Rival] = []
    for make in (_efficient_ad, _patchcore, _padim, _fastflow):
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of deprecated names in its own libraries
            torch.manual_seed(_SEED)
            rivals.append(_timed(make(setting), bodies))
    fastest = max(each.frames_s for each in ours) / max(each.frames_s for each in rivals)
    return Frontier(
        device=setting.device_name, ratio=fastest, ours=tuple(ours), rivals=tuple(rivals), frames=len(bodies)
    )


def _timed(contender: Contender, bodies: Sequence[bytes]) -> Rival:
    say(f"  {contender.name}")
    contender.score(bodies[:PICTURES_PER_BATCH])
    contender.score(bodies[:1])
    alone: list[float] = []
    for body in bodies:
        started = time.perf_counter()
        contender.score([body])
        alone.append(1000 * (time.perf_counter() - started))
    batches = [bodies[start : start + PICTURES_PER_BATCH] for start in range(0, len(bodies), PICTURES_PER_BATCH)]
    rate = len(bodies) / seconds(lambda: [contender.score(batch) for batch in batches])
    p50, p99 = (float(each) for each in np.percentile(alone, [50, 99]))
    return Rival(name=contender.name, weights=contender.weights, frames_s=rate, p50_ms=p50, p99_ms=p99)


def _ours(setting: Setting) -> list[Contender]:
    detector, weights = setting.plant, setting.extractor.name
    early = leaves_early(detector)
    few = detector.manifest.views.model_copy(update={"count": min(FEW_VIEWS, setting.size.views)})

    def by_few(bodies: Sequence[bytes]) -> object:
        return score_bodies(detector, bodies, few, early_exit=False)

    def by_most(bodies: Sequence[bytes]) -> object:
        return score_bodies(detector, bodies, early_exit=early)

    most = f"differline, {setting.size.views} views" + (", early exit" if early else "")
    return [Contender(f"differline, {few.count} views", weights, by_few), Contender(most, weights, by_most)]


def _efficient_ad(setting: Setting) -> Contender:
    networks = _module("efficient_ad")
    model = networks.EfficientAdModel(model_size=networks.EfficientAdModelSize.S)
    model.mean_std["std"].data.fill_(1.0)  # the teacher's statistics, which only training knows
    return _anomalib("EfficientAD-S", "random; for speed only", model, setting)


def _patchcore(setting: Setting) -> Contender:
    model = _module("patchcore").PatchcoreModel(layers=("layer2", "layer3"), pre_trained=False)
    rows = _learn(model, setting)
    chosen = torch.randperm(len(rows))[: max(model.num_neighbors, int(CORESET * len(rows)))]
    model.memory_bank = rows[chosen]  # a coreset drawn at random is as fast as a well-chosen one
    return _anomalib(f"PatchCore, {len(chosen):,} vectors", "random WideResNet-50; for speed only", model, setting)


def _padim(setting: Setting) -> Contender:
    model = _module("padim").PadimModel(pre_trained=False)
    _learn(model, setting)
    model.fit()
    return _anomalib("PaDiM", "random ResNet-18; for speed only", model, setting)


def _fastflow(setting: Setting) -> Contender:
    model = _module("fastflow").FastflowModel((SIDE_PX, SIDE_PX), backbone="resnet18", pre_trained=False)
    return _anomalib("FastFlow", "random ResNet-18; for speed only", model, setting)


def _learn(model: Any, setting: Setting) -> Tensor:
    """Show training pictures to a model that keeps their embeddings."""
    model.to(setting.device).train()
    bodies = [picture.body for picture in setting.pictures.training[:_LEARNED_FROM]]
    with torch.no_grad():
        parts = [model(_squares(bodies[start : start + 8], setting.device)) for start in range(0, len(bodies), 8)]
    return torch.cat(parts)


def _anomalib(name: str, weights: str, model: Any, setting: Setting) -> Contender:
    model.to(setting.device).eval()

    def score(bodies: Sequence[bytes]) -> object:
        with torch.inference_mode():
            return model(_squares(bodies, setting.device)).pred_score.cpu()

    return Contender(f"{name} (anomalib)", weights, score)


def _squares(bodies: Sequence[bytes], device: torch.device) -> Tensor:
    squares = [
        cv2.resize(decode(body, MAX_PIXELS), (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA) for body in bodies
    ]
    pixels = torch.from_numpy(np.stack(squares)).to(device).permute(0, 3, 1, 2).float() / 255
    mean, std = (torch.tensor(each, device=device).view(1, 3, 1, 1) for each in (_MEAN, _STD))
    return (pixels - mean) / std


def _module(name: str) -> ModuleType:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module(f"anomalib.models.image.{name}.torch_model")
    except ImportError as error:
        raise NotMeasuredError("needs the extra: pip install -r requirements-ganomaly.txt") from error
