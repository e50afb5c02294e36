"""The parity gate: what computes a model in another way must score as torch does in float32, or is refused."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice

import cv2
import numpy as np
from numpy.typing import NDArray

from scorer.detector.detector import Detector
from scorer.detector.errors import ParityError
from scorer.detector.views import ViewPlan

TOLERANCE = 1e-3

_AT_ONCE = 8
_TINY = float(np.finfo(np.float64).tiny)

Scorer = Callable[[list[NDArray[np.uint8]]], NDArray[np.float64]]
"""From pictures, (H, W, 3) uint8 RGB each, to their scores, (N,) float64."""


@dataclass(frozen=True)
class Parity:
    """What the gate found.

    Attributes:
        pictures: How many were compared.
        difference: The largest relative difference of a score.
        tolerance: What it may be.
    """

    pictures: int
    difference: float
    tolerance: float = TOLERANCE


def check_parity(
    detector: Detector,
    other: Scorer,
    pictures: Iterable[NDArray[np.uint8]] = (),
    *,
    plan: ViewPlan | None = None,
) -> Parity:
    """Compare scores, and verdicts by each threshold, on the drawn pictures, and on others.

    A difference is relative to the score or to the spread (the standard deviation) of the calibration scores, whichever is
    larger: a fused score is a distance from what is usual and may be zero, where any rounding would be infinitely large.

    Args:
        detector: In float32 on torch.
        other: The same model, all of whose views it looks at.
        pictures: Pictures beside the drawn ones, (H, W, 3) uint8 RGB each.
        plan: The views behind both scores; the manifest's, if not given.

    Raises:
        ParityError: A score differs by more than 1e-3, is finite on one side alone, or a verdict differs.
    """
    spread = float(np.std(detector.manifest.calibration_scores))
    largest, count = 0.0, 0
    for batch in _batches(chain(parity_pictures(), pictures)):
        wanted = detector.score(batch, plan, early_exit=False).score
        found = other(batch)
        for number, (score, alike) in enumerate(zip(wanted, found, strict=True), start=count + 1):
            difference = _difference(float(score), float(alike), spread)
            if not difference <= TOLERANCE:
                raise ParityError(
                    f"picture {number} of the parity gate scores {alike:.6g} instead of {score:.6g}: "
                    f"{difference:.2g} apart, and {TOLERANCE:g} is allowed"
                )
            largest = max(largest, difference)
        for calibration in (detector.calibration, *detector.camera_calibrations.values()):
            for place in np.flatnonzero(calibration.is_defect(wanted) != calibration.is_defect(found)):
                raise ParityError(
                    f"picture {count + place + 1} of the parity gate gets another verdict: {found[place]:.9g} instead of "
                    f"{wanted[place]:.9g}, threshold {calibration.threshold:.9g}"
                )
        count += len(batch)
    return Parity(count, largest)


def parity_pictures() -> list[NDArray[np.uint8]]:
    """Draw the fixed set: textures, parts, constants, one pixel, very wide, very high; the same on every machine."""
    random = np.random.default_rng(20)
    rows, columns = np.mgrid[0:192, 0:256]
    noise = random.integers(0, 256, (192, 256, 3), dtype=np.uint8)
    cloth = np.asarray(cv2.GaussianBlur(noise, (0, 0), 5.0), dtype=np.uint8)
    part = np.where(np.hypot(rows - 96, columns - 128) < 70, 170.0, 60.0) + random.normal(0, 4, rows.shape)
    scratched = part.copy()
    scratched[90:94, 100:150] = 20.0
    return [
        noise,
        cloth,
        _grey(128 + 90 * np.sin(columns / 5.0)),
        _grey(255.0 * ((rows // 16 + columns // 16) % 2)),
        _grey(columns * 1.0),
        _grey(part),
        _grey(scratched),
        np.zeros((100, 100, 3), np.uint8),
        np.full((60, 50, 3), 90, np.uint8),
        np.full((448, 448, 3), 255, np.uint8),
        np.full((1, 1, 3), (200, 30, 90), np.uint8),
        random.integers(0, 256, (3, 1200, 3), dtype=np.uint8),
        random.integers(0, 256, (911, 37, 3), dtype=np.uint8),
    ]


def _grey(values: NDArray[np.float64]) -> NDArray[np.uint8]:
    return np.clip(values, 0, 255).astype(np.uint8)[..., None].repeat(3, axis=2)


def _batches(pictures: Iterable[NDArray[np.uint8]]) -> Iterator[list[NDArray[np.uint8]]]:
    waiting = iter(pictures)
    while batch := list(islice(waiting, _AT_ONCE)):
        yield batch


def _difference(wanted: float, found: float, spread: float) -> float:
    if not np.isfinite([wanted, found]).all():  # no score on both sides is no difference: NO_VERDICT either way
        return float("inf") if np.isfinite([wanted, found]).any() else 0.0
    return abs(found - wanted) / max(abs(wanted), spread, _TINY)
