import math

import numpy as np
import pytest

from scorer.detector import CalibrationError, calibrate, calibrate_cameras, pictures_needed


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


@pytest.mark.parametrize("rate", [0.5, 0.3, 0.1, 0.05, 0.01])
def test_a_camera_has_a_calibration_of_its_own_from_just_enough_scores_on(rate: float) -> None:
    needed = pictures_needed(rate)
    cameras = ["enough"] * needed + ["one too few"] * (needed - 1) + [None] * (2 * needed)
    order = np.random.default_rng(0).permutation(len(cameras))
    scores = np.random.default_rng(1).normal(size=len(cameras))
    found = calibrate_cameras(scores.tolist(), [cameras[place] for place in order], rate)
    assert list(found) == ["enough"]
    own = scores[[cameras[place] == "enough" for place in order]]
    assert found["enough"] == calibrate(own, rate)
    assert found["enough"].rate_in_force == rate


def test_each_camera_keeps_the_rate_where_one_threshold_of_both_does_not() -> None:
    """Camera b is a sixth of the frames, and scores higher: nearly all false alarms are its own."""
    rng, rate, cameras = np.random.default_rng(8), 0.05, ["a"] * 250 + ["b"] * 50
    by_all, own = {"a": [], "b": []}, {"a": [], "b": []}
    for _ in range(300):
        scores = {"a": rng.normal(size=450), "b": rng.normal(2.0, size=250)}
        calibration = [*scores["a"][:250].tolist(), *scores["b"][:50].tolist()]
        pooled, made = calibrate(calibration, rate), calibrate_cameras(calibration, cameras, rate)
        for camera in ("a", "b"):
            by_all[camera].append(pooled.is_defect(scores[camera][-200:]).mean())
            own[camera].append(made[camera].is_defect(scores[camera][-200:]).mean())
    assert np.mean(by_all["b"]) > 0.2
    assert np.mean(by_all["a"]) < 0.02
    for camera, count in (("a", 250), ("b", 50)):
        error = np.std(own[camera]) / np.sqrt(300)
        assert abs(np.mean(own[camera]) - math.floor((count + 1) * rate) / (count + 1)) < 4 * error


def test_without_cameras_there_is_none_of_its_own() -> None:
    assert calibrate_cameras([1.0, 2.0, 3.0], [None, None, None], 0.5) == {}
