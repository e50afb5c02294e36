import math

import numpy as np
import pytest
import torch

from scorer.detector import Flow, FlowSpec, loss_per_view
from scorer.detector.flow import soft_clamp

SPECS = [
    FlowSpec(features=10, blocks=3, hidden=12, hidden_layers=3, seed=1),
    FlowSpec(features=7, blocks=2, hidden=8, hidden_layers=1, seed=2, standardize=True),
]


def fitted(spec: FlowSpec) -> Flow:
    """A flow whose coefficients are not near zero."""
    flow = Flow(spec)
    generator = torch.Generator().manual_seed(0)
    for parameter in flow.parameters():
        if parameter.requires_grad:
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.3
    if spec.standardize:
        flow.standardize_by(torch.randn(64, spec.features, generator=generator) * 3 + 5)
    return flow


@pytest.mark.parametrize("spec", SPECS)
def test_inverse_undoes_forward(spec: FlowSpec) -> None:
    flow = fitted(spec).double()
    y = torch.randn(5, spec.features, dtype=torch.float64)
    z, _ = flow(y)
    assert (z - y).abs().max() > 0.1
    torch.testing.assert_close(flow.inverse(z), y)


@pytest.mark.parametrize("spec", SPECS)
def test_log_det_is_autograds(spec: FlowSpec) -> None:
    flow = fitted(spec).double()
    y = torch.randn(1, spec.features, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda x: flow(x)[0], y)[0, :, 0, :]
    expected = torch.linalg.slogdet(jacobian).logabsdet
    torch.testing.assert_close(flow(y)[1][0], expected)


@pytest.mark.parametrize("spec", SPECS)
def test_every_weight_gets_a_gradient(spec: FlowSpec) -> None:
    flow = fitted(spec)
    loss_per_view(*flow(torch.randn(16, spec.features))).mean().backward()
    trained = [parameter for parameter in flow.parameters() if parameter.requires_grad]
    assert trained
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in trained)


def test_default_architecture_is_the_papers() -> None:
    spec = FlowSpec()
    assert (spec.features, spec.blocks, spec.hidden, spec.hidden_layers, spec.clamp) == (768, 8, 2048, 3, 3.0)
    assert not spec.standardize
    names = [type(module).__name__ for module in Flow(FlowSpec(hidden=4)).inn]
    assert names == ["PermuteRandom", "GLOWCouplingBlock"] * 8


def test_one_block_follows_the_papers_equations() -> None:
    flow = fitted(FlowSpec(features=4, blocks=1, hidden=6, hidden_layers=3))
    permutation, block = flow.inn[0].perm, flow.inn[1]
    y = torch.randn(3, 4)
    y1, y2 = y[:, permutation].chunk(2, dim=1)

    def coefficients(network: torch.nn.Module, half: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        s, t = network(half).chunk(2, dim=1)
        return (2 * 3.0 / math.pi) * torch.atan(s), t

    s2, t2 = coefficients(block.subnet2, y2)
    out1 = torch.exp(s2) * y1 + t2
    s1, t1 = coefficients(block.subnet1, out1)
    out2 = torch.exp(s1) * y2 + t1
    z, log_det = flow(y)
    torch.testing.assert_close(z, torch.cat([out1, out2], dim=1))
    torch.testing.assert_close(log_det, s1.sum(1) + s2.sum(1))


def test_soft_clamp_saturates_at_exactly_one() -> None:
    far = soft_clamp(torch.tensor([-1e12, 0.0, 1e12], dtype=torch.float64))
    torch.testing.assert_close(far, torch.tensor([-1.0, 0.0, 1.0], dtype=torch.float64))


def test_loss_is_equation_4() -> None:
    z = torch.tensor([[1.0, 2.0], [0.0, 3.0]])
    assert loss_per_view(z, torch.tensor([0.5, -1.0])).tolist() == [2.0, 5.5]


def test_seed_decides_weights_and_permutations_and_global_generators_are_left_alone() -> None:
    spec = SPECS[0]
    np.random.seed(8)
    torch.manual_seed(8)
    expected = (np.random.rand(), torch.rand(1).item())
    np.random.seed(8)
    torch.manual_seed(8)
    first = Flow(spec).state_dict()
    assert (np.random.rand(), torch.rand(1).item()) == expected
    second, other = Flow(spec).state_dict(), Flow(spec.model_copy(update={"seed": 9})).state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert not torch.equal(first["inn.module_list.0.perm"], other["inn.module_list.0.perm"])
    assert not torch.equal(first["inn.module_list.0.perm"], first["inn.module_list.2.perm"])


def test_standardize_takes_the_training_moments_and_survives_a_constant_feature() -> None:
    flow = Flow(SPECS[1])
    features = torch.randn(200, 7) * 4 + 2
    features[:, 3] = 1.5
    flow.standardize_by(features)
    torch.testing.assert_close(flow.mean, features.mean(0))
    torch.testing.assert_close(flow.std[0], features[:, 0].std(correction=0))
    assert 1.0 < flow.std[3] < 10.0
