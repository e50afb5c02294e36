"""Fitting the local model: a Gaussian over cells in closed form, and a defect map that learns from synthetic defects."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from infra.errors import TrainingSetError
from infra.pictures import RgbPicture
from scorer.detector import CELLS, FINE, LocalModel, LocalSpec, local_features
from trainer.images import PictureSet
from trainer.presets import LocalRecipe
from trainer.pretrain.defects import TRAINING_KINDS
from trainer.pretrain.objectives import COVERED
from trainer.progress import Stage
from trainer.synthetic import cell_cover, squares, to_tensor, with_defects, with_turned
from trainer.training import TrainingRun

_PICTURES_PER_CHUNK = 8
_DEFECTIVE, _CLEAN = 64, 48  # cells of a picture that the defect map learns from, at most
_SHRINKAGE = 0.02  # of the whitened axes, in mean variances of a feature
_BORROWED = 10.0  # pictures' worth of what is usual anywhere, in what is usual at a place
_LEAST_DEVIATION = 1e-5


def fit_local(run: TrainingRun, recipe: LocalRecipe, pictures: PictureSet) -> LocalModel:
    """Fit a local model to defect-free pictures.

    Args:
        run: Extractor, seed, device and who is told.
        recipe: How.
        pictures: N pictures; of more than the recipe's, some are drawn by seed; of few, copies are added.

    Raises:
        TrainingSetError: The loss is not a number any more.
    """
    rng = np.random.default_rng([run.seed, 5])
    chosen = sorted(rng.permutation(len(pictures))[: recipe.pictures].tolist())
    looked_at = list(squares(with_turned(pictures.subset(chosen), recipe.few)))
    run.extractor.to(run.device)
    model = LocalModel(LocalSpec())
    fine, clean = _good_cells(run, looked_at, rng)
    _fit_gaussian(model, fine, recipe, rng)
    twins = _twin_cells(run, looked_at, recipe.rounds(len(looked_at)), rng)
    _fit_head(run, recipe, model, _Cells(torch.cat([clean, twins.clean]), twins.defective))
    return model.to(run.device).eval().requires_grad_(requires_grad=False)


@dataclass(frozen=True)
class _Cells:
    """Features of cells to learn from, (R, 1664) bfloat16 each."""

    clean: Tensor
    defective: Tensor


def _good_cells(run: TrainingRun, pictures: list[RgbPicture], rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Fine features of all cells, (N, 27, 27, 832) bfloat16, and all features of some cells, (R, 1664) bfloat16."""
    fine: list[Tensor] = []
    some: list[Tensor] = []
    for start in range(0, len(pictures), _PICTURES_PER_CHUNK):
        run.progress(Stage.LOCAL, start, len(pictures), "as they are")
        part = _features(run, pictures[start : start + _PICTURES_PER_CHUNK])
        fine.append(part[..., :FINE].clone())
        rows = part.flatten(1, 2)
        some += [each[torch.from_numpy(rng.permutation(CELLS * CELLS)[:_CLEAN])] for each in rows]
    run.progress(Stage.LOCAL, len(pictures), len(pictures), "as they are")
    return torch.cat(fine), torch.cat(some)


def _twin_cells(run: TrainingRun, pictures: list[RgbPicture], rounds: int, rng: np.random.Generator) -> _Cells:
    """Some cells of pictures with synthetic defects."""
    found: dict[bool, list[Tensor]] = {True: [], False: []}
    total = rounds * len(pictures)
    for done in range(0, total, _PICTURES_PER_CHUNK):
        run.progress(Stage.LOCAL, done, total, "with synthetic defects")
        part = [pictures[number % len(pictures)] for number in range(done, min(done + _PICTURES_PER_CHUNK, total))]
        twins, changed = with_defects(part, TRAINING_KINDS, rng)
        features = _features(run, twins).flatten(1, 2)
        for each, cover in zip(features, cell_cover(changed, CELLS).flatten(1).numpy(), strict=True):
            for cells, most, defective in (
                (np.flatnonzero(cover >= COVERED), _DEFECTIVE, True),
                (np.flatnonzero(cover == 0), _CLEAN, False),
            ):
                found[defective].append(each[torch.from_numpy(rng.permutation(cells)[:most])])
    run.progress(Stage.LOCAL, total, total, "with synthetic defects")
    return _Cells(torch.cat(found[False]), torch.cat(found[True]))


