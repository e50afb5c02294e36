import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from infra.errors import SettingsError
from trainer.images import drawn_pictures
from trainer.paper import ganomaly
from trainer.paper.ganomaly import ganomaly_scores, require_anomalib
from trainer.progress import Stage

PACKAGE = "anomalib.models.image.ganomaly"


class Model(nn.Module):
    """Stands for anomalib's network: an encoder and a decoder of one linear layer each."""

    def __init__(self, size: tuple[int, int], channels: int, features: int, latent: int) -> None:
        super().__init__()
        self.shape = (channels, *size)
        self.generator = nn.ModuleDict(
            {"encode": nn.Linear(channels * size[0] * size[1], 4), "decode": nn.Linear(4, channels * size[0] * size[1])}
        )
        self.judge = nn.Linear(channels * size[0] * size[1], 1)
        assert (features, latent) == (64, 100)

    @property
    def discriminator(self) -> "Judge":
        return Judge(self.judge)

    def forward(self, batch: Tensor) -> object:
        first = self.generator["encode"](batch.flatten(1))
        fake = self.generator["decode"](first)
        second = self.generator["encode"](fake)
        if self.training:
            return batch, fake.view(-1, *self.shape), first, second
        return SimpleNamespace(pred_score=(first - second).square().mean(dim=1))


class Judge(nn.Module):
    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, batch: Tensor) -> tuple[Tensor, None]:
        return self.layer(batch.flatten(1)), None


class GeneratorLoss(nn.Module):
    def forward(self, first: Tensor, second: Tensor, real: Tensor, fake: Tensor, *_: Tensor) -> Tensor:
        return (first - second).square().mean() + (real - fake).abs().mean()


class DiscriminatorLoss(nn.Module):
    def forward(self, real: Tensor, fake: Tensor) -> Tensor:
        return fake.mean() - real.mean()


@pytest.fixture
def anomalib(monkeypatch: pytest.MonkeyPatch) -> None:
    networks, losses = ModuleType("torch_model"), ModuleType("loss")
    networks.GanomalyModel = Model  # type: ignore[attr-defined]
    losses.GeneratorLoss, losses.DiscriminatorLoss = GeneratorLoss, DiscriminatorLoss  # type: ignore[attr-defined]
    for name in ("anomalib", "anomalib.models", "anomalib.models.image", PACKAGE):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, f"{PACKAGE}.torch_model", networks)
    monkeypatch.setitem(sys.modules, f"{PACKAGE}.loss", losses)
    monkeypatch.setattr(ganomaly, "EPOCHS", 4)


@pytest.mark.usefixtures("anomalib")
def test_pictures_are_learned_from_and_scored_one_by_one(part, told) -> None:  # type: ignore[no-untyped-def]
    require_anomalib()
    training = drawn_pictures([part(seed) for seed in range(33)])  # the last batch of one is left out
    test = drawn_pictures([part(100), part(101, True), part(102)])
    before = torch.get_rng_state()
    scores = ganomaly_scores(training, test, 1, torch.device("cpu"), told)
    assert torch.equal(torch.get_rng_state(), before)
    assert scores.shape == (3,)
    assert scores.dtype == np.float64
    np.testing.assert_array_equal(scores, ganomaly_scores(training, test, 1, torch.device("cpu")))
    assert told.calls[-1] == (Stage.GANOMALY, 4, 4)


def test_without_the_extra_it_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "anomalib", None)
    with pytest.raises(SettingsError, match="needs anomalib: pip install -r requirements-ganomaly"):
        require_anomalib()
