"""Adaptation: the extractor is tuned to a product on its own defect-free pictures, with synthetic defects to be found.

Source: Schlueter et al., "Natural Synthetic Anomalies for Self-Supervised Anomaly Detection and Localization", ECCV 2022, who
train a network for each product from nothing; here it begins with the weights at hand.
"""

import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from infra.errors import PretrainingError, SettingsError, TrainingSetError
from infra.pictures import RgbPicture
from scorer.detector import ADAPTED, FINE, Extractor, has_fast_bfloat16
from trainer.images import PictureSet
from trainer.pretrain.defects import TRAINING_KINDS, add_defect
from trainer.pretrain.objectives import cell_loss
from trainer.pretrain.pretrain import half_precision
from trainer.pretrain.run import share_of_rate
from trainer.progress import Stage
from trainer.synthetic import cell_cover, squares
from trainer.training import TrainingRun

_WORDS = {"off": 0.0, "auto": 10.0}
_MOST_MINUTES = 24 * 60.0
_MOST_PICTURES = 600  # squares of 0.6 MB that are kept in memory
_CROP_PX = 224  # at the scale of 448 px
_CROPS = 16
_LEVEL_BATCHES = 4
_LEARNING_RATE, _HEAD_LEARNING_RATE = 2e-4, 1e-3
_WARM_UP = 0.05  # share of the time
_WEIGHT_DECAY = 0.02
_MAX_GRADIENT = 5.0


@dataclass(frozen=True)
class AdaptationBudget:
    """How long an adaptation may take, and by which clock.

    Attributes:
        seconds: Seconds of training.
        clock: Seconds that only ever grow.
    """

    seconds: float
    clock: Callable[[], float] = time.monotonic


@dataclass(frozen=True)
class _Crops:
    """(N, S, S, 3) uint8 crops, the first half as they are and the second with defects, and (N, S, S) bool where."""

    pictures: NDArray[np.uint8]
    changed: NDArray[np.bool_]


def minutes_of_adaptation(asked: str) -> float:
    """Read what was asked for: minutes, `off` (none), or `auto`: ten minutes, kept only if they pay.

    Raises:
        SettingsError: It is something else.
    """
    if asked in _WORDS:
        return _WORDS[asked]
    try:
        minutes = float(asked)
    except ValueError as error:
        raise SettingsError(f"--adapt takes minutes, auto or off, not {asked!r}") from error
    if not 0 <= minutes <= _MOST_MINUTES:
        raise SettingsError(f"--adapt takes 0 to {_MOST_MINUTES:.0f} minutes, not {asked}")
    return minutes


def adapt(run: TrainingRun, pictures: PictureSet, budget: AdaptationBudget) -> Extractor:
    """Tune an extractor to a product, without any label.

    All convolutions learn to find synthetic defects, cell by cell, in crops of the product's pictures. The weights of the last
    step are taken, rounded to half precision, as they are kept in the artifact.

    Args:
        run: The extractor to begin with, which stays as it is; seed, device, and who is told. Two runs of one seed differ
            nevertheless, as a budget is a time and not a number of steps.
        pictures: Defect-free pictures of the product.
        budget: How long.

    Raises:
        TrainingSetError: The loss is not a number any more, or the device went away; the extractor at hand stays in use.
    """
    rng = np.random.default_rng([run.seed, 8])
    chosen = sorted(rng.permutation(len(pictures))[:_MOST_PICTURES].tolist())
    known = list(squares(pictures.subset(chosen)))
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(run.seed)
            network = _Network(run.extractor).to(run.device).to(memory_format=torch.channels_last)
            steps = _train(run, network, known, budget)
        weights = network.weights()
    except (RuntimeError, ValueError, PretrainingError) as error:
        raise TrainingSetError(f"adaptation stopped: {' '.join(str(error).split())}") from error
    run.progress(Stage.ADAPT, round(budget.seconds), round(budget.seconds), f"{steps} steps")
    return Extractor(weights, ADAPTED).computing_in(run.extractor.arithmetic)


