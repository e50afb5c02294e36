"""PSI and Kolmogorov-Smirnov, against scipy and against the raw scores."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from infra.distances import (
    PSI_BINS,
    ks,
    ks_of_p_values,
    p_value_law,
    psi,
    psi_by_chance,
    psi_of_counts,
    psi_of_p_values,
)

BINS = 50
Floats = NDArray[np.float64]


def p_values(calibration: Floats, scores: Floats) -> Floats:
    """As a verdict carries them."""
    at_least = len(calibration) - np.searchsorted(np.sort(calibration), scores, "left")
    return np.asarray((1.0 + at_least) / (len(calibration) + 1.0))


def histogram(of: Floats) -> NDArray[np.int64]:
    """In equal parts of (0, 1], upper ends included, as the rollups count them."""
    return np.bincount(np.ceil(of * BINS - 1e-9).astype(int) - 1, minlength=BINS)


def test_psi_is_small_for_the_same_and_large_for_another_population() -> None:
    rng = np.random.default_rng(10)
    expected = rng.normal(size=1000)
    assert psi(expected, rng.normal(size=1000)) < 0.05
    # Normal distributions at a distance d have a symmetrised Kullback-Leibler divergence of d², which bins make a little less.
    even = stats.norm.ppf((np.arange(4000) + 0.5) / 4000)
    assert 0.22 < psi(even, even + 0.5) < 0.25
    assert psi(np.ones(50), np.ones(50)) == 0.0
    assert psi(np.ones(50), np.full(50, 2.0)) > 0.25


def test_psi_of_counts_is_the_symmetrised_divergence_of_the_shares() -> None:
    before, now = np.array([30.0, 20.0, 50.0]), np.array([100.0, 500.0, 400.0])
    shares = [(counts + 0.5) / (counts.sum() + 1.5) for counts in (before, now)]
    both_ways = stats.entropy(shares[0], shares[1]) + stats.entropy(shares[1], shares[0])
    assert psi_of_counts(before, now) == pytest.approx(both_ways)
    assert psi_of_counts(before, now) == pytest.approx(psi_of_counts(now, before))


def test_chance_alone_makes_what_is_said() -> None:
    rng = np.random.default_rng(12)
    law = p_value_law(10_000, BINS)
    found = [psi_of_p_values(law, rng.multinomial(200, law / law.sum())) for _ in range(300)]
    assert np.mean(found) == pytest.approx(psi_by_chance(10_000, 200), rel=0.1)


def test_ks_is_that_of_scipy() -> None:
    rng = np.random.default_rng(11)
    expected, observed = rng.normal(size=100), rng.normal(1, 1, size=100)
    assert ks(expected, observed).statistic == stats.ks_2samp(expected, observed).statistic
    assert ks(expected, observed).p_value < 0.001
    assert ks(expected, expected).statistic == 0.0


@pytest.mark.parametrize("distance", [psi, ks])
def test_distances_refuse_what_they_cannot_compare(distance: object) -> None:
    for expected, observed in (([], [1.0]), ([1.0], []), ([1.0], [math.nan])):
        with pytest.raises(ValueError, match="no values"):
            distance(np.array(expected), np.array(observed))  # type: ignore[operator]


@pytest.mark.parametrize("n", [1, 10, 49, 50, 73, 200, 1999])
def test_the_law_of_p_values_is_where_their_n_and_1_values_lie(n: int) -> None:
    values = np.arange(1, n + 2) / (n + 1)
    assert p_value_law(n, BINS).tolist() == histogram(values).tolist()
    assert p_value_law(n, BINS).sum() == n + 1


@pytest.mark.parametrize("n", [60, 200, 1000])
@pytest.mark.parametrize("shift", [0.0, 0.3, -1.0, 3.0])
def test_the_histogram_tells_what_the_raw_scores_tell(n: int, shift: float) -> None:
    rng = np.random.default_rng(n)
    calibration, scores = rng.gamma(3.0, size=n), rng.gamma(3.0, size=800) + shift
    law, counts = p_value_law(n, BINS), histogram(p_values(calibration, scores))
    of_scores = psi(calibration, scores)
    assert psi_of_p_values(law, counts) == pytest.approx(of_scores, rel=0.15, abs=10 / n)
    distance = ks_of_p_values(law, counts)
    a_step = 2 / n  # the law has n + 1 values, the sample n
    assert distance.at_least - a_step <= stats.ks_2samp(calibration, scores).statistic <= distance.at_most + a_step


@pytest.mark.parametrize("seed", range(20))
def test_ks_of_many_calibration_scores_is_that_of_a_uniform_law_within_its_bounds(seed: int) -> None:
    rng = np.random.default_rng(seed)
    observed = rng.beta(*rng.uniform(0.6, 1.6, size=2), size=rng.integers(5, 3000))
    exact = stats.ks_1samp(observed, stats.uniform.cdf).statistic
    distance = ks_of_p_values(np.ones(BINS), histogram(observed))
    assert distance.at_least <= exact + 1e-12
    assert exact <= distance.at_most + 1e-12
    assert distance.at_most - distance.at_least <= 1 / BINS + 1e-12


def test_ks_bounds_are_reached() -> None:
    """All p-values in one bin: at its lower end, or at its upper end."""
    counts = np.zeros(BINS)
    counts[-1] = 10
    distance = ks_of_p_values(np.ones(BINS), counts)
    assert (distance.at_least, distance.at_most) == (pytest.approx(0.98), pytest.approx(1.0))
    assert stats.ks_1samp(np.full(10, 1.0), stats.uniform.cdf).statistic == pytest.approx(distance.at_most)
    assert stats.ks_1samp(np.full(10, 0.98), stats.uniform.cdf).statistic == pytest.approx(distance.at_least)


def test_a_histogram_without_p_values_is_refused() -> None:
    for distance in (psi_of_p_values, ks_of_p_values):
        with pytest.raises(ValueError, match="no values"):
            distance(p_value_law(100, BINS), np.zeros(BINS))
    assert BINS % PSI_BINS == 0
