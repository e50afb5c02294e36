"""How sharp, bright and contrasty a picture is: three numbers that tell of the lens and the light, not of the part.

They mean something beside those of other pictures of the same camera only: each part has its own edges and colours.
"""

import math
from typing import NamedTuple

import cv2
import numpy as np

from infra.pictures import RgbPicture

LONGEST_PX = 512
_LEAST_VARIANCE = 1e-3  # of a picture without any edge: its logarithm must still be a number


class PictureQuality(NamedTuple):
    """The three numbers, rounded to single precision as the database keeps them.

    Attributes:
        focus: Natural logarithm of the variance of the Laplacian; a blur of the lens lowers it, noise raises it.
        brightness: Mean grey level, 0 to 255.
        contrast: Standard deviation of the grey levels.
    """

    focus: float
    brightness: float
    contrast: float

    @property
    def sharpness(self) -> float:
        """Focus for the contrast that there is: less light does not lower it, a blur does."""
        return self.focus - math.log(self.contrast**2 + _LEAST_VARIANCE)


def picture_quality(picture: RgbPicture) -> PictureQuality:
    """Measure a picture, shrunk by the whole number that brings its longer side to LONGEST_PX at most.

    One camera's pictures are all shrunk alike. By a whole number it takes a tenth of the time, and pixels are averaged,
    never dropped.

    Source of focus: Pech-Pacheco et al., "Diatom autofocusing in brightfield microscopy: a comparative study", ICPR 2000.

    Args:
        picture: (H, W, 3) uint8 RGB.
    """
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    step = math.ceil(max(grey.shape) / LONGEST_PX)
    height, width = (max(1, side // step) for side in grey.shape)
    if step > 1:
        grey = cv2.resize(grey[: height * step, : width * step], (width, height), interpolation=cv2.INTER_AREA)
    brightness, contrast = cv2.meanStdDev(grey)
    _, edges = cv2.meanStdDev(cv2.Laplacian(grey, cv2.CV_16S))
    focus = math.log(float(edges[0, 0]) ** 2 + _LEAST_VARIANCE)
    return PictureQuality(*(float(np.float32(value)) for value in (focus, brightness[0, 0], contrast[0, 0])))
