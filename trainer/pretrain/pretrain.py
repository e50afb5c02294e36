"""`differline pretrain` without its command line: draw the bank, train, fold, save."""

import os
from collections.abc import Mapping
from concurrent.futures import BrokenExecutor
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from infra.errors import PretrainingError
from trainer.pretrain.bank import draw_bank
from trainer.pretrain.checkpoints import RunState, read_state, replace_file
from trainer.pretrain.recipe import Recipe
from trainer.pretrain.reports import SILENT, Report
from trainer.pretrain.run import Budget, PretrainingRun

WEIGHTS_FILE = "differline-alexnet.safetensors"


@dataclass(frozen=True)
class Pretrained:
    """What a finished run leaves.

    Attributes:
        path: The weights.
        state: How far the run came.
    """

    path: Path
    state: RunState


def pretrain(
    folder: Path,
    budget: Budget,
    *,
    out: Path | None = None,
    resume: bool = False,
    seed: int = 0,
    device: str | torch.device = "cpu",
    recipe: Recipe | None = None,
    report: Report = SILENT,
) -> Pretrained:
    """Pretrain an extractor.

    Args:
        folder: Where bank and checkpoint lie.
        budget: How long, over all continuations.
        out: Where the weights go, as safetensors in half precision; in the folder, if not given.
        resume: Go on from the checkpoint in the folder; without one, begin.
        seed: Seed of pictures, episodes and initial weights.
        device: Where to compute.
        recipe: Every other number.
        report: Told how far it is.

    Raises:
        PretrainingError: A checkpoint lies in the folder and `resume` was not asked for, or the run cannot go on; the last
            good checkpoint stays.
    """
    recipe, out = recipe or Recipe(), out or folder / WEIGHTS_FILE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not resume and read_state(folder) is not None:
            raise PretrainingError(f"a checkpoint lies in {folder}: go on with --resume, or choose another folder")
        bank = draw_bank(folder / f"bank-{seed}", recipe, seed, os.cpu_count() or 1, report)
        run = PretrainingRun(folder, bank, recipe, seed, torch.device(device))
        run.train(budget, report)
        replace_file(out, half_precision(run.network.folded()))
    except (OSError, BrokenExecutor) as error:
        raise PretrainingError(f"pretraining stopped: {' '.join(str(error).split())}") from error
    return Pretrained(out, run.state)


def half_precision(weights: Mapping[str, Tensor]) -> bytes:
    """Return weights as a safetensors file of float16.

    Raises:
        PretrainingError: A weight does not fit into half precision.
    """
    halved = {key: value.half().contiguous() for key, value in weights.items()}
    for key, value in halved.items():
        if not torch.isfinite(value).all():
            raise PretrainingError(f"{key} is not finite in half precision")
    return safetensors.torch.save(halved)