def _features(run: TrainingRun, pictures: list[RgbPicture]) -> Tensor:
    with torch.inference_mode():
        return local_features(run.extractor, to_tensor(pictures, run.device)).bfloat16().cpu()


def _fit_gaussian(model: LocalModel, fine: Tensor, recipe: LocalRecipe, rng: np.random.Generator) -> None:
    rows = fine.view(-1, FINE)
    if len(rows) > recipe.cells:
        rows = rows[torch.from_numpy(rng.permutation(len(rows))[: recipe.cells])]
    rows = rows.float()
    centre, deviation = rows.mean(dim=0), rows.std(dim=0) + _LEAST_DEVIATION
    scaled = (rows - centre) / deviation
    variances, axes = torch.linalg.eigh((scaled.T @ scaled / len(scaled)).double())
    whitener = axes / torch.sqrt(variances.clamp_min(0) + _SHRINKAGE)
    model.centre.copy_(centre)
    model.whitener.copy_(whitener / deviation.double()[:, None])
    distance = torch.cat([model.log_distance(part.float()) for part in torch.split(fine, _PICTURES_PER_CHUNK)])
    model.usual.copy_(_toward_all(distance.mean(dim=0), distance.mean(), len(fine)))
    variance = _toward_all(distance.var(dim=0, correction=0), distance.var(correction=0), len(fine))
    model.spread.copy_(variance.sqrt() + _LEAST_DEVIATION)


def _toward_all(here: Tensor, anywhere: Tensor, pictures: int) -> Tensor:
    """Draw what a few pictures say of each place towards what all of them say of all places."""
    return (pictures * here + _BORROWED * anywhere) / (pictures + _BORROWED)


def _fit_head(run: TrainingRun, recipe: LocalRecipe, model: LocalModel, cells: _Cells) -> None:
    clean, defective, device = cells.clean, cells.defective, run.device
    if not len(defective):
        raise TrainingSetError("no synthetic defect can be seen on these pictures: are they blank?")
    level, scale = clean.float().mean(dim=0), clean.float().std(dim=0) + _LEAST_DEVIATION
    model.level.copy_(level)
    model.scale.copy_(scale)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(run.seed)
        for layer in model.head:
            if isinstance(layer, nn.Linear):
                layer.reset_parameters()
        head = _with_dropout(model.head, recipe.dropout).to(device).train()
        optimiser = torch.optim.AdamW(
            head.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True
        )
        truth = torch.cat([torch.ones(recipe.defective), torch.zeros(recipe.clean)]).to(device)
        loss = torch.full((), math.nan)
        for step in range(recipe.steps):
            for group in optimiser.param_groups:
                group["lr"] = recipe.learning_rate * (1 - step / recipe.steps)
            bad = torch.randint(len(defective), (recipe.defective,))
            good = torch.randint(len(clean), (recipe.clean,))
            rows = (torch.cat([defective[bad], clean[good]]).float() - level) / scale
            loss = F.binary_cross_entropy_with_logits(head(rows.to(device)).squeeze(1), truth)
            optimiser.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            optimiser.step()
            if step % 100 == 0:
                run.progress(Stage.DEFECT_MAP, step, recipe.steps)
    if not math.isfinite(loss.item()):
        raise TrainingSetError(f"the loss of the defect map is {loss.item()}: nothing was learned")
    run.progress(Stage.DEFECT_MAP, recipe.steps, recipe.steps, f"loss {loss.item():.3f}")


def _with_dropout(head: nn.Sequential, share: float) -> nn.Sequential:
    """The same layers, with dropout behind the first activation; the weights are shared."""
    return nn.Sequential(*head[:2], nn.Dropout(share), *head[2:])