class _Network(nn.Module):
    """An extractor that can learn, and what finds defects on its cells."""

    def __init__(self, extractor: Extractor) -> None:
        super().__init__()
        weights = {key: value.detach().clone() for key, value in extractor.convolutions.state_dict().items()}
        self.extractor = Extractor(weights, ADAPTED).requires_grad_(requires_grad=True)
        self.level = nn.BatchNorm2d(FINE, affine=False, momentum=None)
        self.head = nn.Sequential(nn.Conv2d(FINE, 128, 1), nn.ReLU(), nn.Dropout2d(0.2), nn.Conv2d(128, 1, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        """Log odds of a defect, (N, s, s), in (N, 3, S, S) float32 pixels."""
        cells = torch.cat(self.extractor.layers(pixels), dim=1)
        logits: Tensor = self.head(self.level(F.avg_pool2d(cells, 3, 1, 1, count_include_pad=False)))
        return logits[:, 0].float()

    def weights(self) -> dict[str, Tensor]:
        """The extractor's weights in half precision's values, float32."""
        state = {key: value.detach().cpu() for key, value in self.extractor.convolutions.state_dict().items()}
        halved = safetensors.torch.load(half_precision(state))
        return {key: value.float() for key, value in halved.items()}


def _train(run: TrainingRun, network: _Network, pictures: list[RgbPicture], budget: AdaptationBudget) -> int:
    optimiser = torch.optim.AdamW(
        [
            {"params": network.extractor.parameters(), "highest": _LEARNING_RATE},
            {"params": network.head.parameters(), "highest": _HEAD_LEARNING_RATE},
        ],
        weight_decay=_WEIGHT_DECAY,
    )
    network.train()
    started, step = budget.clock(), 0
    for crops in _crops_ahead(pictures, run.seed):
        spent = (budget.clock() - started) / budget.seconds
        if spent >= 1 and step:
            break
        for group in optimiser.param_groups:
            group["lr"] = group["highest"] * share_of_rate(spent, _WARM_UP)
        loss = _step(network, crops, run.device)
        if not math.isfinite(loss.item()):
            raise ValueError("the loss is not a number")
        optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(network.parameters(), _MAX_GRADIENT)
        optimiser.step()
        if step == _LEVEL_BATCHES:
            network.level.eval()  # from here on the scale is fixed, as it is in the detector
        if step % 20 == 0:
            done, detail = round(min(spent, 1) * budget.seconds), f"loss {loss.item():.3f}"
            run.progress(Stage.ADAPT, done, round(budget.seconds), detail)
        step += 1
    return step


def _step(network: _Network, crops: _Crops, device: torch.device) -> Tensor:
    pixels = torch.from_numpy(crops.pictures).to(device).permute(0, 3, 1, 2).float() / 255.0
    with torch.autocast(device.type, torch.bfloat16, enabled=has_fast_bfloat16(device)):
        logits = network(pixels)
    return cell_loss(logits, cell_cover(crops.changed, logits.shape[-1]).to(device))


def _crops_ahead(pictures: list[RgbPicture], seed: int) -> Iterator[_Crops]:
    """Draw batch after batch without end, two ahead, while the network learns."""
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="crops") as pool:
        waiting = [pool.submit(_draw, pictures, seed, number) for number in range(2)]
        number = len(waiting)
        try:
            while True:
                yield waiting.pop(0).result()
                waiting.append(pool.submit(_draw, pictures, seed, number))
                number += 1
        finally:
            for future in waiting:
                future.cancel()


def _draw(pictures: list[RgbPicture], seed: int, step: int) -> _Crops:
    rng = np.random.default_rng([seed, 9, step])
    clean = [_crop(rng, pictures) for _ in range(_CROPS)]
    changed = np.zeros((_CROPS, _CROP_PX, _CROP_PX), np.bool_)
    for place in range(_CROPS // 2, _CROPS):
        clean[place], changed[place] = add_defect(rng, clean[place], _crop(rng, pictures), TRAINING_KINDS)
    brightness = rng.normal(1, 0.05, (_CROPS, 1, 1, 1))
    return _Crops(np.clip(np.stack(clean) * brightness, 0, 255).astype(np.uint8), changed)


def _crop(rng: np.random.Generator, pictures: list[RgbPicture]) -> RgbPicture:
    picture = pictures[int(rng.integers(len(pictures)))]
    top, left = rng.integers(0, picture.shape[0] - _CROP_PX + 1, 2)
    section = picture[top : top + _CROP_PX, left : left + _CROP_PX]
    return np.ascontiguousarray(section[:, ::-1] if rng.random() < 0.5 else section)
