"""False alarms over random splits of scores into calibration and test, and what theory says of them."""

import math
from collections.abc import Sequence
from functools import lru_cache
from statistics import fmean
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from scipy import stats

from infra.errors import TrainingSetError
from trainer.guarantee.thresholds import OF_PICTURES, PROMISED, Line, Scored, Share, Way, line_of

CONFIDENCE = 0.95


class Trial(NamedTuple):
    """One split, calibrated at one rate.

    Attributes:
        line: The threshold.
        rates: What was measured on the test side; without groups, of pictures only.
        tested: Test pictures, or test groups where the rate is one of groups.
    """

    line: Line
    rates: dict[Share, float]
    tested: int


class Expected(NamedTuple):
    """What theory says of a split with n calibration and m test units that are exchangeable.

    Attributes:
        low: 2.5 % of splits measure less.
        high: 2.5 % of splits measure more.
        exceeding: Share of splits that measure more than the rate in force.
        true_rate: 95 % of thresholds have a true rate of at most so much.
    """

    low: float
    high: float
    exceeding: float
    true_rate: float


class Row(BaseModel):
    """One line of the table: all splits of one way at one rate. Fractions from 0 to 1.

    Attributes:
        way: How pictures are split, and what the threshold is taken from.
        rate: The rate asked for.
        possible: The smallest one that the calibration can promise, on average over splits.
        bound: The rate in force: the larger of both, on average over splits.
        enough: Share of splits whose calibration sufficed for the rate.
        units: Exchangeable things that a threshold is taken from, on average over splits: pictures or groups.
        promised: What the bound is of.
        means: Measured rates, over splits.
        standard_error: Of the mean of what is promised, from the spread of the fits; None for one fit.
        low: 2.5 % of splits measure less of what is promised.
        high: 2.5 % of splits measure more.
        exceeding: Share of splits that measure more than their bound.
        expected_mean: Mean by theory of what is promised, exact if the units are exchangeable; None where theory only has the
            bound.
        expected: Splits and thresholds by theory, if the units are exchangeable; None where theory does not say.
    """

    model_config = ConfigDict(frozen=True)

    way: Way
    rate: float
    possible: float
    bound: float
    enough: float
    units: float
    promised: Share
    means: dict[Share, float]
    standard_error: float | None
    low: float
    high: float
    exceeding: float
    expected_mean: float | None
    expected: Expected | None

    @property
    def measured(self) -> float:
        """The mean of what is promised."""
        return self.means[self.promised]


def measure(
    fits: Sequence[Scored],
    rates: Sequence[float],
    splits: int,
    seed: int = 0,
    mixed: Sequence[tuple[Scored, Scored]] = (),
) -> tuple[Row, ...]:
    """Split the scores of each fit again and again into halves, calibrate on one and count alarms on the other.

    Args:
        fits: Scores by one detector each; the splits are shared out among them.
        rates: False-alarm rates.
        splits: How many splits in all.
        seed: Seed of the splits.
        mixed: Calibration and test side of each fit to pictures of groups that it was calibrated on too; a split each.

    Raises:
        TrainingSetError: Fewer splits than fits, or a rate out of (0, 1).
    """
    if splits < len(fits):
        raise TrainingSetError(f"{splits} splits are fewer than {len(fits)} fits")
    ways = [Way.PICTURES] if fits[0].groups is None else [way for way in Way if way is not Way.MIXED]
    trials: dict[tuple[float, Way], list[list[Trial]]] = {}
    for number, (scored, numbers) in enumerate(zip(fits, np.array_split(np.arange(splits), len(fits)), strict=True)):
        rng = np.random.default_rng([seed, number, 9])
        for way in ways:
            dealt = [halves(scored, way, rng) for _ in numbers]
            for rate in rates:
                found = [trial(calibration, test, way, rate, rng) for calibration, test in dealt]
                trials.setdefault((rate, way), []).append(found)
    rng = np.random.default_rng([seed, 11])
    for rate in rates if mixed else ():
        trials[rate, Way.MIXED] = [[trial(*sides, Way.MIXED, rate, rng)] for sides in mixed]
    return tuple(_row(way, rate, trials[rate, way]) for rate in rates for way in Way if (rate, way) in trials)


