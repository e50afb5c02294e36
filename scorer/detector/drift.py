"""Does a stream of values still look like the calibration values? A test with a bound on false alarms.

The p-values that a verdict carries compare each part with the same n calibration scores. They are no independent draws: where
those n happen to lie low, the p-values of all later parts are low together, and a martingale that takes them for independent
drifts away on a stable line, the sooner the smaller n is. Here each value is ranked among the calibration values *and* all
values before it, which makes p-values that are independent and exactly uniform for as long as the line is stable.

Sources:
    Online p-values, independent and uniform, and martingales on them: Vovk, Gammerman, Shafer, "Algorithmic Learning in a
    Random World", 2nd ed. (2022), chapter 8; Volkhonskiy et al., "Inductive conformal martingales for change-point
    detection", COPA 2017, section 3.
    Ranks by counting gaps: Hill, "Posterior distribution of percentiles", JASA 63 (1968); Blackwell, MacQueen, "Ferguson
    distributions via Pólya urn schemes", Annals of Statistics 1 (1973).
    Bets that may begin at any time: Vovk et al., "Retrain or not retrain: conformal test martingales for change-point
    detection", COPA 2021; Shin, Ramdas, Rinaldo, "E-detectors: a nonparametric framework for sequential change detection",
    NEJSDS 2 (2024), the Shiryaev-Roberts e-detector. That one bounds the average run length; its sum over starting times is
    weighted here, with weights that sum to 1, which makes it a martingale: by Ville's inequality the probability of *ever*
    reaching 1 / a is at most a. trainer/DRIFT.md has the simple jumper of 2021 on the same p-values, to compare.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from scorer.detector.errors import CalibrationError

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

MOST_GAPS = 256
FLAGGED_SHARE = 0.2
"""The share of flagged parts that is no drift; see `DriftTest`."""

_MEANS = (0.35, 0.7, 1.4, 2.5)
_SPREADS = (0.5, 0.7, 1.5, 2.5)
_ENTRY = 100.0  # after so many values two fifths of the stake have been bet
_UNIT = 2.0**-52


def _rank_bets() -> tuple[Floats, Floats]:
    means = [sign * mean for mean in _MEANS for sign in (1.0, -1.0)]
    return (
        np.array([*means, *(0.0 for _ in _SPREADS)]),
        np.array([*(1.0 for _ in means), *_SPREADS]),
    )


_MEAN, _SPREAD = _rank_bets()
BETS = len(_MEAN) + 1
"""How many ways to bet there are: shifts up and down, spreads, and one on too many flagged parts."""


def smoothed_p_values(counts: Integers, gaps: Integers, uniforms: Floats) -> Floats:
    """Share of values above the gap that a value fell into, and a random part of those in it.

    Given the gaps of all values before, a value falls into gap k with probability counts[k] / sum(counts) as long as the
    stream is exchangeable with the calibration values (Pólya's urn), so the result is uniform on (0, 1) whatever came before.

    Args:
        counts: (..., K) int64, one for each gap between neighbouring calibration values, and one more for each value in it.
        gaps: (...) int64, the gap of the new value.
        uniforms: (...) float64 in (0, 1).

    Returns:
        (...) float64 in (0, 1).
    """
    above = np.where(np.arange(counts.shape[-1]) > gaps[..., None], counts, 0).sum(axis=-1)
    own = np.take_along_axis(counts, gaps[..., None], axis=-1)[..., 0]
    p_values: Floats = (above + uniforms * own) / counts.sum(axis=-1)
    return p_values


def log_bets(p_values: Floats, flagged: NDArray[np.bool_]) -> Floats:
    """What one unit that is bet on each kind of drift becomes, as natural logarithms.

    On a stable line the expectation of what it becomes is 1 for bets on ranks (each is a likelihood ratio of normal
    distributions at the normal quantile of a uniform p-value), and at most 1 for the bet on flagged parts while no more than
    FLAGGED_SHARE of them are. A flagged part has no rank: it leaves the bets on ranks as they are.

    Args:
        p_values: (...) float64 in (0, 1); ignored where flagged.
        flagged: (...) bool.

    Returns:
        (..., BETS) float64.
    """
    quantiles = -special.ndtri(p_values)[..., None]  # high values have small p-values
    ratios = 0.5 * quantiles**2 - 0.5 * ((quantiles - _MEAN) / _SPREAD) ** 2 - np.log(_SPREAD)
    ratios = np.where(flagged[..., None], 0.0, ratios)
    crowd = np.where(flagged, math.log(0.5 / FLAGGED_SHARE), math.log(0.5 / (1 - FLAGGED_SHARE)))
    return np.concatenate([ratios, crowd[..., None]], axis=-1)


def kept_back(count: int) -> float:
    """Part of the stake that has not been bet before value number `count` (from 0): it falls as slowly as 1 / log does.

    A bet that began long before a change has lost what it had. So a little is bet anew at every value: the weighted sum over
    starting times is a martingale like each of its parts, and a late change costs log(1 / weight), some 9 at value 1,000.
    """
    return 1.0 / (1.0 + math.log1p(count / _ENTRY))


def advance(log_stakes: Floats, bets: Floats, count: int) -> Floats:
    """Let the stakes win or lose, and add what is bet from the next value on.

    Args:
        log_stakes: (..., BETS) float64, what lies on each bet before the value.
        bets: (..., BETS) float64 of `log_bets`.
        count: How many values came before this one.

    Returns:
        (..., BETS) float64, what lies on each bet before the next value.
    """
    return np.logaddexp(log_stakes + bets, _log_entry(count + 1))


def first_stakes() -> Floats:
    """What lies on each bet before the first value: (BETS,) float64."""
    return np.full(BETS, _log_entry(0))


def log_wealth(log_stakes: Floats, count: int) -> Floats:
    """What an initial 1 has become after `count` values: natural logarithm, (...) float64.

    Args:
        log_stakes: (..., BETS) float64 after them.
        count: How many values there were.
    """
    on_bets = special.logsumexp(log_stakes, axis=-1) - math.log(BETS)
    wealth: Floats = np.logaddexp(math.log(kept_back(count + 1)), on_bets)
    return wealth


def _log_entry(count: int) -> float:
    return math.log(kept_back(count) - kept_back(count + 1))


@dataclass(slots=True)
class DriftState:
    """Everything that a test has to remember: about K + BETS numbers, however long the stream.

    Attributes:
        count: Values so far, flagged ones included.
        counts: (K,) int64 of the gaps.
        log_stakes: (BETS,) float64.
    """

    count: int
    counts: Integers
    log_stakes: Floats

    def to_json(self) -> dict[str, Any]:
        """Return it as what JSON can hold; floats come back bit by bit."""
        return {"count": self.count, "counts": self.counts.tolist(), "log_stakes": self.log_stakes.tolist()}

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> "DriftState":
        """Return what `to_json` gave."""
        counts, stakes = np.array(state["counts"], np.int64), np.array(state["log_stakes"], np.float64)
        return cls(int(state["count"]), counts, stakes)


class DriftTest:
    """Tests one stream of values, one value a part, against calibration values.

    The promise: as long as the values are exchangeable with the calibration values (and at most FLAGGED_SHARE of the parts
    are flagged), the wealth is at least 1 / a at any time, ever, with a probability of at most a, however many values come
    and however few calibration values there were. Values of one batch of material, or of one minute, are not exchangeable
    with those of another: such a line is called drifting, and it is.

    With a `limit`, values above it are flagged parts, which have an alert of their own: calibration values and parts are
    compared as far as they lie at or below it, so that some defective parts are no drift, and a crowd of them is. That is
    exact where the limit is one of the calibration values, as a conformal threshold is.
    """

    def __init__(
        self,
        reference: Sequence[float] | Floats,
        seed: str,
        limit: float | None = None,
        state: DriftState | None = None,
    ) -> None:
        """Begin, or go on where `state` is from.

        Args:
            reference: Calibration values; any order; at least one at or below the limit.
            seed: Name of the stream: the same seed and values make the same wealth.
            limit: Values above it are flagged.
            state: What the test remembers of the values so far, if there were any, with the same reference and seed.

        Raises:
            CalibrationError: A calibration value is not finite, or there is none.
        """
        values = np.asarray(reference, dtype=np.float64)
        if not np.isfinite(values).all():
            raise CalibrationError("a calibration value is not finite")
        if limit is not None:
            values = np.sort(values[values <= limit])
            if len(values) and values[-1] == limit:
                values = values[:-1]  # the limit itself: where it is one of them, the others are the comparison
        if not len(values):
            raise CalibrationError("no calibration values")
        self._seed = seed.encode()
        self._limit = math.inf if limit is None else limit
        self._values = np.sort(values)
        self._ties: dict[int, Floats] = {}
        ends, sizes = gap_ends(len(values))
        self._ends = ends
        self.state = state or DriftState(0, sizes, first_stakes())
        if len(self.state.counts) != len(sizes):
            raise CalibrationError("the state is from another comparison")

    @property
    def log10_wealth(self) -> float:
        """Decimal logarithm of what an initial 1 has become; 2 or more is an alarm at a bound of 1 %."""
        return float(log_wealth(self.state.log_stakes, self.state.count)) / math.log(10)

    def update(self, value: float) -> float | None:
        """Take the next part's value in.

        Args:
            value: Its value.

        Returns:
            The online p-value, small for a high value; None for a flagged part.

        Raises:
            CalibrationError: The value is not finite; nothing has changed.
        """
        if not math.isfinite(value):
            raise CalibrationError(f"a value of {value} has no rank")
        state, flagged = self.state, value > self._limit
        p_value = 0.5 if flagged else self._p_value(value)
        bets = log_bets(np.asarray(p_value), np.asarray(flagged))
        state.log_stakes = advance(state.log_stakes, bets, state.count)
        state.count += 1
        return None if flagged else p_value

    def _p_value(self, value: float) -> float:
        tie_break, share = _uniforms(self._seed, b"value", self.state.count)
        low, high = np.searchsorted(self._values, value, "left"), np.searchsorted(self._values, value, "right")
        place = low if low == high else low + np.searchsorted(self._tie_breaks(int(low), int(high)), tie_break)
        gap = np.asarray(np.searchsorted(self._ends, place), dtype=np.int64)
        p_value = smoothed_p_values(self.state.counts, gap, np.asarray(share))
        self.state.counts[gap] += 1
        return float(p_value)

    def _tie_breaks(self, low: int, high: int) -> Floats:
        """Numbers of chance that put equal calibration values in order, where a part of the same value has its place, too."""
        if low not in self._ties:
            self._ties[low] = np.sort([_uniforms(self._seed, b"reference", index)[0] for index in range(low, high)])
        return self._ties[low]


def gap_ends(count: int) -> tuple[Integers, Integers]:
    """Divide the count + 1 places between sorted calibration values into at most MOST_GAPS gaps.

    Returns:
        (K,) last place of each gap, and (K,) number of places in it.
    """
    gaps = min(count + 1, MOST_GAPS)
    ends = np.arange(1, gaps + 1) * (count + 1) // gaps - 1
    return ends, np.diff(ends, prepend=-1)


def _uniforms(seed: bytes, what: bytes, index: int) -> tuple[float, float]:
    """Two numbers of chance in (0, 1) that anybody can draw again."""
    digest = hashlib.blake2b(b"%s %d" % (what, index), digest_size=16, key=hashlib.blake2b(seed).digest()[:64]).digest()
    first, second = (int.from_bytes(part) >> 12 for part in (digest[:8], digest[8:]))
    return (first + 0.5) * _UNIT, (second + 0.5) * _UNIT
