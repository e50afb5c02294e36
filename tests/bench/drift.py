"""How often the drift test alarms on stable streams, and how soon it finds a change, beside river's ADWIN and Page-Hinkley.

usage: python -m tests.bench.drift [--quick]; it needs the `bench` extra for river. The table of trainer/DRIFT.md.

Each stream is n calibration values and then parts, from one distribution with mean 0 and standard deviation 1 as long as it is
stable. river's detectors have no calibration: they get the values in standard deviations of the calibration values from its
mean, and see those first. "at our rate" is the most sensitive setting that alarmed on no more of 1,800 other stable streams,
300 of each kind, than the drift test did.
"""

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version

import numpy as np
from numpy.typing import NDArray
from river.drift import ADWIN, PageHinkley
from scipy import special

from scorer.detector.drift import (
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
RATE = 0.01  # of the conformal threshold, where parts above it are left out
STABLE_PARTS = 5000
CHANGE_AT = 1000
PARTS_AFTER = 5000
RAMP_PARTS = 2000
SIZES = (50, 200, 1000)
NEVER = 10**9
ADWIN_DELTAS = (5e-3, 2e-3, 1.5e-3, 1e-3, 7e-4, 5e-4, 3e-4, 1e-4, 1e-5, 1e-6)
PAGE_HINKLEY_THRESHOLDS = (100.0, 150.0, 175.0, 200.0, 225.0, 250.0, 275.0, 300.0, 350.0, 400.0, 500.0)

Times = NDArray[np.int64]
"""(S,) the part at which each stream first alarmed, from 0; NEVER where it did not."""
Draw = Callable[[np.random.Generator, tuple[int, int]], Floats]


@dataclass(frozen=True)
class Streams:
    """Streams of one kind: (S, n) calibration values and (S, T) parts."""

    reference: Floats
    parts: Floats


def gaussian(rng: np.random.Generator, shape: tuple[int, int]) -> Floats:
    return rng.normal(size=shape)


def skewed(rng: np.random.Generator, shape: tuple[int, int]) -> Floats:
    """Log-normal, as scores of a flow are: most close together, a long tail up; mean 0 and standard deviation 1."""
    width = 0.6
    mean, sd = np.exp(width**2 / 2), np.sqrt((np.exp(width**2) - 1) * np.exp(width**2))
    return (rng.lognormal(0, width, size=shape) - mean) / sd


DISTRIBUTIONS: dict[str, Draw] = {"gaussian": gaussian, "skewed": skewed}


def changes(parts: Floats) -> dict[str, Floats]:
    """Stable parts, and what becomes of them with each kind of change."""
    at = np.arange(CHANGE_AT + PARTS_AFTER)
    after = at >= CHANGE_AT
    changed = {f"{size:+g} sd": parts + np.where(after, size, 0.0) for size in (0.5, 1.0, 2.0, -1.0)}
    changed["ramp to +2 sd"] = parts + 2.0 * np.clip((at - CHANGE_AT) / RAMP_PARTS, 0, 1)
    changed["spread x 1.5"] = parts * np.where(after, 1.5, 1.0)
    return changed


def first(alarms: NDArray[np.bool_]) -> Times:
    return np.where(alarms.any(axis=1), alarms.argmax(axis=1), NEVER)


def gaps_of(streams: Streams) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    ends, sizes = gap_ends(streams.reference.shape[1])
    both = zip(streams.reference, streams.parts, strict=True)
    return np.searchsorted(ends, [np.searchsorted(np.sort(own), parts) for own, parts in both]), sizes


def online(streams: Streams, rng: np.random.Generator) -> Floats:
    """The p-values of `DriftTest`, by the same functions."""
    gaps, sizes = gaps_of(streams)
    counts, rows = np.repeat(sizes[None], len(gaps), axis=0), np.arange(len(gaps))
    p_values = np.empty(gaps.shape)
    for at in range(gaps.shape[1]):
        p_values[:, at] = smoothed_p_values(counts, gaps[:, at], rng.random(len(gaps)))
        counts[rows, gaps[:, at]] += 1
    return p_values


def against_calibration_alone(streams: Streams, rng: np.random.Generator) -> Floats:
    """Smoothed p-values that a plain conformal martingale would take for independent."""
    gaps, sizes = gaps_of(streams)
    below = np.cumsum(sizes)
    return (below[-1] - below[gaps] + rng.random(gaps.shape) * sizes[gaps]) / below[-1]


def alarms_of(p_values: Floats, flagged: NDArray[np.bool_] | None = None) -> Times:
    """When the wealth first reaches 1 / BOUND."""
    flagged = np.zeros(p_values.shape, bool) if flagged is None else flagged
    stakes = np.repeat(first_stakes()[None], len(p_values), axis=0)
    alarms = np.empty(p_values.shape, bool)
    for at in range(p_values.shape[1]):
        stakes = advance(stakes, log_bets(p_values[:, at], flagged[:, at]), at)
        alarms[:, at] = log_wealth(stakes, at + 1) >= -np.log(BOUND)
    return first(alarms)


def ours(streams: Streams, rng: np.random.Generator) -> Times:
    return alarms_of(online(streams, rng))


def ours_below_threshold(streams: Streams, rng: np.random.Generator) -> Times:
    """As a line runs it: parts above the conformal threshold, flagged ones, are not ranked."""
    size = streams.reference.shape[1]
    ordered = np.sort(streams.reference, axis=1)
    kept = size - max(int((size + 1) * RATE), 1)
    limit = ordered[:, kept : kept + 1]
    flagged = streams.parts > limit
    gap_end, sizes = gap_ends(kept)
    places = [np.searchsorted(own, parts) for own, parts in zip(ordered[:, :kept], streams.parts, strict=True)]
    gaps = np.searchsorted(gap_end, places)
    counts, rows = np.repeat(sizes[None], len(gaps), axis=0), np.arange(len(gaps))
    p_values = np.empty(gaps.shape)
    for at in range(gaps.shape[1]):
        p_values[:, at] = smoothed_p_values(counts, gaps[:, at], rng.random(len(gaps)))
        counts[rows, gaps[:, at]] += ~flagged[:, at]
    return alarms_of(p_values, flagged)


def plain(streams: Streams, rng: np.random.Generator) -> Times:
    return alarms_of(against_calibration_alone(streams, rng))


def simple_jumper(streams: Streams, rng: np.random.Generator) -> Times:
    """Vovk et al., "Retrain or not retrain", 2021, algorithm 1 with J = 0.01, on the online p-values."""
    p_values, jump, slopes = online(streams, rng), 0.01, np.array([-1.0, 0.0, 1.0])
    capital = np.full((len(p_values), 3), np.log(1 / 3))
    alarms = np.empty(p_values.shape, bool)
    for at in range(p_values.shape[1]):
        total = special.logsumexp(capital, axis=1, keepdims=True)
        capital = np.logaddexp(np.log(1 - jump) + capital, np.log(jump / 3) + total)
        capital += np.log1p(slopes * (p_values[:, at, None] - 0.5))
        alarms[:, at] = special.logsumexp(capital, axis=1) >= -np.log(BOUND)
    return first(alarms)


def of_river(make: Callable[[], ADWIN | PageHinkley], streams: Streams) -> Times:
    times = []
    for own, parts in zip(streams.reference, streams.parts, strict=True):
        detector, mean, sd = make(), own.mean(), own.std(ddof=1)
        for value in ((own - mean) / sd).tolist():
            detector.update(value)
        times.append(_first_of(detector, ((parts - mean) / sd).tolist()))
    return np.array(times)


def _first_of(detector: ADWIN | PageHinkley, values: Sequence[float]) -> int:
    for at, value in enumerate(values):
        detector.update(value)
        if detector.drift_detected:
            return at
    return NEVER


def adwin(delta: float) -> Callable[[], ADWIN]:
    return lambda: ADWIN(delta=delta)


def page_hinkley(threshold: float) -> Callable[[], PageHinkley]:
    return lambda: PageHinkley(threshold=threshold)


def drawn(draw: Draw, size: int, count: int, parts: int, rng: np.random.Generator) -> Streams:
    values = draw(rng, (count, size + parts))
    return Streams(values[:, :size], values[:, size:])


def tuned(kinds: Sequence[tuple[str, int]], count: int, rng: np.random.Generator) -> tuple[float, float, str]:
    """ADWIN's delta and Page-Hinkley's threshold at which no more stable streams alarm than with ours."""
    streams = [drawn(DISTRIBUTIONS[name], size, count, CHANGE_AT + PARTS_AFTER, rng) for name, size in kinds]
    allowed = sum(int((ours(some, rng) < NEVER).sum()) for some in streams)

    def quiet(make: Callable[[], ADWIN | PageHinkley]) -> bool:
        return sum(int((of_river(make, some) < NEVER).sum()) for some in streams) <= allowed

    delta = next((value for value in ADWIN_DELTAS if quiet(adwin(value))), ADWIN_DELTAS[-1])
    threshold = next(
        (value for value in PAGE_HINKLEY_THRESHOLDS if quiet(page_hinkley(value))), PAGE_HINKLEY_THRESHOLDS[-1]
    )
    return delta, threshold, f"{allowed} of {count * len(streams)}"


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
    for row in (header, ["-" * width for width in widths], *rows):
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |")
    print(flush=True)


def delay(times: Times) -> str:
    """Median / 90th percentile of the parts until the alarm, over the streams that had none before, and what was missed."""
    fair = times[times >= CHANGE_AT]
    if not len(fair):
        return "all alarmed before"
    early = f", {100 * np.mean(times < CHANGE_AT):.1f} % before" if len(fair) < len(times) else ""
    parts = np.sort(fair) - CHANGE_AT + 1
    middle, late = (parts[min(int(len(parts) * share), len(parts) - 1)] for share in (0.5, 0.9))
    missed = f", {100 * np.mean(fair == NEVER):.1f} % missed" if (fair == NEVER).any() else ""
    shown = [str(value) if value < NEVER / 2 else "never" for value in (middle, late)]
    return " / ".join(shown) + early + missed


def stable_table(
    count: int, kinds: Sequence[tuple[str, int]], settings: tuple[float, float], rng: np.random.Generator
) -> None:
    delta, threshold = settings
    rows = []
    for name, size in kinds:
        streams = drawn(DISTRIBUTIONS[name], size, count, STABLE_PARTS, rng)
        found = [detect(streams, rng) for detect in (ours, ours_below_threshold, simple_jumper, plain)]
        found += [of_river(make, streams) for make in (ADWIN, PageHinkley, adwin(delta), page_hinkley(threshold))]
        rows.append([name, str(size), *(f"{100 * np.mean(times < NEVER):.1f} %" for times in found)])
    header = ["values", "n", "drift test", "as in the line", "simple jumper", "plain p-values"]
    header += ["ADWIN", "Page-Hinkley", "ADWIN at our rate", "Page-Hinkley at our rate"]
    print(
        f"\n{count} stable streams of {STABLE_PARTS} parts: how many ever alarm. The bound of the first three is {BOUND:.0%}.\n"
    )
    print_table(header, rows)


def delay_table(
    count: int, kinds: Sequence[tuple[str, int]], settings: tuple[float, float], rng: np.random.Generator
) -> None:
    delta, threshold = settings
    rows = []
    for name, size in kinds:
        stable = drawn(DISTRIBUTIONS[name], size, count, CHANGE_AT + PARTS_AFTER, rng)
        for change, parts in changes(stable.parts).items():
            streams = Streams(stable.reference, parts)
            found = [detect(streams, rng) for detect in (ours, ours_below_threshold, simple_jumper)]
            found += [of_river(make, streams) for make in (ADWIN, PageHinkley, adwin(delta), page_hinkley(threshold))]
            rows.append([name, str(size), change, *map(delay, found)])
    header = ["values", "n", "change", "drift test", "as in the line", "simple jumper"]
    header += ["ADWIN", "Page-Hinkley", "ADWIN at our rate", "Page-Hinkley at our rate"]
    print(
        f"\nParts from the change, after {CHANGE_AT} stable ones, to the alarm: median / 90th percentile of {count} streams.\n"
    )
    print_table(header, rows)


def update_us() -> float:
    rng = np.random.default_rng(0)
    test = DriftTest(rng.normal(size=1000), "bench")
    values = rng.normal(size=2000).tolist()
    started = time.perf_counter()
    for value in values:
        test.update(value)
    return 1e6 * (time.perf_counter() - started) / len(values)


def main() -> None:
    quick = "--quick" in sys.argv
    rng = np.random.default_rng(20)
    kinds = [(name, size) for name in DISTRIBUTIONS for size in SIZES]
    print(f"numpy {version('numpy')}, scipy {version('scipy')}, river {version('river')}", flush=True)
    print(f"one update of a test with 1000 calibration values: {update_us():.0f} microseconds", flush=True)
    delta, threshold, allowed = tuned(kinds, 30 if quick else 300, rng)
    print(
        f"at our rate ({allowed} stable streams alarmed): ADWIN delta {delta:g}, Page-Hinkley threshold {threshold:g}"
    )
    stable_table(50 if quick else 1000, kinds, (delta, threshold), rng)
    delay_table(30 if quick else 300, kinds, (delta, threshold), rng)


if __name__ == "__main__":
    main()
