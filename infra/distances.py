"""How far values lie from calibration: PSI and Kolmogorov-Smirnov, from the values or from the histogram of their p-values.

A p-value is the rank of a score among the calibration scores: p = (1 + how many of them are at least as large) / (n + 1). So
a histogram of p-values has all that these distances ask for, and no calibration score is needed: while nothing has changed,
each of the n + 1 values that p can have is as probable as the others.

They are for the eye. Frames of one part or one batch resemble each other, and looked at again and again both distances cross
any line; what alarms with a bound is the martingale alone (scorer/detector/drift.py).

Source of PSI and of what is usual of it: Yurdakul, "Statistical properties of the population stability index", thesis, Western
Michigan University 2018.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

Floats = NDArray[np.float64]

PSI_BINS = 10
PSI_SAME = 0.1
"""Below: the same population, by custom."""
PSI_OTHER = 0.25
"""Above: another one, by custom."""


@dataclass(frozen=True, slots=True)
class KolmogorovSmirnov:
    """Largest distance of two cumulative distributions, in [0, 1], and how probable one so large is by chance."""

    statistic: float
    p_value: float


@dataclass(frozen=True, slots=True)
class BoundedDistance:
    """A distance that a histogram leaves open a little: it lies between the two, ends included."""

    at_least: float
    at_most: float


def psi(expected: Floats, observed: Floats, bins: int = PSI_BINS) -> float:
    """Population stability index of values, over quantile bins of the expected ones.

    Args:
        expected: (n,) float64, calibration values.
        observed: (m,) float64.
        bins: How many; fewer where quantiles are the same.

    Raises:
        ValueError: There are no values, or one is not finite.
    """
    _require_values(expected, observed)
    edges = np.unique(np.quantile(expected, np.arange(1, bins) / bins))
    counts = (
        np.bincount(np.searchsorted(edges, values, "left"), minlength=len(edges) + 1) for values in (expected, observed)
    )
    return psi_of_counts(*counts)


def psi_of_counts(expected: ArrayLike, observed: ArrayLike) -> float:
    """Population stability index of counts in the same bins.

    Half a value is added to each bin, so that an empty one is not infinitely far.

    Args:
        expected: (bins,) how many of the expected values.
        observed: (bins,) how many of the observed ones.

    Raises:
        ValueError: There is nothing in one of them.
    """
    before, now = (np.asarray(counts, dtype=np.float64) for counts in (expected, observed))
    if not (before.sum() > 0 and now.sum() > 0):
        raise ValueError("no values")
    shares = [(counts + 0.5) / (counts + 0.5).sum() for counts in (before, now)]
    return float(((shares[1] - shares[0]) * np.log(shares[1] / shares[0])).sum())


def psi_by_chance(expected: int, observed: int, bins: int = PSI_BINS) -> float:
    """What chance alone makes of it in the mean, where frames are independent and nothing has changed.

    Args:
        expected: How many values were expected, n.
        observed: How many were observed, m.
        bins: How many there are.

    Returns:
        (bins - 1)(1 / n + 1 / m).
    """
    return (bins - 1) * (1 / expected + 1 / observed)


def ks(expected: Floats, observed: Floats) -> KolmogorovSmirnov:
    """Compare two samples by Kolmogorov and Smirnov; looked at again and again its p-value bounds nothing.

    Raises:
        ValueError: There are no values, or one is not finite.
    """
    _require_values(expected, observed)
    result = stats.ks_2samp(expected, observed)
    return KolmogorovSmirnov(float(result.statistic), float(result.pvalue))


def p_value_law(calibration: int, bins: int) -> Floats:
    """How many of the n + 1 values of a p-value lie in each of `bins` equal parts of (0, 1], upper ends included.

    Args:
        calibration: n, how many calibration scores there are.
        bins: How many parts.

    Returns:
        (bins,) float64; their sum is n + 1.
    """
    k = np.arange(1, calibration + 2)
    return np.bincount(-(-k * bins // (calibration + 1)) - 1, minlength=bins).astype(
        np.float64
    )  # k bins / (n + 1), rounded up


def psi_of_p_values(law: Floats, counts: ArrayLike) -> float:
    """Population stability index of scores from their p-values, over PSI_BINS equal parts of (0, 1].

    Those are quantile bins of the calibration scores, so it is `psi` of the scores themselves; only where a bin ends may
    differ, by one calibration score.

    Args:
        law: (bins,) float64 of `p_value_law`, or a mean of several; bins are a multiple of PSI_BINS.
        counts: (bins,) how many p-values were observed.

    Raises:
        ValueError: There are no p-values.
    """
    return psi_of_counts(*(np.asarray(each).reshape(PSI_BINS, -1).sum(axis=1) for each in (law, counts)))


def ks_of_p_values(law: Floats, counts: ArrayLike) -> BoundedDistance:
    """Largest distance between the cumulative distributions of observed p-values and of their law, from a histogram.

    At the ends of the bins it is exact. Within a bin both distributions rise by no more than what lies in it, so it can be
    larger there by the smaller of the two shares at most: no more than 0.02 with 50 bins and many calibration scores.

    Args:
        law: (bins,) float64 of `p_value_law`, or a mean of several.
        counts: (bins,) how many p-values were observed.

    Raises:
        ValueError: There are no p-values.
    """
    observed = np.asarray(counts, dtype=np.float64)
    if not observed.sum() > 0:
        raise ValueError("no values")
    expected, found = law / law.sum(), observed / observed.sum()
    ends = np.abs(np.concatenate([[0.0], np.cumsum(found - expected)]))
    within = np.maximum(ends[:-1], ends[1:]) + np.minimum(expected, found)
    return BoundedDistance(float(ends.max()), float(min(1.0, max(ends.max(), within.max()))))


def _require_values(*samples: Floats) -> None:
    if not all(len(sample) and np.isfinite(sample).all() for sample in samples):
        raise ValueError("no values, or one that is not finite")
