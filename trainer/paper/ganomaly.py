"""GANomaly as a row of Table 2, by anomalib's networks and losses: `pip install -r requirements-ganomaly.txt`.

Source: Akcay et al., "GANomaly: Semi-Supervised Anomaly Detection via Adversarial Training", ACCV 2018. Settings are anomalib's
defaults, at 64 px, as in Akcay et al. for their own pictures.
"""

import importlib
from types import ModuleType

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from infra.errors import SettingsError
from scorer.detector import VIEW_PX, prepare
from trainer.images import PictureSet
from trainer.progress import Progress, Stage, silent

SIZE_PX = 64
EPOCHS = 30

_CHANNELS = 3
_FEATURES, _LATENT = 64, 100
_LEARNING_RATE, _BETAS = 2e-4, (0.5, 0.999)
_BATCH = 32


def require_anomalib() -> None:
    """Refuse where the extra is not installed.

    Raises:
        SettingsError: anomalib cannot be imported.
    """
    _module("torch_model")


def ganomaly_scores(
    training: PictureSet, test: PictureSet, seed: int, device: torch.device, progress: Progress = silent
) -> NDArray[np.float64]:
    """Train GANomaly on defect-free pictures and score others by the last epoch: (M,) float64, larger for less likely ones.

    Args:
        training: N pictures.
        test: M pictures.
        seed: Seed of weights and order.
        device: Where to compute.
        progress: Told how far it is.

    Raises:
        SettingsError: anomalib is not installed.
    """
    networks, losses = _module("torch_model"), _module("loss")
    pictures = _small(training, device)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = networks.GanomalyModel((SIZE_PX, SIZE_PX), _CHANNELS, _FEATURES, _LATENT).to(device).train()
        generator_loss, discriminator_loss = losses.GeneratorLoss(), losses.DiscriminatorLoss()
        generator = torch.optim.Adam(model.generator.parameters(), lr=_LEARNING_RATE, betas=_BETAS)
        discriminator = torch.optim.Adam(model.discriminator.parameters(), lr=_LEARNING_RATE, betas=_BETAS)
        for epoch in range(EPOCHS):
            progress(Stage.GANOMALY, epoch, EPOCHS)
            for batch in torch.split(torch.randperm(len(pictures)), _BATCH):
                if len(batch) < 2:  # batch normalisation has nothing to normalise by
                    continue
                padded, fake, latent, again = model(pictures[batch.to(device)])
                real, _ = model.discriminator(padded)
                made, _ = model.discriminator(fake)
                generator.zero_grad()
                generator_loss(latent, again, padded, fake, real, made).backward(retain_graph=True)
                generator.step()
                made, _ = model.discriminator(fake.detach())
                discriminator.zero_grad()
                discriminator_loss(real, made).backward()
                discriminator.step()
    progress(Stage.GANOMALY, EPOCHS, EPOCHS)
    model.eval()
    with torch.inference_mode():
        scores = torch.cat([model(part).pred_score for part in torch.split(_small(test, device), _BATCH)])
    return np.asarray(scores.double().cpu().numpy())


def _small(pictures: PictureSet, device: torch.device) -> torch.Tensor:
    parts = [
        F.interpolate(prepare(chunk, VIEW_PX, device).float() / 255, size=(SIZE_PX, SIZE_PX), mode="area")
        for chunk in pictures.chunks(_BATCH)
    ]
    return torch.cat(parts)


def _module(name: str) -> ModuleType:
    try:
        return importlib.import_module(f"anomalib.models.image.ganomaly.{name}")
    except ImportError as error:
        raise SettingsError(f"GANomaly needs anomalib: pip install -r requirements-ganomaly.txt ({error})") from error
