import json

import numpy as np
import pytest

from dashboard import drift_charts
from dashboard.views import drift as drift_view
from infra.store.tables import DriftKind
from scorer.detector import CalibrationError
from scorer.drift_series import BOUND, LEAST_REFERENCE, OWN_PARTS, VALUES, DriftSeries

CALIBRATION = [(score,) for score in np.random.default_rng(0).normal(size=100)]


def scores(count: int, mean: float = 0.0, seed: int = 1) -> list[float]:
    return np.random.default_rng(seed).normal(mean, size=count).tolist()


def scored(series: DriftSeries, values: list[float]) -> DriftSeries:
    for value in values:
        series.add(None, (value,))
    return series


def test_a_stable_stream_has_no_alarm_and_a_shifted_one_has() -> None:
    series = scored(DriftSeries(DriftKind.SCORE, "cam", CALIBRATION), scores(500))
    assert not series.alarmed
    assert series.parts == 500
    assert scored(series, scores(200, mean=1.5)).alarmed


def test_one_of_the_three_numbers_of_a_picture_is_enough_for_an_alarm() -> None:
    rng = np.random.default_rng(2)
    for changed in range(3):
        series = DriftSeries(DriftKind.QUALITY, "cam", rng.normal(size=(100, 3)).tolist())
        for _ in range(300):
            series.add(None, rng.normal(size=3))
        assert not series.alarmed
        for _ in range(150):
            series.add(None, rng.normal(size=3) + np.eye(3)[changed] * 2)
        assert series.alarmed


def test_the_bound_is_shared_by_the_three_numbers() -> None:
    series = DriftSeries(DriftKind.QUALITY, "cam", np.random.default_rng(3).normal(size=(100, 3)).tolist())
    assert series.log10_wealth == pytest.approx(-np.log10(3))


def test_a_part_counts_once_by_its_first_frame() -> None:
    series = DriftSeries(DriftKind.SCORE, "cam", CALIBRATION)
    for part, value in (("a", 0.1), ("a", 9.0), ("b", 0.2), ("a", 9.0), (None, 0.3), (None, 0.3)):
        series.add(part, (value,))
    same = scored(DriftSeries(DriftKind.SCORE, "cam", CALIBRATION), [0.1, 0.2, 0.3, 0.3])
    assert series.parts == 4
    assert series.log10_wealth == same.log10_wealth


def test_a_part_that_comes_again_much_later_counts_again_and_the_memory_is_bounded() -> None:
    series = DriftSeries(DriftKind.SCORE, "cam", CALIBRATION)
    for number in range(1000):
        series.add(f"part {number}", (0.0,))
    series.add("part 0", (0.0,))
    assert series.parts == 1001
    assert len(json.dumps(series.to_json())) < 6000


def test_without_calibration_the_streams_own_first_parts_are_compared_with() -> None:
    series = DriftSeries(DriftKind.SCORE, "cam", CALIBRATION[: LEAST_REFERENCE - 1])
    assert series.compares_with_itself
    scored(series, scores(OWN_PARTS, mean=7))
    assert (series.parts, series.log10_wealth) == (0, pytest.approx(0.0))
    scored(series, scores(300, mean=7, seed=4))
    assert series.parts == 300
    assert not series.alarmed
    assert scored(series, scores(100, mean=9)).alarmed
    assert not DriftSeries(DriftKind.SCORE, "cam", CALIBRATION[:LEAST_REFERENCE]).compares_with_itself


def test_defects_are_neither_compared_nor_learned_from() -> None:
    series = scored(DriftSeries(DriftKind.SCORE, "cam", (), limit=3.0), [*scores(OWN_PARTS - 1), 50.0])
    assert series.parts == 0
    scored(series, [0.0, 50.0, 1.0])
    assert series.parts == 2
    against = DriftSeries(DriftKind.SCORE, "cam", CALIBRATION, limit=2.0)
    assert scored(against, [0.0, 50.0]).parts == 2


@pytest.mark.parametrize("reference", [CALIBRATION, []])
@pytest.mark.parametrize("stop", [0, 1, 50, OWN_PARTS - 1, OWN_PARTS, OWN_PARTS + 30])
def test_it_goes_on_from_json_as_if_nothing_had_happened(reference: list[tuple[float]], stop: int) -> None:
    values = scores(300, seed=5)
    whole = scored(DriftSeries(DriftKind.SCORE, "cam", reference, 1.5), values)
    first = scored(DriftSeries(DriftKind.SCORE, "cam", reference, 1.5), values[:stop])
    state = json.loads(json.dumps(first.to_json(), allow_nan=False))
    then = scored(DriftSeries(DriftKind.SCORE, "cam", reference, 1.5, state), values[stop:])
    assert then.to_json() == whole.to_json()
    assert then.log10_wealth == whole.log10_wealth


def test_a_state_of_another_calibration_is_refused() -> None:
    state = scored(DriftSeries(DriftKind.SCORE, "cam", CALIBRATION), [0.0]).to_json()
    with pytest.raises(CalibrationError):
        DriftSeries(DriftKind.SCORE, "cam", CALIBRATION[:50], state=state)


def test_the_dashboard_draws_the_line_and_the_names_of_this_test() -> None:
    """It imports nothing of the scorer, so it has its own copies."""
    assert pytest.approx(BOUND) == 10**-drift_charts.ALARM
    assert VALUES[DriftKind.QUALITY] == drift_charts.QUALITIES
    assert drift_view.OWN_PARTS == OWN_PARTS
