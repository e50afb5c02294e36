import cv2
import numpy as np
import pytest

from infra.picture_quality import LONGEST_PX, picture_quality
from infra.pictures import RgbPicture


def scene(height: int = 600, width: int = 800) -> RgbPicture:
    rows, columns = np.mgrid[0:height, 0:width]
    board = 90 + 70 * ((rows // 20 + columns // 20) % 2)
    noise = np.random.default_rng(0).normal(0, 3, (height, width))
    return np.clip(board + noise, 0, 255)[..., None].repeat(3, axis=2).astype(np.uint8)


def test_a_blur_is_told_by_the_focus() -> None:
    sharp = picture_quality(scene())
    blurred = picture_quality(cv2.GaussianBlur(scene(), (0, 0), 3))
    assert blurred.focus < sharp.focus - 1
    assert blurred.brightness == pytest.approx(sharp.brightness, abs=1)


def test_less_light_is_told_by_the_brightness_and_veil_by_the_contrast() -> None:
    usual = picture_quality(scene())
    dark = picture_quality((scene() * 0.8).astype(np.uint8))
    veiled = picture_quality((scene() * 0.5 + 62).astype(np.uint8))
    assert dark.brightness == pytest.approx(0.8 * usual.brightness, abs=1)
    assert veiled.contrast == pytest.approx(0.5 * usual.contrast, abs=1)
    assert veiled.brightness == pytest.approx(usual.brightness, abs=2)


def test_brightness_and_contrast_are_mean_and_standard_deviation() -> None:
    picture = scene(300, 400)
    quality = picture_quality(picture)
    assert quality.brightness == pytest.approx(picture.mean(), abs=0.01)
    assert quality.contrast == pytest.approx(picture.std(), abs=0.01)


@pytest.mark.parametrize("shape", [(1, 1), (1, 5000), (5000, 1), (511, 513), (LONGEST_PX, LONGEST_PX), (2049, 1000)])
def test_every_shape_and_also_a_picture_without_edges_has_numbers(shape: tuple[int, int]) -> None:
    flat = np.zeros((*shape, 3), np.uint8)
    assert np.isfinite(picture_quality(flat)).all()
    assert picture_quality(flat) == picture_quality(flat + np.uint8(0))


def test_numbers_survive_single_precision() -> None:
    quality = picture_quality(scene())
    assert tuple(np.array(quality, np.float32).astype(float)) == tuple(quality)
