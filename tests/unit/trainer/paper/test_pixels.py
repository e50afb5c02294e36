import numpy as np
import pytest
from scipy import ndimage
from sklearn.metrics import roc_auc_score

from infra.errors import TrainingSetError
from trainer.paper.pixels import aupro, compared_mask, pixel_auroc, pixel_figures

MASK = np.zeros((1, 4, 4), bool)
MASK[0, 0, :2] = True  # a region of two pixels
MASK[0, 3, 3] = True  # and one of a single pixel


def test_pixel_auroc_by_hand() -> None:
    heat = np.zeros((1, 4, 4), np.float32)
    heat[0, 0, :2], heat[0, 3, 3] = 2.0, 1.0
    assert pixel_auroc(heat, MASK) == 1.0
    heat[0, 3, 3] = 0.0  # as warm as the 13 others: half a point against each
    assert pixel_auroc(heat, MASK) == pytest.approx((2 * 13 + 13 / 2) / (3 * 13))


def test_a_small_region_counts_as_much_as_a_large_one() -> None:
    heat = np.zeros((1, 4, 4), np.float32)
    heat[0, 0, :2] = 2.0  # the large region is found before any false positive, the small one with the last of them
    # overlap rises from 1/2 to 1 along the tie of all others: from rate 0 to 1, so at 0.3 it is 0.65
    assert aupro(heat, MASK) == pytest.approx((0.5 + 0.65) / 2)
    heat = np.zeros((1, 4, 4), np.float32)
    heat[0, 3, 3] = 2.0
    assert aupro(heat, MASK) == pytest.approx((0.5 + 0.65) / 2)


def test_false_positives_beyond_the_limit_do_not_count() -> None:
    mask = np.zeros((1, 2, 10), bool)
    mask[0, 0] = True
    heat = np.zeros((1, 2, 10), np.float32)
    heat[0, 1] = np.arange(10)  # ten defect-free pixels
    heat[0, 0] = 6.5  # three of them are warmer: found at a rate of 0.3, which is the limit
    assert aupro(heat, mask) == pytest.approx(0.0)
    heat[0, 0] = 7.5  # two are
    assert aupro(heat, mask) == pytest.approx(1 / 3)
    heat[0, 0] = 99.0
    assert aupro(heat, mask) == pytest.approx(1.0)


def brute_force_aupro(heat: np.ndarray, masks: np.ndarray, limit: float) -> float:
    regions = []
    for picture, mask in enumerate(masks):
        labels, count = ndimage.label(mask, np.ones((3, 3)))
        regions += [(picture, labels == number) for number in range(1, count + 1)]
    rates, overlaps = [0.0], [0.0]
    for threshold in np.unique(heat)[::-1]:
        above = heat >= threshold
        rates.append(float(above[~masks].mean()))
        overlaps.append(float(np.mean([above[picture][region].mean() for picture, region in regions])))
    grid = np.linspace(0, limit, 200_001)
    return float(np.trapezoid(np.interp(grid, rates, overlaps), grid)) / limit


def test_aupro_and_pixel_auroc_agree_with_thresholds_one_by_one_and_with_scikit_learn() -> None:
    rng = np.random.default_rng(3)
    masks = rng.random((3, 12, 12)) < 0.15
    masks[2] = False
    heat = (rng.normal(0, 1, masks.shape) + masks * rng.random(masks.shape) * 2).astype(np.float32)
    assert aupro(heat, masks) == pytest.approx(brute_force_aupro(heat, masks, 0.3), abs=1e-3)
    assert aupro(heat, masks, limit=1.0) == pytest.approx(brute_force_aupro(heat, masks, 1.0), abs=1e-3)
    assert pixel_auroc(heat, masks) == pytest.approx(roc_auc_score(masks.ravel(), heat.ravel()))


def test_diagonal_neighbours_are_one_region() -> None:
    mask = np.zeros((1, 4, 4), bool)
    mask[0, 0, 0] = mask[0, 1, 1] = True
    assert pixel_figures(np.ones((1, 4, 4), np.float32), [np.kron(mask[0], np.ones((56, 56))) > 0]).regions == 1


def test_masks_keep_small_defects_when_they_shrink() -> None:
    mask = np.zeros((900, 900), bool)
    mask[450, 450] = True
    assert compared_mask(mask).sum() >= 1
    assert compared_mask(np.zeros((9, 9), bool)).sum() == 0
    half = np.zeros((448, 448), bool)
    half[:, :224] = True
    assert compared_mask(half).mean() == 0.5


def test_heat_on_the_defect_is_found_in_figures() -> None:
    mask = np.zeros((64, 48), bool)
    mask[10:30, 5:20] = True
    hot = np.where(mask, 1.0, 0.0).astype(np.float32)
    figures = pixel_figures([hot, hot * 0], [mask, ~mask & mask])
    assert min(figures.auroc_on_defects, figures.auroc, figures.aupro) > 0.99
    assert (figures.pictures, figures.regions) == (2, 1)


def test_heat_that_is_not_finite_and_masks_without_a_defect_are_refused() -> None:
    with pytest.raises(TrainingSetError, match="not finite"):
        aupro(np.full((1, 4, 4), np.nan, np.float32), MASK)
    with pytest.raises(TrainingSetError, match="defective and defect-free"):
        pixel_auroc(np.zeros((1, 4, 4), np.float32), MASK & False)
