import numpy as np
import torch

from trainer.baselines import BASELINES, baseline_scores


def test_baselines_score_outliers_higher_and_average_over_views() -> None:
    generator = torch.Generator().manual_seed(0)
    bank = torch.randn(40, 3, 768, generator=generator)
    test = torch.randn(6, 2, 768, generator=generator)
    test[3:] = test[3:] * 3 + 2
    scores = dict(baseline_scores(bank, test, seed=0))
    assert tuple(scores) == BASELINES
    for score in scores.values():
        assert score.shape == (6,)
        assert score[3:].min() > score[:3].max()


def test_the_neighbour_of_a_training_view_is_itself() -> None:
    bank = torch.randn(30, 2, 768, generator=torch.Generator().manual_seed(0))
    name, score = next(baseline_scores(bank, bank[:4], seed=0))
    assert name == "one_nearest_neighbour"
    np.testing.assert_allclose(score, 0, atol=1e-3)


def test_few_training_views_are_enough_for_the_dimensions() -> None:
    bank = torch.randn(5, 2, 768, generator=torch.Generator().manual_seed(0))
    assert all(np.isfinite(score).all() for _, score in baseline_scores(bank, bank, seed=0))
