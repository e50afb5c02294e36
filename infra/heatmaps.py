"""Heatmaps as 16-bit PNG on an absolute scale.

1.0 is the model's `heat_scale`, the most heat that was seen on defect-free calibration frames; a stored count is 1/1000 of it,
so 65 times that scale fits. A good part looks quiet because nothing is stretched to the picture's own range.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from infra.pictures import RgbPicture

COUNTS_PER_SCALE = 1000
QUIET = 1.0  # up to here a defect-free frame goes, too: not coloured
LOUD = 4.0  # from here on the colour is full


def encode_heatmap(heat: NDArray[np.float32]) -> bytes:
    """Encode (H, W) float32 heat, 0 and up, in units of the model's `heat_scale`, as PNG."""
    most = np.iinfo(np.uint16).max
    counts = np.clip(np.nan_to_num(heat, posinf=most, neginf=0) * COUNTS_PER_SCALE, 0, most)
    return cv2.imencode(".png", np.round(counts).astype(np.uint16))[1].tobytes()


def decode_heatmap(png: bytes) -> NDArray[np.float32]:
    """Return (H, W) float32 heat in units of the model's `heat_scale`.

    Raises:
        ValueError: The bytes are not such a PNG.
    """
    counts = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED)
    if counts is None or counts.dtype != np.uint16 or counts.ndim != 2:
        raise ValueError("not a 16-bit greyscale heatmap")
    return np.asarray(counts / COUNTS_PER_SCALE, dtype=np.float32)


def overlay(picture: RgbPicture, heat: NDArray[np.float32], strength: float) -> RgbPicture:
    """Lay heat over a picture, on the absolute scale from QUIET (clear) to LOUD (full colour).

    Args:
        picture: (H, W, 3) uint8 RGB.
        heat: (h, w) float32, in units of `heat_scale`.
        strength: Opacity of the loudest heat, 0 to 1.
    """
    height, width = picture.shape[:2]
    level = np.clip((cv2.resize(heat, (width, height), interpolation=cv2.INTER_LINEAR) - QUIET) / (LOUD - QUIET), 0, 1)
    colours = cv2.applyColorMap(np.round(level * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1]
    opacity = (np.sqrt(level) * strength)[..., None]  # the root lets faint heat be seen without hiding the part
    return np.asarray(np.round(picture * (1 - opacity) + colours * opacity), dtype=np.uint8)
