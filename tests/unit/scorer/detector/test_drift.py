import json
import math

import numpy as np
import pytest
from scipy import stats

from scorer.detector import CalibrationError
from scorer.detector.drift import (
    BETS,
    MOST_GAPS,
    DriftState,
    DriftTest,
    Floats,
    advance,
    first_stakes,
    gap_ends,
    log_bets,
    log_wealth,
    smoothed_p_values,
)

BOUND = 0.01


def online_p_values(reference: Floats, streams: Floats, rng: np.random.Generator) -> Floats:
    """Many streams at once, each with a comparison of its own; (S, n) and (S, T) to (S, T)."""
    ends, sizes = gap_ends(reference.shape[1])
    places = [np.searchsorted(np.sort(own), values) for own, values in zip(reference, streams, strict=True)]
    gaps = np.searchsorted(ends, np.stack(places))
    counts, rows = np.repeat(sizes[None], len(streams), axis=0), np.arange(len(streams))
    p_values = np.empty(streams.shape)
    for at in range(streams.shape[1]):
        p_values[:, at] = smoothed_p_values(counts, gaps[:, at], rng.random(len(streams)))
        counts[rows, gaps[:, at]] += 1
    return p_values


def highest_wealth(p_values: Floats) -> Floats:
    stakes, flagged = np.repeat(first_stakes()[None], len(p_values), axis=0), np.zeros(len(p_values), bool)
    highest = np.zeros(len(p_values))
    for at in range(p_values.shape[1]):
        stakes = advance(stakes, log_bets(p_values[:, at], flagged), at)
        highest = np.maximum(highest, log_wealth(stakes, at + 1))
    return highest


def alarm_at(test: DriftTest, values: Floats) -> int | None:
    for at, value in enumerate(values):
        test.update(value)
        if test.log10_wealth >= -math.log10(BOUND):
            return at
    return None


@pytest.mark.parametrize("count", [20, 50, 400])
def test_of_stable_streams_no_more_alarm_than_the_bound_says(count: int) -> None:
    rng = np.random.default_rng(count)
    p_values = online_p_values(rng.gamma(2, size=(200, count)), rng.gamma(2, size=(200, 1500)), rng)
    alarms = int((highest_wealth(p_values) >= math.log(1 / 0.05)).sum())
    # A share of 5 % alone would alarm oftener than this once in a thousand runs of this test.
    assert alarms <= stats.binom.ppf(0.999, 200, 0.05)


def test_p_values_against_the_calibration_alone_would_alarm_far_oftener() -> None:
    rng = np.random.default_rng(1)
    reference, values = np.sort(rng.normal(size=(200, 50))), rng.normal(size=(200, 1500))
    above = np.stack([50 - np.searchsorted(own, new) for own, new in zip(reference, values, strict=True)])
    alarms = int((highest_wealth((above + rng.random(values.shape)) / 51) >= math.log(1 / 0.05)).sum())
    assert alarms > 50


def test_wealth_is_1_in_the_mean_on_a_stable_stream() -> None:
    rng = np.random.default_rng(2)
    stakes, flagged = np.repeat(first_stakes()[None], 20000, axis=0), np.zeros(20000, bool)
    assert np.exp(log_wealth(first_stakes(), 0)) == pytest.approx(1.0)
    for at in range(3):
        stakes = advance(stakes, log_bets(rng.random(20000), flagged), at)
    rank_bets = np.exp(log_bets(rng.random(400_000), np.zeros(400_000, bool)))[:, :-1]
    assert np.exp(log_wealth(stakes, 3)).mean() == pytest.approx(1.0, abs=0.01)
    assert rank_bets[:, np.array([0, 1, 2, 3, 8, 9])].mean(axis=0) == pytest.approx(np.ones(6), abs=0.02)


def test_online_p_values_are_independent_and_uniform() -> None:
    rng = np.random.default_rng(3)
    p_values = online_p_values(rng.normal(size=(2000, 20)), rng.normal(size=(2000, 40)), rng)
    assert stats.kstest(p_values[:, [0, 5, 39]].ravel(), "uniform").pvalue > 0.001
    assert stats.kstest(p_values.mean(axis=1) * 40, stats.irwinhall(40).cdf).pvalue > 0.001
    together = np.corrcoef(p_values.T)[np.triu_indices(40, 1)]
    assert np.abs(together).max() < 5 / math.sqrt(2000)


def test_a_test_and_the_array_functions_agree() -> None:
    rng = np.random.default_rng(4)
    reference, values = rng.normal(size=500), rng.normal(0.3, 1.2, size=60)
    test, (ends, counts), stakes = DriftTest(reference, "camera"), gap_ends(500), first_stakes()
    for at, value in enumerate(values):
        gap = np.searchsorted(ends, np.searchsorted(np.sort(reference), value))
        own = test.update(value)
        assert own is not None
        assert counts[gap + 1 :].sum() / counts.sum() <= own <= counts[gap:].sum() / counts.sum()
        counts[gap] += 1
        stakes = advance(stakes, log_bets(np.asarray(own), np.asarray(False)), at)
    assert test.state.counts.tolist() == counts.tolist()
    assert test.log10_wealth == pytest.approx(float(log_wealth(stakes, 60)) / math.log(10))


