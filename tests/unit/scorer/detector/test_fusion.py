import numpy as np
import pytest

from scorer.detector import Fusion, cap_of


def test_standards_are_the_median_and_the_median_absolute_deviation() -> None:
    scores = np.array([[1.0, 10.0, 0.0], [2.0, 30.0, 0.0], [3.0, 20.0, 0.0], [100.0, 20.0, 0.0]])
    fusion = Fusion.fit(scores)
    assert (fusion.flow.middle, fusion.unlikeness.middle, fusion.defects.middle) == (2.5, 20.0, 0.0)
    assert fusion.flow.spread == pytest.approx(1.4826 * 1.0)
    assert fusion.unlikeness.spread == pytest.approx(1.4826 * 5.0)
    assert fusion.defects.spread == 1e-3  # never zero


def test_parts_count_in_deviations_and_the_flow_by_a_quarter() -> None:
    fusion = Fusion.fit(np.array([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0], [2.0, 2.0, 2.0]]))
    one = 1.4826
    assert fusion(np.array([[1.0 + one, 1.0 + 2 * one, 1.0 - one]])).tolist() == pytest.approx([0.25 + 2.0 - 1.0])


def test_a_score_that_is_not_finite_stays_so() -> None:
    fusion = Fusion.fit(np.array([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0], [2.0, 2.0, 2.0]]))
    scores = np.array([[5.0, 0.0, 0.0], [np.nan, 0.0, 0.0], [np.inf, 0.0, 0.0], [5.0, np.nan, 0.0]])
    assert np.isfinite(fusion(scores)).tolist() == [True, False, False, False]


def test_the_bar_is_where_the_fused_score_meets_the_threshold() -> None:
    fusion = Fusion.fit(np.array([[6.0, 0.0, -1.0], [6.5, 0.5, 0.0], [7.5, 1.0, 2.0]]))
    local = np.array([[0.3, 0.1], [4.0, -2.0], [-1.0, 9.0]])
    bar = fusion.bar(3.0, local)
    assert fusion(np.column_stack([bar, local])).tolist() == pytest.approx([3.0] * 3)
    mute = fusion.model_copy(update={"flow": fusion.flow.model_copy(update={"weight": 0.0})})
    others = mute(np.column_stack([np.zeros(3), local]))
    assert mute.bar(float(np.median(others)) + 0.01, local).tolist() == [
        -np.inf if score > np.median(others) + 0.01 else np.inf for score in others
    ]


def test_the_cap_is_three_deviations_above_the_usual_whatever_one_view_does() -> None:
    logs = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]])
    assert cap_of(logs) == pytest.approx(5.0 + 3 * 1.4826 * 2.0)
    astray = logs.copy()
    astray[2, 2] = 1e6
    assert cap_of(astray) == cap_of(logs)
    assert cap_of(np.ones((2, 2))) > 1.0  # never below what is usual
