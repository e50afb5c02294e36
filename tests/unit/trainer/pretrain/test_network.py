import pytest
import torch
import torchvision

from scorer.detector import Extractor
from trainer.pretrain.network import PretrainingNetwork


@pytest.fixture
def network() -> PretrainingNetwork:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = PretrainingNetwork(programs=5)
        network.train()
        for _ in range(3):  # so that the running statistics are not those of the beginning
            network(torch.rand(8, 3, 96, 96) ** 2)
        for name, value in network.named_parameters():
            if value.ndim == 1 and name.startswith("convolutions"):
                torch.nn.init.uniform_(value, 0.5, 1.5)
    return network


def test_folded_weights_have_alexnets_names_and_shapes(network: PretrainingNetwork) -> None:
    expected = torchvision.models.alexnet(weights=None).features.state_dict()
    assert {name: value.shape for name, value in network.folded().items()} == {
        name: value.shape for name, value in expected.items()
    }


def test_folding_changes_nothing(network: PretrainingNetwork) -> None:
    network.eval()
    pictures = torch.rand(2, 3, 448, 448, generator=torch.Generator().manual_seed(1))
    extractor = Extractor(network.folded(), "folded")
    with torch.inference_mode():
        pooled, positions = network(pictures)
        torch.testing.assert_close(extractor(pictures)[:, :256], pooled, rtol=1e-4, atol=1e-4)
    assert pooled.std() > 0
    assert positions.shape == (2, 256, 27, 27)


def test_every_parameter_of_the_convolutions_learns(network: PretrainingNetwork) -> None:
    pooled, positions = network(torch.rand(4, 3, 112, 112))
    (pooled.square().sum() + positions.square().sum()).backward()
    for name, value in network.convolutions.named_parameters():
        assert value.grad is not None, name
        assert value.grad.abs().sum() > 0, name
