"""One threshold for all cameras, or one for each that has enough pictures: false alarms at each camera."""

from collections.abc import Sequence
from statistics import fmean
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from scorer.detector import Calibration, calibrate, calibrate_cameras
from trainer.guarantee.rates import halves, standard_error
from trainer.guarantee.thresholds import Scored, Way


class CameraRow(BaseModel):
    """All splits at one rate, at one camera. Fractions from 0 to 1; whole groups are split, where they are known.

    A split that leaves no picture of the camera to test on is left out.

    Attributes:
        camera: Its name.
        rate: The rate asked for.
        calibration: Calibration pictures of the camera, on average over splits.
        own: Share of splits in which they suffice for a threshold of its own.
        by_all: False alarms by the threshold of all cameras together, over splits.
        by_all_error: Standard error of that, from the spread of the fits; None for one fit.
        measured: False alarms by what a scorer judges the camera by: its own threshold, or that of all where it has none.
        error: Standard error of that.
        expected: What theory says of its own threshold, on average over splits; None unless it has one in all of them.
    """

    model_config = ConfigDict(frozen=True)

    camera: str
    rate: float
    calibration: float
    own: float
    by_all: float
    by_all_error: float | None
    measured: float
    error: float | None
    expected: float | None


class _Trial(NamedTuple):
    calibration: int
    own: Calibration | None
    by_all: float
    measured: float


def measure_cameras(
    fits: Sequence[Scored], rates: Sequence[float], splits: int, seed: int = 0
) -> tuple[CameraRow, ...]:
    """Split the scores of each fit again and again into halves, calibrate on one and count alarms at each camera on the other.

    Args:
        fits: Scores by one detector each, with their cameras; the splits are shared out among them.
        rates: False-alarm rates.
        splits: How many splits in all.
        seed: Seed of the splits.

    Returns:
        By rate and camera; none of a camera that no split has pictures of to test on.

    Raises:
        TrainingSetError: The cameras are not known.
    """
    way = Way.PICTURES if fits[0].groups is None else Way.GROUPS
    trials: dict[tuple[float, str], list[list[_Trial]]] = {}
    for number, (scored, numbers) in enumerate(zip(fits, np.array_split(np.arange(splits), len(fits)), strict=True)):
        rng = np.random.default_rng([seed, number, 12])
        dealt = [halves(scored, way, rng) for _ in numbers]
        for rate in rates:
            for camera in np.unique(scored.known_cameras()).tolist():
                found = [_trial(*sides, camera, rate) for sides in dealt if (sides[1].known_cameras() == camera).any()]
                if found:
                    trials.setdefault((rate, camera), []).append(found)
    return tuple(_row(rate, camera, found) for (rate, camera), found in trials.items())


def _trial(calibration: Scored, test: Scored, camera: str, rate: float) -> _Trial:
    cameras = calibration.known_cameras()
    of_all = calibrate(calibration.scores, rate)
    own = calibrate_cameras(calibration.scores.tolist(), cameras.tolist(), rate).get(camera)
    tested = test.scores[test.known_cameras() == camera]
    by_all, measured = (_alarms(each, tested) for each in (of_all, own or of_all))
    return _Trial(int((cameras == camera).sum()), own, by_all, measured)


def _alarms(calibration: Calibration, scores: NDArray[np.float64]) -> float:
    return float(calibration.is_defect(scores).mean())


def _row(rate: float, camera: str, fits: Sequence[Sequence[_Trial]]) -> CameraRow:
    trials = [each for fit in fits for each in fit]
    own = [each.own for each in trials if each.own is not None]
    expected = [each.alarms_allowed / (len(each.scores) + 1) for each in own]
    return CameraRow(
        camera=camera,
        rate=rate,
        calibration=fmean([each.calibration for each in trials]),
        own=len(own) / len(trials),
        by_all=fmean([each.by_all for each in trials]),
        by_all_error=standard_error([fmean([each.by_all for each in fit]) for fit in fits]),
        measured=fmean([each.measured for each in trials]),
        error=standard_error([fmean([each.measured for each in fit]) for fit in fits]),
        expected=fmean(expected) if len(own) == len(trials) else None,
    )
