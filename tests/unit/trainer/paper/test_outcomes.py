import numpy as np
import pytest
from sklearn.metrics import roc_curve

from infra.errors import TrainingSetError
from trainer.paper.outcomes import Kind, Outcome, Spread, figures, gain, mean_roc

CLASSES = np.array(["good"] * 4 + ["crack"] * 4)


def outcome(scores: list[float], seed: int = 0, method: str = "flow") -> Outcome:
    return Outcome(method, Kind.MEASURED, "given", 0, seed, 20, np.array(scores), CLASSES)


def test_figures_are_means_over_trials() -> None:
    found = figures([outcome([1, 2, 3, 4, 5, 6, 7, 8]), outcome([1, 2, 3, 9, 5, 6, 7, 10], seed=1)])
    assert found.auroc.mean == (1 + 13 / 16) / 2
    assert found.auroc.deviation == pytest.approx(3 / 16 / np.sqrt(2))
    assert found.auroc.count == 2
    assert found.recall_at_none.mean == (1 + 1 / 4) / 2
    assert Spread.of([0.3]).deviation == 0.0


def test_a_score_that_is_not_a_number_is_refused() -> None:
    with pytest.raises(TrainingSetError, match="1 of 8 scores are not finite"):
        figures([outcome([1, 2, 3, 4, 5, 6, 7, np.nan])])
    with pytest.raises(ValueError, match="finite"):
        Spread.of([0.5, float("nan")])


def test_gains_are_paired_by_seed() -> None:
    full = [outcome([1, 2, 3, 4, 5, 6, 7, 8], seed) for seed in (0, 1, 2)]
    less = [outcome([1, 2, 3, 9, 5, 6, 7, 8], 1, "less")]
    assert gain(less, full) == Spread(mean=-0.25, deviation=0.0, count=1)


def test_the_mean_roc_of_one_trial_is_its_roc() -> None:
    rng = np.random.default_rng(0)
    classes = np.array(["good"] * 50 + ["crack"] * 30)
    scores = np.concatenate([rng.normal(0, 1, 50), rng.normal(1, 1, 30)])
    one = Outcome("flow", Kind.MEASURED, "given", 0, 0, 20, scores, classes)
    curve = mean_roc([one])
    rates, recalls, _ = roc_curve(classes != "good", scores, drop_intermediate=False)
    for rate, recall in curve:
        assert recall == recalls[rates <= rate + 1e-9].max()
    assert curve[-1].tolist() == [1.0, 1.0]
