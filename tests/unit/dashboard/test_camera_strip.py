"""The strip of a camera: looked at by its pixels."""

from datetime import timedelta

import numpy as np

from dashboard.camera_strip import HEIGHT_PX, WIDTH_PX, camera_strip
from infra.pictures import decode
from infra.store.verdicts import ScoreBucket, ScoreSeries

from .shown import AT

HOUR = timedelta(hours=1)
FRAME_PX = 200


def bucket(minutes: int, highest: float, *, defects: int = 0, no_verdicts: int = 0) -> ScoreBucket:
    return ScoreBucket(AT - timedelta(minutes=minutes), 8.0, highest, 20.0, 5, defects, no_verdicts)


def strip(*buckets: ScoreBucket, frame: np.ndarray | None = None) -> np.ndarray:
    picture = decode(camera_strip(frame, ScoreSeries(AT - HOUR, AT, buckets)), 10**6)
    assert picture.shape == (HEIGHT_PX, WIDTH_PX, 3)
    return picture.astype(int)


def orange(picture: np.ndarray) -> np.ndarray:
    return np.argwhere((picture[..., 0] > 160) & (picture[..., 2] < 90))


def blue(picture: np.ndarray) -> np.ndarray:
    return np.argwhere((picture[..., 2] > 130) & (picture[..., 0] < 100))


def test_a_defect_is_a_cross_above_the_threshold_and_a_good_frame_lies_below_it() -> None:
    picture = strip(bucket(45, 12), bucket(15, 24, defects=1))
    light = np.argwhere((np.ptp(picture, axis=2) < 40) & (picture.mean(axis=2) > 130))
    threshold = np.median(light[:, 0])
    assert orange(picture)[:, 0].mean() < threshold < blue(picture)[:, 0].min()
    assert FRAME_PX < blue(picture)[:, 1].mean() < orange(picture)[:, 1].mean()  # later is further to the right


def test_a_score_far_above_stays_in_the_picture_and_hides_nothing() -> None:
    near, far = strip(bucket(30, 12)), strip(bucket(30, 12), bucket(10, 1e9, defects=1))
    assert len(orange(far)) > 0
    assert blue(near)[:, 0].min() == blue(far)[:, 0].min()


def test_the_whole_frame_stands_in_its_place_whatever_its_shape() -> None:
    for shape in ((40, 300), (300, 40), (1, 1), (480, 360)):
        frame = np.full((*shape, 3), (200, 60, 60), np.uint8)
        red = np.argwhere(strip(frame=frame)[..., 0] > 150)
        high, wide = np.ptp(red, axis=0) + 1
        assert red[:, 1].max() < FRAME_PX
        assert max(high / HEIGHT_PX, wide / FRAME_PX) > 0.95
        assert abs(wide / high - shape[1] / shape[0]) < 0.2 * shape[1] / shape[0]


def test_frames_without_a_verdict_are_ticks_and_no_scores() -> None:
    blank = ScoreBucket(AT - timedelta(minutes=30), None, None, None, 1, 0, 1)
    picture = strip(blank)
    assert len(orange(picture)) == len(blue(picture)) == 0
    ticks = np.argwhere(picture.mean(axis=2) > 100)
    assert ticks[:, 0].min() >= HEIGHT_PX - 12


def test_scores_that_all_lie_above_the_threshold_or_are_all_equal_have_a_place() -> None:
    above = ScoreBucket(AT - timedelta(minutes=30), 30.0, 40.0, 20.0, 5, 5, 0)
    assert len(orange(strip(above))) > 0
    at_it = ScoreBucket(AT - timedelta(minutes=30), 20.0, 20.0, 20.0, 5, 0, 0)
    assert len(blue(strip(at_it))) > 0
    assert strip().std() < 10  # nothing yet
