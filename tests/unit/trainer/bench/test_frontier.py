import sys
from enum import Enum
from types import ModuleType, SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from trainer.bench.frontier import SIDE_PX, measure_frontier
from trainer.bench.row import NotMeasuredError
from trainer.bench.setting import Setting


class Model(nn.Module):
    """Stands for a detector of anomalib's: embeddings in training, scores otherwise."""

    num_neighbors = 9

    def __init__(self, *_: object, **options: object) -> None:
        super().__init__()
        assert not options.get("pre_trained")
        self.mean_std = {"std": nn.Parameter(torch.zeros(3))}
        self.fitted = False

    def fit(self) -> None:
        self.fitted = True

    def forward(self, batch: Tensor) -> object:
        assert batch.shape[1:] == (3, SIDE_PX, SIDE_PX)
        return batch.flatten(1)[:, :4] if self.training else SimpleNamespace(pred_score=batch.mean(dim=(1, 2, 3)))


class ModelSize(Enum):
    S = "small"


NAMES = {
    "efficient_ad": "EfficientAdModel",
    "patchcore": "PatchcoreModel",
    "padim": "PadimModel",
    "fastflow": "FastflowModel",
}


@pytest.fixture
def anomalib(monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("anomalib", "anomalib.models", "anomalib.models.image"):
        monkeypatch.setitem(sys.modules, package, ModuleType(package))
    for name, model in NAMES.items():
        networks = ModuleType("torch_model")
        setattr(networks, model, Model)
        networks.EfficientAdModelSize = ModelSize  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, f"anomalib.models.image.{name}", ModuleType(name))
        monkeypatch.setitem(sys.modules, f"anomalib.models.image.{name}.torch_model", networks)


@pytest.mark.usefixtures("anomalib")
def test_all_are_timed_on_the_same_bytes(setting: Setting) -> None:
    before = torch.get_rng_state()
    row = measure_frontier(setting)
    assert torch.equal(torch.get_rng_state(), before)
    assert [each.name.split()[0].rstrip(",") for each in row.rivals] == [
        "EfficientAD-S",
        "PatchCore",
        "PaDiM",
        "FastFlow",
    ]
    assert all("speed only" in each.weights for each in row.rivals)
    assert all(0 < each.p50_ms <= each.p99_ms for each in (*row.ours, *row.rivals))
    assert row.ratio > 0
    assert len(row.details()) == 2 + len(row.ours) + 4


def test_without_the_extra_it_says_what_is_missing(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "anomalib", None)
    with pytest.raises(NotMeasuredError, match="needs the extra"):
        measure_frontier(setting)
