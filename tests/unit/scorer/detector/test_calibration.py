import math

import numpy as np
import pytest

from scorer.detector import CalibrationError, calibrate, pictures_needed


@pytest.mark.parametrize(
    ("count", "rate"), [(99, 0.01), (152, 0.01), (199, 0.005), (999, 0.001), (10, 0.3), (19, 0.05)]
)
def test_threshold_is_the_conformal_order_statistic(count: int, rate: float) -> None:
    scores = np.random.default_rng(0).permutation(np.arange(1.0, count + 1))
    # The rank by hand, with room for the rounding of (n + 1)(1 - rate).
    rank = math.ceil((count + 1) * (1 - rate) - 1e-9)
    assert calibrate(scores, rate).threshold == rank


@pytest.mark.parametrize("count", [4, 50, 99, 100, 437])
@pytest.mark.parametrize("rate", [0.01, 0.02, 0.1, 0.25])
def test_above_the_threshold_says_the_same_as_p_at_most_the_rate(count: int, rate: float) -> None:
    rng = np.random.default_rng(count)
    calibration = calibrate(np.round(rng.normal(size=count), 1), rate)  # rounded: ties on purpose
    scores = np.concatenate([np.asarray(calibration.scores), np.round(rng.normal(size=500, scale=2), 1)])
    p_values = calibration.p_values(scores)
    assert (calibration.is_defect(scores) == (p_values <= calibration.rate_in_force)).all()
    assert p_values.min() >= calibration.rate_possible
    assert p_values.max() <= 1.0


def test_false_alarms_stay_at_the_rate_on_average() -> None:
    rng = np.random.default_rng(3)
    alarms = [calibrate(rng.normal(size=99), 0.05).is_defect(rng.normal(size=200)).mean() for _ in range(400)]
    assert 0.045 < np.mean(alarms) < 0.055


def test_too_few_scores_are_usable_and_say_what_is_possible() -> None:
    calibration = calibrate([3.0, 1.0, 2.0], 0.01)
    assert not calibration.enough
    assert calibration.threshold == 3.0
    assert calibration.rate_possible == calibration.rate_in_force == 0.25
    assert calibration.pictures_needed == 99
    assert calibration.is_defect(np.array([3.0, 3.1])).tolist() == [False, True]


def test_the_needed_number_is_just_enough() -> None:
    for rate in (0.5, 0.3, 0.1, 0.01, 0.003, 0.001):
        needed = pictures_needed(rate)
        assert calibrate(range(needed), rate).enough
        assert needed == 1 or not calibrate(range(needed - 1), rate).enough


def test_upper_bound_is_exact() -> None:
    # The largest of n: P(true rate > b) = (1 - b)^n.
    bound = calibrate(range(59), 0.01).rate_upper_bound(0.95)
    assert (1 - bound) ** 59 == pytest.approx(0.05)
    assert calibrate(range(999), 0.01).rate_upper_bound() == pytest.approx(0.0156, abs=5e-4)


def test_scores_that_are_not_finite_are_no_defect_and_have_no_p_value() -> None:
    calibration = calibrate(range(10), 0.2)
    scores = np.array([np.nan, np.inf, -np.inf, 100.0])
    assert calibration.is_defect(scores).tolist() == [False, False, False, True]
    assert np.isnan(calibration.p_values(scores)).tolist() == [True, True, True, False]


@pytest.mark.parametrize(
    ("scores", "rate"),
    [([], 0.1), ([1.0, math.nan], 0.1), ([math.inf], 0.1), ([1.0], 0.0), ([1.0], 1.0), ([1.0], -1.0)],
)
def test_what_no_threshold_can_come_from_is_refused(scores: list[float], rate: float) -> None:
    with pytest.raises(CalibrationError):
        calibrate(scores, rate)
