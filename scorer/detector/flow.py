"""The normalizing flow: Real-NVP coupling blocks that turn features into a standard normal."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

import numpy as np
import torch
from FrEIA.framework import SequenceINN
from FrEIA.modules import GLOWCouplingBlock, PermuteRandom
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from scorer.detector.extractor import FEATURES


class FlowSpec(BaseModel):
    """Architecture of a flow; the defaults are the paper's (sections 3.1 and 4.2).

    Attributes:
        features: Length of a feature vector.
        blocks: Coupling blocks, a fixed random permutation before each.
        hidden: Units of each hidden layer of an inner network.
        hidden_layers: Hidden layers of an inner network.
        clamp: The soft clamp's alpha: s -> (2 alpha / pi) arctan(s).
        seed: Seed of the permutations and of the initial weights.
        standardize: Whether features are first brought to mean 0 and deviation 1 by the training features' moments.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    features: int = Field(FEATURES, ge=2, le=65536)
    blocks: int = Field(8, ge=1, le=64)
    hidden: int = Field(2048, ge=1, le=8192)
    hidden_layers: int = Field(3, ge=1, le=8)
    clamp: float = Field(3.0, gt=0, le=10)
    seed: int = Field(0, ge=0)
    standardize: bool = False


class Flow(nn.Module):
    """Maps features y to z and gives log |det dz/dy|.

    Attributes:
        spec: The architecture.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, spec: FlowSpec, initialise: bool = True) -> None:
        """Build the flow.

        Args:
            spec: The architecture.
            initialise: Draw initial weights; without, a state is to be loaded with `assign=True`.
        """
        super().__init__()
        self.spec = spec
        with _private_randomness(spec.seed):
            self.inn = _coupling_blocks(spec, initialise)
        if spec.standardize:
            self.register_buffer("mean", torch.zeros(spec.features))
            self.register_buffer("std", torch.ones(spec.features))

    def standardize_by(self, features: Tensor) -> None:
        """Take mean and deviation of the training features, (R, features) float32; they stay fixed from here on."""
        self.mean.copy_(features.mean(dim=0))
        deviation = features.std(dim=0, correction=0)
        # A feature that hardly varies in training would blow up any noise in it; it is scaled as a typical one is.
        floor = 1e-3 * deviation.median().clamp_min(1e-12)
        self.std.copy_(torch.where(deviation > floor, deviation, deviation.median().clamp_min(1e-12)))

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Map features to the latent space.

        Args:
            features: (N, features) float32.

        Returns:
            z (N, features) float32 and log |det dz/dy| (N,) float32.
        """
        if not self.spec.standardize:
            z, log_det = self.inn(features)
            return z, log_det
        z, log_det = self.inn((features - self.mean) / self.std)
        return z, log_det - self.std.log().sum()

    def inverse(self, z: Tensor) -> Tensor:
        """Map z (N, features) float32 back to features."""
        features: Tensor = self.inn(z, rev=True)[0]
        return features * self.std + self.mean if self.spec.standardize else features


def loss_per_view(z: Tensor, log_det: Tensor) -> Tensor:
    """Negative log-likelihood up to a constant: L(y) = |z|^2 / 2 - log |det dz/dy|.

    Source: section 3.1, equation 4.

    Args:
        z: (N, features) float32.
        log_det: (N,) float32.

    Returns:
        (N,) float32.
    """
    return 0.5 * z.square().sum(dim=1) - log_det


def soft_clamp(s: Tensor) -> Tensor:
    """The clamp for alpha = 1: (2 / pi) arctan(s), in (-1, 1); the coupling block multiplies by alpha."""
    return (2.0 / math.pi) * torch.atan(s)


def _coupling_blocks(spec: FlowSpec, initialise: bool) -> nn.Module:
    def inner_network(size_in: int, size_out: int) -> nn.Module:
        sizes = [size_in, *[spec.hidden] * spec.hidden_layers]
        layers: list[nn.Module] = []
        for before, after in pairwise(sizes):
            layers += [_linear(before, after, initialise), nn.ReLU()]
        return nn.Sequential(*layers, _linear(sizes[-1], size_out, initialise))

    inn = SequenceINN(spec.features)
    for block in range(spec.blocks):
        inn.append(PermuteRandom, seed=spec.seed + block)
        # One inner network a half gives s and t together: the reference implementation's coupling layer.
        inn.append(GLOWCouplingBlock, subnet_constructor=inner_network, clamp=spec.clamp, clamp_activation=soft_clamp)
    return inn  # type: ignore[no-any-return]


def _linear(size_in: int, size_out: int, initialise: bool) -> nn.Linear:
    if initialise:
        return nn.Linear(size_in, size_out)
    with torch.device("meta"):  # no memory and no time for values that a loaded state replaces
        return nn.Linear(size_in, size_out)


@contextmanager
def _private_randomness(seed: int) -> Iterator[None]:
    """Seed torch and give its and numpy's global generators back as they were: PermuteRandom reseeds numpy's."""
    numpy_state = np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            yield
        finally:
            np.random.set_state(numpy_state)
