"""Controls: what a picture tells without any network. A detector must beat them on the same pictures."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from scorer.detector import VIEW_PX, prepare
from trainer.images import PictureSet
from trainer.paper.splits import Split

SMALL_PX = 32
LIGHT_AND_SHARPNESS = ("mean brightness", "sharpness")
SHAPE = "width to height"
CORRELATION = "pixel correlation"
_PICTURES_PER_CHUNK = 16


@dataclass(frozen=True)
class PictureStatistics:
    """What is known of N pictures without a network.

    Attributes:
        small: (N, 1024) float32, grey at 32 x 32 px with mean 0 and norm 1; 0 for a flat picture.
        measures: By name, (N,) float64: mean grey; log variance of the Laplacian at 448 px; log of width over height.
    """

    small: NDArray[np.float32]
    measures: dict[str, NDArray[np.float64]]


def picture_statistics(pictures: PictureSet) -> PictureStatistics:
    """Measure all pictures.

    Source of the sharpness measure: Pech-Pacheco et al., "Diatom autofocusing in brightfield microscopy", ICPR 2000.
    """
    small: list[NDArray[np.float32]] = []
    rows: list[tuple[float, float, float]] = []
    for chunk in pictures.chunks(_PICTURES_PER_CHUNK):
        for picture, square in zip(chunk, prepare(chunk, VIEW_PX).numpy(), strict=True):
            grey = square.mean(axis=0, dtype=np.float32)
            small.append(_unit(cv2.resize(grey, (SMALL_PX, SMALL_PX), interpolation=cv2.INTER_AREA).ravel()))
            sharpness = np.log1p(cv2.Laplacian(grey, cv2.CV_32F).var())
            rows.append((float(grey.mean()), float(sharpness), float(np.log(picture.shape[1] / picture.shape[0]))))
    columns = np.asarray(rows, dtype=np.float64).T
    return PictureStatistics(np.stack(small), dict(zip((*LIGHT_AND_SHARPNESS, SHAPE), columns, strict=True)))


def control_scores(statistics: PictureStatistics, split: Split) -> dict[str, NDArray[np.float64]]:
    """Score the test pictures of a split by each control, larger for less likely pictures.

    Pixel correlation: 1 minus the largest correlation with any training picture. The measures: the distance from the mean
    over the training pictures, so that both sides of it count.

    Returns:
        By name, (len(split.test),) float64.
    """
    correlation = statistics.small[split.test] @ statistics.small[split.train].T
    scores = {CORRELATION: 1.0 - correlation.max(axis=1).astype(np.float64)}
    for name, measure in statistics.measures.items():
        scores[name] = np.abs(measure[split.test] - measure[split.train].mean())
    return scores


def _unit(values: NDArray[np.float32]) -> NDArray[np.float32]:
    centred = values - values.mean()
    norm = float(np.linalg.norm(centred))
    return np.asarray(centred / norm if norm > 1e-3 else np.zeros_like(centred), dtype=np.float32)
