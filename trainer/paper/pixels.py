"""How well heatmaps find the defective pixels: pixel AUROC and AUPRO."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from scipy import ndimage
from sklearn.metrics import auc, roc_auc_score, roc_curve

from infra.errors import TrainingSetError

COMPARED_PX = 224
FALSE_POSITIVE_LIMIT = 0.3
_EIGHT_NEIGHBOURS = np.ones((3, 3), int)

Heat = Sequence[NDArray[np.float32]] | NDArray[np.float32]
Masks = Sequence[NDArray[np.bool_]] | NDArray[np.bool_]


class PixelFigures(BaseModel):
    """How well heatmaps find defective pixels; fractions from 0 to 1.

    Attributes:
        auroc_on_defects: Pixel AUROC over the pixels of the defective pictures alone: where in the picture is it?
        auroc: Pixel AUROC over the pixels of all test pictures.
        aupro: Area under the per-region overlap up to 30 % false positives, over all test pictures.
        pictures: How many pictures.
        regions: How many defective regions.
    """

    model_config = ConfigDict(frozen=True)

    auroc_on_defects: float
    auroc: float
    aupro: float
    pictures: int
    regions: int


def pixel_figures(heat: Heat, masks: Masks) -> PixelFigures:
    """Compare heatmaps with masks, both brought to 224 x 224 px.

    Args:
        heat: (S, S) float32 each, larger where less likely.
        masks: (H, W) bool each, all False for a defect-free picture.

    Raises:
        TrainingSetError: No defective pixel, or heat that is not finite.
    """
    compared = np.stack([_compared(each.astype(np.float32)) for each in heat])
    truth = np.stack([compared_mask(mask) for mask in masks])
    defective = truth.any(axis=(1, 2))
    return PixelFigures(
        auroc_on_defects=pixel_auroc(compared[defective], truth[defective]),
        auroc=pixel_auroc(compared, truth),
        aupro=aupro(compared, truth),
        pictures=len(truth),
        regions=sum(int(ndimage.label(mask, _EIGHT_NEIGHBOURS)[1]) for mask in truth),
    )


def pixel_auroc(heat: NDArray[np.float32], masks: NDArray[np.bool_]) -> float:
    """AUROC of single pixels, (N, S, S) each: every pixel counts the same, so large defects count most.

    Source: Bergmann et al., "MVTec AD", CVPR 2019.

    Raises:
        TrainingSetError: No defective pixel, or heat that is not finite.
    """
    _require_comparable(heat, masks)
    return float(roc_auc_score(masks.ravel(), heat.ravel()))


def aupro(heat: NDArray[np.float32], masks: NDArray[np.bool_], limit: float = FALSE_POSITIVE_LIMIT) -> float:
    """Area under the per-region overlap over the false-positive rate up to `limit`, as a fraction of that range.

    The overlap is the mean over connected regions (8 neighbours) of the share of a region above the threshold: a small region
    counts as much as a large one. That is a ROC curve whose defective pixels weigh 1 / size of their region. The false-positive
    rate is taken over all defect-free pixels, of defective pictures as well.

    Source: Bergmann et al., "The MVTec Anomaly Detection Dataset", IJCV 2021.

    Args:
        heat: (N, S, S) float32.
        masks: (N, S, S) bool.
        limit: Largest false-positive rate.

    Raises:
        TrainingSetError: No defective pixel, or heat that is not finite.
    """
    _require_comparable(heat, masks)
    weights = np.ones(masks.shape)
    for mask, weight in zip(masks, weights, strict=True):
        regions, _ = ndimage.label(mask, _EIGHT_NEIGHBOURS)
        weight[mask] = 1.0 / np.bincount(regions.ravel())[regions[mask]]
    rates, overlap, _ = roc_curve(masks.ravel(), heat.ravel(), sample_weight=weights.ravel())
    inside = rates <= limit
    rates_to_limit = np.append(rates[inside], limit)
    overlap_to_limit = np.append(overlap[inside], np.interp(limit, rates, overlap))
    return float(auc(rates_to_limit, overlap_to_limit)) / limit


def compared_mask(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Bring a mask, (H, W) bool, to 224 x 224 px: defective where half a pixel is, and never empty where it was not."""
    covered = _compared(mask.astype(np.float32))
    return np.asarray(covered >= min(0.5, float(covered.max()))) if mask.any() else np.zeros(covered.shape, bool)


def _compared(values: NDArray[np.float32]) -> NDArray[np.float32]:
    shrinks = min(values.shape) > COMPARED_PX
    way = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(values, (COMPARED_PX, COMPARED_PX), interpolation=way), dtype=np.float32)


def _require_comparable(heat: NDArray[np.float32], masks: NDArray[np.bool_]) -> None:
    if not np.isfinite(heat).all():
        raise TrainingSetError("a heatmap is not finite")
    if not masks.any() or masks.all():
        raise TrainingSetError("masks need defective and defect-free pixels both")
