"""What becomes of a camera's picture before it is sent: a part of it, another size, JPEG or PNG."""

import re
from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from infra.errors import SettingsError, SourceError

Pixels = NDArray[np.uint8] | NDArray[Any]  # (H, W) or (H, W, 3) in BGR; uint8, or uint16 for PNG

JPEG_QUALITY = 95
_REGION = re.compile(r"(\d+),(\d+),(\d+),(\d+)")
_SIZE = re.compile(r"(\d+)x(\d+)")
_LARGEST_SIDE = 65_500  # JPEG's own limit


class Region(NamedTuple):
    """A part of the picture, in pixels from its upper left corner."""

    x: int
    y: int
    width: int
    height: int


class Size(NamedTuple):
    """Width and height in pixels."""

    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Shaping:
    """How a picture is cut, resized and encoded, in this order.

    Attributes:
        region: The part that is sent; None: all of it.
        size: What the part is resized to; None: it stays.
        jpeg_quality: 1 to 100; None: PNG, without loss and several times larger.
    """

    region: Region | None = None
    size: Size | None = None
    jpeg_quality: int | None = JPEG_QUALITY

    @property
    def content_type(self) -> str:
        """Media type of what `encoded` returns."""
        return "image/png" if self.jpeg_quality is None else "image/jpeg"

    def encoded(self, pixels: Pixels) -> bytes:
        """Return the picture as it is sent.

        Raises:
            SourceError: The region does not lie within the picture, or the picture cannot be encoded.
        """
        shaped = resized(cut(pixels, self.region), self.size)
        suffix, options = (".png", []) if self.jpeg_quality is None else (".jpg", self._jpeg_options)
        try:
            done, body = cv2.imencode(suffix, shaped, options)
        except cv2.error as error:
            raise SourceError(f"a picture of {_size_of(shaped)} cannot be encoded as {suffix[1:]}") from error
        if not done:
            raise SourceError(f"a picture of {_size_of(shaped)} cannot be encoded as {suffix[1:]}")
        return body.tobytes()

    @property
    def _jpeg_options(self) -> list[int]:
        return [cv2.IMWRITE_JPEG_QUALITY, self.jpeg_quality or JPEG_QUALITY]


def cut(pixels: Pixels, region: Region | None) -> Pixels:
    """Return the part of a picture; no copy is made.

    Raises:
        SourceError: It does not lie within the picture.
    """
    if region is None:
        return pixels
    height, width = pixels.shape[:2]
    if region.x + region.width > width or region.y + region.height > height:
        raise SourceError(
            f"the region {','.join(map(str, region))} does not lie within the camera's pictures of {width}x{height}"
        )
    return pixels[region.y : region.y + region.height, region.x : region.x + region.width]


def resized(pixels: Pixels, size: Size | None) -> Pixels:
    """Return the picture in another size; averaging where it gets smaller, so that fine texture does not alias."""
    if size is None or (pixels.shape[1], pixels.shape[0]) == size:
        return pixels
    smaller = size.width <= pixels.shape[1] and size.height <= pixels.shape[0]
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA if smaller else cv2.INTER_CUBIC)


def parsed_region(text: str) -> Region:
    """Read `X,Y,WIDTH,HEIGHT` in pixels.

    Raises:
        SettingsError: It is no such text, or the region is empty.
    """
    found = _REGION.fullmatch(text.replace(" ", ""))
    region = Region(*map(int, found.groups())) if found else None
    if region is None or not (region.width and region.height):
        raise SettingsError("a region is X,Y,WIDTH,HEIGHT in pixels, such as 100,40,640,480")
    return region


def parsed_size(text: str) -> Size:
    """Read `WIDTHxHEIGHT` in pixels.

    Raises:
        SettingsError: It is no such text, or a side is 0 or too long for a JPEG.
    """
    found = _SIZE.fullmatch(text.replace(" ", "").lower())
    size = Size(*map(int, found.groups())) if found else None
    if size is None or not all(0 < side <= _LARGEST_SIDE for side in size):
        raise SettingsError("a size is WIDTHxHEIGHT in pixels, such as 640x480")
    return size


def _size_of(pixels: Pixels) -> str:
    return f"{pixels.shape[1]}x{pixels.shape[0]}"
