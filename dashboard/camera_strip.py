"""A camera among many, as one picture: its latest frame, and its scores against the threshold.

Forty-eight charts would be too much for a browser, and as many elements more for a rerun. The strip has a dark ground of its
own, like a display, so that it is the same on a light page and on a dark one.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from dashboard.charts import DEFECT_COLOR, GOOD_COLOR
from infra.pictures import RgbPicture, encode_jpeg
from infra.store.verdicts import ScoreBucket, ScoreSeries

WIDTH_PX, HEIGHT_PX = 476, 160  # twice what is shown
_FRAME_WIDTH_PX = 200
_EDGE_PX = 12
_GROUND = (32, 36, 41)
_RANGE_COLOR = "#2B5E80"
_THRESHOLD_COLOR = "#AEB4BB"
_BLANK_COLOR = "#8A9199"
_ABOVE = 0.5  # room above the threshold, as a share of what lies below it; what is higher lies on the upper edge
_DASH_PX = 8


def camera_strip(frame: RgbPicture | None, series: ScoreSeries) -> bytes:
    """Return a JPEG, WIDTH_PX x HEIGHT_PX: the whole frame at the left, beside it the scores by time.

    Scores go from the lowest to the highest of neighbouring frames, DEFECT are crosses, the threshold is dashed, and frames
    without verdict are ticks at the foot.

    Args:
        frame: The latest frame, `(H, W, 3)` uint8; None where there is none.
        series: The scores.
    """
    canvas = np.full((HEIGHT_PX, WIDTH_PX, 3), _GROUND, np.uint8)
    if frame is not None:
        _put(canvas[:, :_FRAME_WIDTH_PX], frame)
    _plot(canvas[:, _FRAME_WIDTH_PX:], series)
    return encode_jpeg(canvas, quality=85)


def _put(place: NDArray[np.uint8], frame: RgbPicture) -> None:
    """Put all of the frame in the middle of its place."""
    height, width = frame.shape[:2]
    scale = min(place.shape[0] / height, place.shape[1] / width)
    wide, high = max(1, round(width * scale)), max(1, round(height * scale))
    left, top = (place.shape[1] - wide) // 2, (place.shape[0] - high) // 2
    place[top : top + high, left : left + wide] = cv2.resize(frame, (wide, high), interpolation=cv2.INTER_AREA)


def _plot(place: NDArray[np.uint8], series: ScoreSeries) -> None:
    span = (series.until - series.since).total_seconds()
    scale = _scale(series.buckets)
    picture = np.ascontiguousarray(place)
    for bucket in series.buckets:
        share = (bucket.at - series.since).total_seconds() / span
        _draw(picture, _EDGE_PX + round((picture.shape[1] - 2 * _EDGE_PX) * share), bucket, scale)
    if scale is not None:
        row = _row(_newest_threshold(series.buckets) or 0.0, *scale)
        for column in range(_EDGE_PX, picture.shape[1] - _EDGE_PX, 2 * _DASH_PX):
            cv2.line(picture, (column, row), (column + _DASH_PX, row), _color(_THRESHOLD_COLOR), 2)
    place[...] = picture


def _scale(buckets: tuple[ScoreBucket, ...]) -> tuple[float, float] | None:
    """Lowest and highest score that have a place; None where there is no score."""
    lowest = [bucket.lowest for bucket in buckets if bucket.lowest is not None]
    highest = [bucket.highest for bucket in buckets if bucket.highest is not None]
    threshold = _newest_threshold(buckets)
    if threshold is None or not lowest:
        return None
    low = min(lowest)
    below = threshold - low if low < threshold else max(max(highest) - threshold, 1e-9)
    return threshold - below, threshold + _ABOVE * below


def _newest_threshold(buckets: tuple[ScoreBucket, ...]) -> float | None:
    return next((bucket.threshold for bucket in reversed(buckets) if bucket.threshold is not None), None)


def _row(score: float, low: float, high: float) -> int:
    share = min(1.0, max(0.0, (score - low) / (high - low)))
    return round(HEIGHT_PX - _EDGE_PX - share * (HEIGHT_PX - 2 * _EDGE_PX))


def _draw(picture: NDArray[np.uint8], column: int, bucket: ScoreBucket, scale: tuple[float, float] | None) -> None:
    if bucket.no_verdicts:
        cv2.line(picture, (column, HEIGHT_PX - 8), (column, HEIGHT_PX - 1), _color(_BLANK_COLOR), 2)
    if bucket.lowest is None or bucket.highest is None or scale is None:
        return
    top, foot = _row(bucket.highest, *scale), _row(bucket.lowest, *scale)
    cv2.line(picture, (column, foot), (column, top), _color(_RANGE_COLOR), 1)
    if bucket.defects:
        cv2.drawMarker(picture, (column, top), _color(DEFECT_COLOR), cv2.MARKER_TILTED_CROSS, 12, 3)
    else:
        cv2.rectangle(picture, (column - 1, top - 1), (column + 1, top + 1), _color(GOOD_COLOR), cv2.FILLED)


def _color(name: str) -> tuple[int, int, int]:
    red, green, blue = (int(name[place : place + 2], 16) for place in (1, 3, 5))
    return red, green, blue
