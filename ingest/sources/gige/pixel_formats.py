"""Pixels as a camera sends them, by GenICam's names and codes (PFNC), made into what OpenCV encodes."""

from dataclasses import dataclass

import cv2
import numpy as np

from ingest.shaping import Pixels


@dataclass(frozen=True, slots=True)
class PixelFormat:
    """One format of 8 bits a channel; `conversion` is OpenCV's to BGR, None where nothing is to be done."""

    name: str
    channels: int
    conversion: int | None = None


# GenICam names a Bayer pattern by its first row, OpenCV's old names by its second; these are the new ones.
FORMATS = {
    0x01080001: PixelFormat("Mono8", 1),
    0x02180014: PixelFormat("RGB8", 3, cv2.COLOR_RGB2BGR),
    0x02180015: PixelFormat("BGR8", 3),
    0x01080008: PixelFormat("BayerGR8", 1, cv2.COLOR_BayerGRBG2BGR),
    0x01080009: PixelFormat("BayerRG8", 1, cv2.COLOR_BayerRGGB2BGR),
    0x0108000A: PixelFormat("BayerGB8", 1, cv2.COLOR_BayerGBRG2BGR),
    0x0108000B: PixelFormat("BayerBG8", 1, cv2.COLOR_BayerBGGR2BGR),
}
NAMES = tuple(form.name for form in FORMATS.values())


def picture(code: int, width: int, height: int, raw: bytes | bytearray) -> Pixels | None:
    """Return a picture, (H, W) or (H, W, 3) uint8 in BGR; None when it is not whole.

    Args:
        code: The format's code, a key of `FORMATS`.
        width: In pixels.
        height: In pixels.
        raw: What the camera sent; what follows the pixels is left out.
    """
    form = FORMATS[code]
    size = width * height * form.channels
    if not size or len(raw) < size:
        return None
    flat = np.frombuffer(raw, np.uint8, size)
    pixels = flat.reshape((height, width) if form.channels == 1 else (height, width, form.channels))
    return pixels if form.conversion is None else cv2.cvtColor(pixels, form.conversion)