def trial(calibration: Scored, test: Scored, way: Way, rate: float, rng: np.random.Generator) -> Trial:
    """Take a threshold from one side of a split and count on the other."""
    line = line_of(calibration, way, rate, rng)
    alarms = test.scores > line.threshold
    rates = {Share.PICTURES: float(alarms.mean())}
    tested = len(alarms)
    if test.groups is not None:
        by_group = _shares(alarms, test.groups)
        rates |= {Share.ALIKE: float(by_group.mean()), Share.GROUPS: float((by_group > 0).mean())}
        tested = len(by_group) if PROMISED[way] is Share.GROUPS else tested
    return Trial(line, rates, tested)


def expected(line: Line, rate: float, tested: int) -> Expected:
    """What theory says of a threshold below which all but `above` of n + 1 exchangeable units lie.

    The number of alarms among m more of them is beta-binomial; its limit, the true rate, is Beta(above, n + 1 - above)
    distributed (Vovk 2012, "Conditional validity of inductive conformal predictors").
    """
    return _expected(line.units, line.above, tested, max(rate, line.possible))


def halves(scored: Scored, way: Way, rng: np.random.Generator) -> tuple[Scored, Scored]:
    """Deal pictures, or whole groups, into two hands of equal number."""
    if way is Way.PICTURES:
        first, second = np.array_split(rng.permutation(len(scored.scores)), 2)
        return scored.subset(first), scored.subset(second)
    groups = scored.known_groups()
    names = rng.permutation(np.unique(groups))
    of_first = np.isin(groups, names[: len(names) // 2])
    return scored.subset(np.flatnonzero(of_first)), scored.subset(np.flatnonzero(~of_first))


def standard_error(of_fits: Sequence[float]) -> float | None:
    """Standard error of the mean of the fits, from their spread; None for one fit."""
    return float(np.std(of_fits, ddof=1) / math.sqrt(len(of_fits))) if len(of_fits) > 1 else None


@lru_cache(maxsize=4096)
def _expected(units: int, above: int, tested: int, bound: float) -> Expected:
    beta = (above, units + 1 - above)
    alarms = stats.betabinom(tested, *beta)
    tail = (1 - CONFIDENCE) / 2
    return Expected(
        low=float(alarms.ppf(tail)) / tested,
        high=float(alarms.ppf(1 - tail)) / tested,
        exceeding=float(alarms.sf(math.floor(bound * tested + 1e-9))),
        true_rate=float(stats.beta.ppf(CONFIDENCE, *beta)),
    )


def _row(way: Way, rate: float, fits: Sequence[Sequence[Trial]]) -> Row:
    promised = PROMISED[way]
    trials = [each for fit in fits for each in fit]
    measured = np.array([each.rates[promised] for each in trials])
    bounds = np.array([max(rate, each.line.possible) for each in trials])
    of_fits = [fmean([each.rates[promised] for each in fit]) for fit in fits]
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(measured, [tail, 100 - tail])
    return Row(
        way=way,
        rate=rate,
        possible=fmean([each.line.possible for each in trials]),
        bound=fmean(bounds),
        enough=fmean([each.line.possible <= rate for each in trials]),
        units=fmean([each.line.units for each in trials]),
        promised=promised,
        means={share: fmean([each.rates[share] for each in trials]) for share in trials[0].rates},
        standard_error=standard_error(of_fits),
        low=float(low),
        high=float(high),
        exceeding=float((measured > bounds + 1e-9).mean()),
        expected_mean=_mean_of_theory(trials),
        expected=_mean_expected(way, rate, trials),
    )


def _mean_of_theory(trials: Sequence[Trial]) -> float | None:
    if not all(each.line.above for each in trials):
        return None
    return fmean([each.line.above / (each.line.units + 1) for each in trials])


def _mean_expected(way: Way, rate: float, trials: Sequence[Trial]) -> Expected | None:
    """Theory, averaged over splits, where what it is taken from and what is counted are the same kind of thing."""
    if way not in {*OF_PICTURES, Way.HIGHEST}:
        return None
    found = [expected(each.line, rate, each.tested) for each in trials]
    return Expected(*(float(column) for column in np.mean(found, axis=0)))


def _shares(alarms: NDArray[np.bool_], groups: NDArray[np.int64]) -> NDArray[np.float64]:
    """Share of alarms in each group."""
    _, numbers, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    return np.bincount(numbers, weights=alarms) / sizes
