"""Scalar fields on a square: coordinates and noise, in units of the picture's side, so that they look alike at any size."""

import math
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.floating[Any]]
"""(S, S), of any floating point type: float32 where it costs time."""

Spectrum = Callable[[Field, Field], Field]
"""Amplitude for frequencies across and down, in cycles per picture side."""


def coordinates(size_px: int) -> tuple[Field, Field]:
    """Return x and y of the pixel centres, each (S, S) in (-0.5, 0.5)."""
    line = (np.arange(size_px, dtype=np.float32) + 0.5) / size_px - 0.5
    x, y = np.meshgrid(line, line)
    return x, y


def turned(x: Field, y: Field, angle: float) -> tuple[Field, Field]:
    """Return coordinates in a frame turned by an angle in radians."""
    cosine, sine = np.float32(math.cos(angle)), np.float32(math.sin(angle))
    return cosine * x + sine * y, cosine * y - sine * x


def shaped_noise(rng: np.random.Generator, size_px: int, spectrum: Spectrum) -> Field:
    """Return Gaussian noise with a given amplitude spectrum, mean 0 and deviation 1; it continues across the borders."""
    white = rng.standard_normal((size_px, size_px), dtype=np.float32)
    down, across = np.fft.fftfreq(size_px) * size_px, np.fft.rfftfreq(size_px) * size_px
    fx, fy = np.meshgrid(across.astype(np.float32), down.astype(np.float32))
    amplitude = spectrum(fx, fy)
    amplitude[0, 0] = 0
    return standardized(np.fft.irfft2(np.fft.rfft2(white) * amplitude, s=white.shape).astype(np.float32))


def power_law(exponent: float, stretch: float = 1.0, angle: float = 0.0) -> Spectrum:
    """Amplitude f^-exponent, with frequencies along one direction counted `stretch` times."""

    def amplitude(fx: Field, fy: Field) -> Field:
        along, aside = turned(fx, fy, angle)
        return np.asarray((1.0 + (along * stretch) ** 2 + aside**2) ** (-exponent / 2), np.float32)

    return amplitude


def band(centre: float, width: float, angle: float = 0.0, spread: float = math.inf) -> Spectrum:
    """Amplitude of a ring of frequencies, of one direction only where `spread` (radians) is finite."""

    def amplitude(fx: Field, fy: Field) -> Field:
        ring = np.exp(-0.5 * ((np.hypot(fx, fy) - centre) / width) ** 2)
        if math.isfinite(spread):
            turn = np.arctan2(fy, fx) - angle
            ring = ring * np.exp(-0.5 * (np.sin(turn) / spread) ** 2)
        return np.asarray(ring + 1e-6, np.float32)

    return amplitude


def clouds(rng: np.random.Generator, size_px: int, cells: int) -> Field:
    """Return smooth noise of about `cells` bumps a side, deviation about 1: small noise, enlarged."""
    small = rng.standard_normal((cells + 3, cells + 3), dtype=np.float32)
    side = round(size_px * (cells + 3) / cells)
    large = cv2.resize(small, (side, side), interpolation=cv2.INTER_CUBIC)
    start = (side - size_px) // 2
    return np.asarray(large[start : start + size_px, start : start + size_px], np.float32)


def standardized(field: Field) -> Field:
    """Bring to mean 0 and deviation 1."""
    centred = field - field.mean()
    return np.asarray(centred / (centred.std() + 1e-6), np.float32)


def unit(field: Field) -> Field:
    """Bring to [0, 1]: 2.2 deviations to both sides of the mean."""
    return np.asarray(np.clip(standardized(field) * np.float32(1 / 4.4) + np.float32(0.5), 0, 1))


def blurred(field: Field, sigma: float) -> Field:
    """Blur by a Gaussian of `sigma` picture sides."""
    return np.asarray(cv2.GaussianBlur(field, (0, 0), max(sigma * field.shape[0], 0.3)), np.float32)


def soft_step(field: Field, edge: float) -> Field:
    """Return 1 where the field is positive and 0 where not, over `edge` of its units in between."""
    return np.asarray(np.clip(field / np.float32(edge) + np.float32(0.5), 0, 1))


def edge_of(size_px: int) -> float:
    """Width of an edge that is neither jagged nor soft: a pixel and a half, in picture sides."""
    return 1.5 / size_px
