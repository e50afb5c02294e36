import math
from dataclasses import replace

import pytest
import torch

from infra.errors import TrainingSetError
from scorer.detector import Extractor, loss_per_view, make_views, prepare
from trainer.images import drawn_pictures
from trainer.presets import Preset
from trainer.progress import Stage
from trainer.training import TrainingRun, epoch_rows, set_features, train_flow, training_bank

CPU = torch.device("cpu")


@pytest.fixture
def bank() -> torch.Tensor:
    return torch.randn(24, 2, 768, generator=torch.Generator().manual_seed(0)) * 0.5 + 1.0


def test_a_flow_learns_the_features_it_is_shown(bank: torch.Tensor, tiny: Preset, extractor: Extractor, told) -> None:  # type: ignore[no-untyped-def]
    flow, final = train_flow(TrainingRun(tiny, extractor, 0, CPU, told), bank)
    values = [float(detail.removeprefix("loss ")) for detail in told.details if detail]
    assert len(values) == tiny.epochs
    assert values[-1] < values[0]
    assert values[-1] == pytest.approx(final, abs=0.06)
    assert not flow.training
    torch.testing.assert_close(flow.mean, bank.flatten(0, 1).mean(dim=0))


def test_the_seed_decides_the_flow(bank: torch.Tensor, tiny: Preset, extractor: Extractor) -> None:
    def weights(seed: int) -> torch.Tensor:
        flow, _ = train_flow(TrainingRun(tiny, extractor, seed, CPU), bank)
        return torch.cat([weight.flatten() for weight in flow.parameters() if weight.requires_grad])

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


def test_a_loss_that_is_no_number_is_an_error(bank: torch.Tensor, tiny: Preset, extractor: Extractor) -> None:
    bank[0, 0, 0] = math.nan
    with pytest.raises(TrainingSetError, match="loss is nan after epoch 1"):
        train_flow(TrainingRun(tiny, extractor, 0, CPU), bank)


def test_noise_keeps_held_out_pictures_near_the_training_ones(tiny: Preset, extractor: Extractor) -> None:
    # Features on a plane of 4 dimensions, as pooled features nearly are.
    plane = torch.randn(4, 768, generator=torch.Generator().manual_seed(1))
    seen, unseen = (torch.randn(40, 2, 4, generator=torch.Generator().manual_seed(seed)) @ plane for seed in (2, 3))

    def gap(noise: float) -> float:
        flow, loss = train_flow(
            TrainingRun(replace(tiny, noise=noise, epochs=30, learning_rate=1e-3), extractor, 0, CPU), seen
        )
        with torch.no_grad():
            return loss_per_view(*flow(unseen.flatten(0, 1))).mean().item() - loss

    assert gap(0.1) < gap(0.0)


def test_an_epoch_looks_at_so_many_views_of_every_picture() -> None:
    rows = epoch_rows(10, 6, 4, torch.Generator().manual_seed(0))
    assert len(rows) == len(rows.unique()) == 40
    assert (rows // 6).bincount().tolist() == [4] * 10
    assert rows.tolist() != sorted(rows.tolist())
    assert epoch_rows(10, 2, 4, torch.Generator().manual_seed(0)).sort().values.tolist() == list(range(20))


def test_the_paper_preset_does_not_standardize(bank: torch.Tensor, tiny: Preset, extractor: Extractor) -> None:
    flow, _ = train_flow(TrainingRun(replace(tiny, standardize=False, epochs=1), extractor, 0, CPU), bank)
    assert not hasattr(flow, "mean")


def test_features_are_in_the_order_of_pictures_and_views(tiny: Preset, extractor: Extractor, part, told) -> None:  # type: ignore[no-untyped-def]
    pixels = [part(index) for index in range(18)]  # more than a chunk
    run = TrainingRun(tiny, extractor, 0, CPU, told)
    plan = tiny.scoring_plan(0)
    features = set_features(run, drawn_pictures(pixels), plan.draw(18), Stage.TEST)
    assert features.shape == (18, 2, 768)
    assert told.calls == [(Stage.TEST, done, 18) for done in (0, 16, 18)]
    with torch.no_grad():
        expected = extractor(make_views(prepare(pixels[17:]), plan))
    torch.testing.assert_close(features[17], expected, rtol=1e-4, atol=1e-5)


def test_the_bank_shows_every_picture_under_its_own_angles(tiny: Preset, extractor: Extractor, part) -> None:  # type: ignore[no-untyped-def]
    bank = training_bank(TrainingRun(tiny, extractor, 0, CPU), drawn_pictures([part(0)] * 3))
    torch.testing.assert_close(bank[0, 0], bank[1, 0])  # the first view of each is the picture itself
    assert not torch.allclose(bank[0, 1], bank[1, 1])
