"""Light on a surface, and the camera that looks at it."""

import math
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from trainer.pretrain.fields import Field, coordinates

Picture = NDArray[np.uint8]
"""(S, S, 3) uint8, red first."""

Light = NDArray[np.floating[Any]]
"""(S, S, 3), grey values 0 to 255."""


def shade(height: Field, azimuth: float, *, relief: float = 1.0, gloss: float = 0.3, ambient: float = 0.35) -> Field:
    """Light a height map from one side.

    Args:
        height: (S, S) float32, in picture sides.
        azimuth: Where the light comes from, in radians.
        relief: Factor on the slopes.
        gloss: Weight of the highlight, in [0, 1].
        ambient: Light without direction, in [0, 1].

    Returns:
        (S, S) float32 factors around 1 for a level surface.
    """
    scale = relief * height.shape[0] / 8
    slope_x = cv2.Sobel(height, cv2.CV_32F, 1, 0, ksize=3, scale=scale)
    slope_y = cv2.Sobel(height, cv2.CV_32F, 0, 1, ksize=3, scale=scale)
    length = np.sqrt(1 + slope_x * slope_x + slope_y * slope_y)
    elevation = 0.9
    level = math.sin(elevation)
    towards = math.cos(elevation) * (-slope_x * math.cos(azimuth) - slope_y * math.sin(azimuth)) + level
    facing = np.clip(towards / length, 0, None)
    diffuse = ambient + (1 - ambient) * facing / level
    highlight = gloss * (np.clip(facing, 0, 1) ** 24 - level**24)
    return np.asarray(diffuse + highlight, np.float32)


def expose(rng: np.random.Generator, light: Light) -> Picture:
    """Take a picture: exposure and slope of the light vary a little from picture to picture, and the sensor adds noise."""
    size_px = light.shape[0]
    x, y = coordinates(size_px)
    slope = rng.normal(0, 0.06, 2)
    gain = rng.normal(1, 0.03) * (1 + slope[0] * x + slope[1] * y)
    noise = rng.standard_normal((size_px, size_px), dtype=np.float32) * np.float32(rng.uniform(0.5, 3.0))
    exposed = light * gain[..., None].astype(np.float32) + noise[..., None]
    return np.asarray(np.clip(exposed, 0, 255), np.uint8)
