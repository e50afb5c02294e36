import numpy as np
import pytest
from numpy.typing import NDArray

from scorer.detector import EarlyExit, ViewPlan

VIEWS = 64


def likelihoods(pictures: int, seed: int, spread: float = 3.0) -> NDArray[np.float64]:
    """Pictures with a level of their own, views that are usually high or low, and what is left to chance."""
    rng = np.random.default_rng(seed)
    of_view = 40.0 * np.cos(np.linspace(0, 8 * np.pi, VIEWS))
    return rng.normal(700, 20, (pictures, 1)) + of_view + rng.normal(0, spread, (pictures, VIEWS))


@pytest.fixture(scope="module")
def rule() -> EarlyExit:
    made = EarlyExit.calibrate(likelihoods(60, seed=0))
    assert made is not None
    return made


def test_what_is_usual_of_a_view_is_taken_out(rule: EarlyExit) -> None:
    new = likelihoods(200, seed=1)
    estimate = rule.estimate(new[:, :4])
    plain = np.abs(new[:, :4].mean(axis=1) - new.mean(axis=1))
    assert np.median(np.abs(estimate.mean - new.mean(axis=1))) < 0.1 * np.median(plain)


def test_the_interval_holds_for_new_pictures_at_every_step(rule: EarlyExit) -> None:
    new = likelihoods(400, seed=2)
    for step in rule.steps:
        estimate = rule.estimate(new[:, :step])
        outside = np.abs(estimate.mean - new.mean(axis=1)) > estimate.reach
        assert outside.mean() <= 0.02, step
    assert rule.steps == (1, 2, 4, 8, 16, 32)


def test_a_picture_far_from_the_bar_is_decided_and_one_beside_it_is_not(rule: EarlyExit) -> None:
    new = likelihoods(100, seed=3)
    estimate = rule.estimate(new[:, :4])
    final = new.mean(axis=1)
    assert rule.decided(estimate, final + 50).all()
    assert rule.decided(estimate, final - 50).all()
    assert not rule.decided(estimate, final).any()
    assert rule.decided(estimate, np.full(100, -np.inf)).all()


def test_a_picture_without_a_score_needs_no_more_views(rule: EarlyExit) -> None:
    broken = likelihoods(2, seed=4)
    broken[0, 1] = np.nan
    assert rule.decided(rule.estimate(broken[:, :2]), broken[1].mean(keepdims=True).repeat(2)).tolist()[0]


@pytest.mark.parametrize(("pictures", "views"), [(15, 64), (60, 1), (0, 64)])
def test_too_little_to_know_it_by_leaves_all_views(pictures: int, views: int) -> None:
    assert EarlyExit.calibrate(likelihoods(pictures, seed=5)[:, :views]) is None


@pytest.mark.parametrize("count", [1, 2, 3, 8, 64, 100])
def test_every_beginning_of_the_order_covers_the_circle(count: int) -> None:
    plan = ViewPlan(count=count, seed=3)
    order = plan.order()
    assert sorted(order.tolist()) == list(range(count))
    assert order[0] == 0
    ranks = np.argsort(np.argsort(plan.draw(1).angle))[order]
    if count in (8, VIEWS):
        for beginning in (2, 4, 8):
            assert sorted(ranks[:beginning].tolist()) == list(range(0, count, count // beginning))
    if count == VIEWS:
        angles = np.sort(plan.draw(1).angle[order[:8]])
        gaps = np.diff([*angles, angles[0] + 2 * np.pi])
        assert gaps.max() < 2 * 2 * np.pi / 8  # random angles: 8 of them would leave gaps twice as wide
