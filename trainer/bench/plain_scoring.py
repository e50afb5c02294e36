"""P1: ours against the plain loop, JPEG to score: how much faster, and whether anything changed."""

import statistics
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from trainer.bench.plain import PlainExtractor, plain_flow, plain_score
from trainer.bench.row import Row
from trainer.bench.scoring import leaves_early, score_bodies
from trainer.bench.setting import Setting
from trainer.bench.timing import in_turns, median_ratio


class PlainScoring(Row):
    """Frames a second of both sides, and how far their scores are apart.

    Attributes:
        frames: Pictures that both sides scored.
        views: Views of each.
        plain_frames_s: The plain loop's, median of the rounds.
        ours_frames_s: Ours at all views.
        early_exit_frames_s: Ours with early exit; None where there is none.
        early_exit_ratio: Median of the rounds' ratios with early exit.
        early_exit_views: Mean views with early exit.
        error_median: Median relative difference of our scores at all views from the plain loop's.
        error_max: The largest.
        rank_correlation: Spearman's, of the two sides' scores.
        flips: Pictures with another verdict than the plain loop's, at all views.
        flip_distance_percent: How far the farthest of them lies from the threshold, by the plain score; 0 without any.
        early_exit_flips: The same with early exit.
        early_exit_flip_distance_percent: The same with early exit.
    """

    frames: int
    views: int
    plain_frames_s: float
    ours_frames_s: float
    early_exit_frames_s: float | None
    early_exit_ratio: float | None
    early_exit_views: float | None
    error_median: float
    error_max: float
    rank_correlation: float
    flips: int
    flip_distance_percent: float
    early_exit_flips: int | None
    early_exit_flip_distance_percent: float | None

    def figures(self) -> str:
        """Ratio, correlation and flips."""
        early = "" if self.early_exit_ratio is None else f" ({self.early_exit_ratio:.1f} with early exit)"
        return (
            f"{self.ratio:.1f} times{early}; rank correlation {self.rank_correlation:.4f}; {self.flips} of {self.frames} "
            f"verdicts flip, at most {self.flip_distance_percent:.2f} % from the threshold"
        )

    def details(self) -> list[str]:
        """The rates."""
        rates = (
            f"{self.views} views, {self.frames} pictures: plain loop {self.plain_frames_s:.3f} frames/s, "
            f"ours {self.ours_frames_s:.2f}; relative difference of scores {self.error_median:.1e} in the median, "
            f"{self.error_max:.1e} at most."
        )
        if self.early_exit_frames_s is None:
            return [rates]
        early = (
            f"With early exit {self.early_exit_frames_s:.2f} frames/s, {self.early_exit_views:.1f} views on average, "
            f"{self.early_exit_flips} verdicts other than the plain loop's."
        )
        return [f"{rates} {early}"]


def measure_plain_scoring(setting: Setting) -> PlainScoring:
    """Score the same pictures by the plain loop and by the detector with the flow alone, in turns."""
    size, detector = setting.size, setting.speed.detector
    early = leaves_early(detector)
    extractor, flow = PlainExtractor(setting.extractor, setting.device), plain_flow(detector.flow, setting.device)
    views = detector.manifest.views.draw(1)
    bodies = setting.pictures.stream(size.rounds * size.frames)
    scores: dict[str, list[float]] = {"plain": [], "ours": [], "early": []}
    looked_at: list[int] = []

    def plain(number: int) -> None:
        scores["plain"] += [plain_score(extractor, flow, body, views) for body in _part(bodies, number, size.frames)]

    def fast(number: int, *, early_exit: bool) -> None:
        found = score_bodies(detector, _part(bodies, number, size.frames), early_exit=early_exit)
        scores["early" if early_exit else "ours"] += found.score.tolist()
        if early_exit:
            looked_at.extend(found.views.tolist())

    score_bodies(detector, bodies[:1], early_exit=False)  # what the first call costs is no rate
    sides: dict[str, Callable[[int], None]] = {"plain": plain, "ours": partial(fast, early_exit=False)}
    if early:
        score_bodies(detector, bodies[:1], early_exit=True)
        sides["early"] = partial(fast, early_exit=True)
    taken = in_turns(size.rounds, sides)
    wanted, got = np.asarray(scores["plain"]), np.asarray(scores["ours"])
    error = np.abs(got - wanted) / np.abs(wanted)
    flips, distance = flipped(wanted, got, detector.manifest.threshold)
    early_flips = flipped(wanted, np.asarray(scores["early"]), detector.manifest.threshold) if early else (None, None)
    return PlainScoring(
        device=setting.device_name,
        ratio=median_ratio(taken["plain"], taken["ours"]),
        frames=len(bodies),
        views=len(views),
        plain_frames_s=size.frames / statistics.median(taken["plain"]),
        ours_frames_s=size.frames / statistics.median(taken["ours"]),
        early_exit_frames_s=size.frames / statistics.median(taken["early"]) if early else None,
        early_exit_ratio=median_ratio(taken["plain"], taken["early"]) if early else None,
        early_exit_views=float(np.mean(looked_at)) if early else None,
        error_median=float(np.median(error)),
        error_max=float(error.max()),
        rank_correlation=float(spearmanr(wanted, got).statistic),
        flips=flips,
        flip_distance_percent=distance,
        early_exit_flips=early_flips[0],
        early_exit_flip_distance_percent=early_flips[1],
    )


def flipped(wanted: NDArray[np.float64], got: NDArray[np.float64], threshold: float) -> tuple[int, float]:
    """How many verdicts differ, and how far the farthest of them lies from the threshold, in percent of it.

    Args:
        wanted: (N,) scores that decide.
        got: (N,) scores that are compared with them.
        threshold: A score above it is a defect.
    """
    other = (wanted > threshold) != (got > threshold)
    away = 100 * np.abs(wanted[other] - threshold) / abs(threshold)
    return int(other.sum()), float(away.max(initial=0.0))


def _part(bodies: Sequence[bytes], number: int, frames: int) -> Sequence[bytes]:
    return bodies[number * frames : (number + 1) * frames]