@pytest.mark.parametrize(("mean", "spread"), [(0.5, 1), (-0.5, 1), (2, 1), (-2, 1), (0, 2), (0, 0.4)])
def test_a_late_change_is_found(mean: float, spread: float) -> None:
    rng = np.random.default_rng(5)
    test = DriftTest(rng.normal(size=200), "camera")
    assert alarm_at(test, rng.normal(size=400)) is None
    delay = alarm_at(test, rng.normal(mean, spread, size=500))
    assert delay is not None
    assert delay < 300 if abs(mean) < 1 else delay < 40


def test_a_slow_ramp_is_found_although_it_becomes_part_of_the_comparison() -> None:
    rng = np.random.default_rng(6)
    test = DriftTest(rng.normal(size=100), "camera")
    assert alarm_at(test, rng.normal(size=3000) + np.linspace(0, 2, 3000)) is not None


def test_a_state_goes_through_json_and_on_as_if_nothing_had_happened() -> None:
    rng = np.random.default_rng(7)
    reference, values = rng.normal(size=300), rng.normal(size=80)
    through, parts = DriftTest(reference, "camera", limit=float(reference.max())), list(values)
    again = DriftTest(reference, "camera", limit=float(reference.max()))
    for value in parts[:40]:
        through.update(value)
        again.update(value)
    text = json.dumps(again.state.to_json(), allow_nan=False)
    again = DriftTest(
        reference[::-1], "camera", limit=float(reference.max()), state=DriftState.from_json(json.loads(text))
    )
    assert [through.update(value) for value in parts[40:]] == [again.update(value) for value in parts[40:]]
    assert through.log10_wealth == again.log10_wealth
    assert len(text) < 8 * (MOST_GAPS + BETS) + 200


def test_a_state_of_another_comparison_is_refused() -> None:
    with pytest.raises(CalibrationError, match="another comparison"):
        DriftTest([1.0, 2.0], "camera", state=DriftTest([1.0, 2.0, 3.0], "camera").state)


def test_the_seed_decides_and_nothing_else() -> None:
    values = [1.0, 1.0, 2.0, 2.0, 3.0]
    one, same, other = (DriftTest(values, seed) for seed in ("a", "a", "b"))
    p_values = [[test.update(2.0) for _ in range(20)] for test in (one, same, other)]
    assert p_values[0] == p_values[1] != p_values[2]


def test_equal_values_have_uniform_p_values() -> None:
    p_values = []
    for seed in range(300):
        test = DriftTest([1.0] * 10 + [2.0] * 10, str(seed))
        rng = np.random.default_rng(seed)
        p_values += [test.update(float(value)) for value in rng.choice([1.0, 2.0], size=10)]
    assert stats.kstest(np.array(p_values, dtype=float), "uniform").pvalue > 0.001


def test_a_constant_stream_is_stable_until_the_constant_changes() -> None:
    test = DriftTest([5.0] * 30, "camera")
    assert alarm_at(test, np.full(1000, 5.0)) is None
    assert alarm_at(test, np.full(100, 5.001)) is not None


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_refused_and_changes_nothing(value: float) -> None:
    test = DriftTest([1.0, 2.0], "camera")
    before = json.dumps(test.state.to_json())
    with pytest.raises(CalibrationError):
        test.update(value)
    assert json.dumps(test.state.to_json()) == before
    with pytest.raises(CalibrationError):
        DriftTest([1.0, value], "camera")


def test_no_calibration_values_are_refused() -> None:
    for reference, limit in (([], None), ([2.0], 1.0), ([2.0], 2.0)):
        with pytest.raises(CalibrationError, match="no calibration values"):
            DriftTest(reference, "camera", limit=limit)


def test_some_flagged_parts_are_no_drift_and_a_crowd_of_them_is() -> None:
    rng = np.random.default_rng(8)
    reference = rng.normal(size=199)
    limit = float(np.sort(reference)[-2])  # a rate of 1 %
    test = DriftTest(reference, "camera", limit)
    without = DriftTest(reference, "camera")
    good, some = rng.normal(size=500), np.where(rng.random(1500) < 0.15, 20.0, rng.normal(size=1500))
    assert alarm_at(test, good) is alarm_at(without, good) is None
    assert alarm_at(test, some) is None
    assert alarm_at(without, some) is not None
    delay = alarm_at(test, np.full(100, 20.0))
    assert delay is not None
    assert delay < 40


def test_flagged_parts_leave_the_comparison_exact() -> None:
    rng = np.random.default_rng(9)
    p_values: list[float] = []
    for seed in range(400):
        reference = rng.normal(size=30)
        test = DriftTest(reference, str(seed), limit=float(np.sort(reference)[-4]))
        p_values += [p for value in rng.normal(size=20) if (p := test.update(value)) is not None]
    assert len(p_values) < 0.95 * 400 * 20
    assert stats.kstest(p_values, "uniform").pvalue > 0.001


@pytest.mark.parametrize("count", [1, 20, MOST_GAPS - 1, MOST_GAPS, 2000])
def test_gaps_divide_all_places(count: int) -> None:
    ends, sizes = gap_ends(count)
    assert len(sizes) == min(count + 1, MOST_GAPS)
    assert sizes.sum() == count + 1
    assert sizes.max() - sizes.min() <= 1
    assert ends[-1] == count
