import math

import numpy as np
import pytest

from trainer.pretrain.fields import band, clouds, coordinates, power_law, shaped_noise, turned, unit


def test_coordinates_are_pixel_centres_around_the_middle() -> None:
    x, y = coordinates(4)
    assert x[0].tolist() == [-0.375, -0.125, 0.125, 0.375]
    np.testing.assert_array_equal(y, x.T)


def test_a_quarter_turn_swaps_the_axes() -> None:
    x, y = coordinates(8)
    u, v = turned(x, y, math.pi / 2)
    np.testing.assert_allclose(u, y, atol=1e-6)
    np.testing.assert_allclose(v, -x, atol=1e-6)


@pytest.mark.parametrize("size_px", [64, 65])
def test_noise_has_the_frequencies_that_were_asked_for(size_px: int) -> None:
    field = shaped_noise(np.random.default_rng(0), size_px, band(12, 1.0, angle=0.0, spread=0.1))
    assert field.shape == (size_px, size_px)
    assert field.mean() == pytest.approx(0, abs=1e-4)
    assert field.std() == pytest.approx(1, abs=1e-3)
    power = np.abs(np.fft.fft2(field)) ** 2
    row, column = np.unravel_index(power.argmax(), power.shape)
    frequency = np.fft.fftfreq(size_px) * size_px
    assert abs(frequency[column]) == pytest.approx(12, abs=3)
    assert abs(frequency[row]) < 4


def test_a_steeper_power_law_is_smoother() -> None:
    rough, smooth = (shaped_noise(np.random.default_rng(0), 64, power_law(exponent)) for exponent in (0.5, 2.0))
    assert np.abs(np.diff(smooth)).mean() < 0.5 * np.abs(np.diff(rough)).mean()


def test_clouds_fill_any_size_and_unit_stays_in_range() -> None:
    for size_px in (31, 64):
        field = clouds(np.random.default_rng(0), size_px, 5)
        assert field.shape == (size_px, size_px)
        assert 0 <= unit(field).min() < 0.2
        assert 0.8 < unit(field).max() <= 1
