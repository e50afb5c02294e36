import numpy as np
import pytest

from infra.heatmaps import COUNTS_PER_SCALE, LOUD, QUIET, decode_heatmap, encode_heatmap, overlay
from infra.pictures import encode_png

GREATEST = 65535 / COUNTS_PER_SCALE
PICTURE = np.random.default_rng(1).integers(0, 256, (30, 40, 3), np.uint8)


def test_heat_comes_back_within_half_a_count() -> None:
    heat = np.random.default_rng(0).uniform(0, GREATEST, (37, 53)).astype(np.float32)
    decoded = decode_heatmap(encode_heatmap(heat))
    assert decoded.dtype == np.float32
    assert np.abs(decoded - heat).max() <= 0.5 / COUNTS_PER_SCALE + 1e-5


@pytest.mark.parametrize(
    ("heat", "kept"), [(GREATEST + 1, GREATEST), (np.inf, GREATEST), (-1, 0), (-np.inf, 0), (np.nan, 0)]
)
def test_heat_beyond_the_scale_saturates_instead_of_wrapping(heat: float, kept: float) -> None:
    decoded = decode_heatmap(encode_heatmap(np.array([[heat, 1.0]], np.float32)))
    assert decoded.tolist() == [pytest.approx([kept, 1.0])]


@pytest.mark.parametrize("png", [b"no heatmap", encode_png(PICTURE)])
def test_other_bytes_are_no_heatmap(png: bytes) -> None:
    with pytest.raises(ValueError, match="not a 16-bit"):
        decode_heatmap(png)


def test_quiet_heat_leaves_the_picture_as_it_is() -> None:
    shown = overlay(PICTURE, np.full((30, 40), QUIET, np.float32), 0.6)
    assert np.array_equal(shown, PICTURE)


def test_the_scale_is_absolute() -> None:
    heat = np.zeros((30, 40), np.float32)
    heat[:, 20:] = LOUD
    shown = overlay(PICTURE, heat, 1.0)
    assert np.array_equal(shown[:, :20], PICTURE[:, :20])
    assert np.unique(shown[:, 20:].reshape(-1, 3), axis=0).shape == (1, 3)  # full strength hides the part
    assert np.array_equal(overlay(PICTURE, heat * 9, 1.0), shown)


def test_more_heat_covers_more_of_the_part() -> None:
    levels = [np.full((30, 40), heat, np.float32) for heat in (QUIET, 1.5, 2.5, LOUD)]
    changes = [np.abs(overlay(PICTURE, level, 0.8).astype(int) - PICTURE).mean() for level in levels]
    assert changes == sorted(set(changes))


def test_small_heat_is_laid_over_the_whole_picture() -> None:
    shown = overlay(PICTURE, np.full((3, 5), LOUD, np.float32), 1.0)
    assert (shown.shape, shown.dtype) == (PICTURE.shape, np.uint8)
    assert not np.array_equal(shown[0, 0], PICTURE[0, 0])
    assert not np.array_equal(shown[-1, -1], PICTURE[-1, -1])
