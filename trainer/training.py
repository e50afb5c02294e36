"""Training a flow: the features of a bank of views, computed once, and Adam over them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from infra.errors import TrainingSetError
from scorer.detector import Extractor, Flow, Views, extract, loss_per_view, prepare
from trainer.images import PictureSet
from trainer.presets import Preset
from trainer.progress import Progress, Stage, silent

PICTURES_PER_CHUNK = 16


@dataclass(frozen=True)
class TrainingRun:
    """What all steps of a run share.

    Attributes:
        preset: How to train.
        extractor: The frozen extractor, on the device.
        seed: Seed of split, views, initial weights and order.
        device: Where to compute.
        progress: Told how far it is.
    """

    preset: Preset
    extractor: Extractor
    seed: int
    device: torch.device
    progress: Progress = silent


def runs_of(
    preset: Preset,
    extractor: Extractor | Sequence[Extractor],
    seed: int,
    device: torch.device,
    progress: Progress = silent,
) -> list[TrainingRun]:
    """One run for each extractor, which differ in nothing else."""
    extractors = [extractor] if isinstance(extractor, Extractor) else extractor
    return [TrainingRun(preset, each, seed, device, progress) for each in extractors]


def set_features(run: TrainingRun, pictures: PictureSet, views: Views, stage: Stage) -> Tensor:
    """Extract the features of the listed views of all pictures, a few pictures in memory at a time.

    Args:
        run: The run.
        pictures: N pictures.
        views: The same number of views V of each, in the order of the pictures.
        stage: What to call it in the progress.

    Returns:
        (N, V, 768) float32 in main memory.
    """
    run.extractor.to(run.device)
    parts: list[Tensor] = []
    done = 0
    run.progress(stage, done, len(pictures))
    for chunk in pictures.chunks(PICTURES_PER_CHUNK):
        prepared = prepare(chunk, device=run.device)
        part = extract(run.extractor, prepared, views.of_pictures(done, done + len(chunk)))
        parts.append(part.features.cpu())
        done += len(chunk)
        run.progress(stage, done, len(pictures))
    return torch.cat(parts).view(len(pictures), -1, parts[0].shape[1])


def training_bank(run: TrainingRun, pictures: PictureSet) -> Tensor:
    """Compute the features of the training views, every picture with its own angles: (N, V, 768) float32."""
    views = run.preset.bank_plan(len(pictures), run.seed).draw(len(pictures), shared=False)
    return set_features(run, pictures, views, Stage.FEATURES)


def train_flow(run: TrainingRun, bank: Tensor) -> tuple[Flow, float]:
    """Fit a flow by maximum likelihood and take it as it is after the last epoch.

    Source: sections 3.1 and 4.2 of the paper.

    Args:
        run: The run.
        bank: (N, V, d) float32 features of V views of N defect-free pictures; d is 768, or less where scales are left out.

    Returns:
        The flow, and the mean loss a view in the last epoch.

    Raises:
        TrainingSetError: The loss is not a number any more.
    """
    preset, device = run.preset, run.device
    flow = Flow(preset.flow(run.seed, bank.shape[-1]))
    rows = bank.reshape(-1, bank.shape[-1])
    if preset.standardize:
        flow.standardize_by(rows)
    flow, rows = flow.to(device).train(), rows.to(device)
    spread = preset.noise * rows.std(dim=0)
    weights = [weight for weight in flow.parameters() if weight.requires_grad]
    optimiser = torch.optim.Adam(weights, lr=preset.learning_rate, fused=True)
    generator = torch.Generator().manual_seed(run.seed)
    loss = math.nan
    run.progress(Stage.FIT, 0, preset.epochs)
    for epoch in range(1, preset.epochs + 1):
        order = epoch_rows(bank.shape[0], bank.shape[1], preset.epoch_views, generator).to(device)
        total = torch.zeros((), device=device)
        for batch in torch.split(order, preset.batch):
            noise = torch.randn(len(batch), rows.shape[1], generator=generator).to(device)
            losses = loss_per_view(*flow(rows[batch] + spread * noise))
            optimiser.zero_grad(set_to_none=True)
            torch.autograd.backward(losses.mean())
            optimiser.step()
            total += losses.detach().sum()
        loss = total.item() / len(order)
        if not math.isfinite(loss):
            raise TrainingSetError(f"the loss is {loss} after epoch {epoch} of {preset.epochs}: nothing was learned")
        run.progress(Stage.FIT, epoch, preset.epochs, f"loss {loss:.1f}")
    return flow.eval(), loss


def epoch_rows(pictures: int, views: int, epoch_views: int, generator: torch.Generator) -> Tensor:
    """Draw at most `epoch_views` of the bank's views of each picture: row numbers, int64, in random order."""
    chosen = torch.rand(pictures, views, generator=generator).argsort(dim=1)[:, :epoch_views]
    rows = (torch.arange(pictures)[:, None] * views + chosen).flatten()
    return rows[torch.randperm(len(rows), generator=generator)]
