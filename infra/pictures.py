"""From encoded bytes to pixels, and back: one strict door for every picture that comes in."""

import io
import warnings
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from infra.errors import BadFrameError, DeadLetterReason

RgbPicture = NDArray[np.uint8]
"""(H, W, 3) uint8, red first."""

SUFFIXES = frozenset({".jpg", ".jpeg", ".png"})

_FORMATS = ("JPEG", "PNG")
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CHUNK_FRAME = 12  # length, name and checksum around a PNG chunk's data
_JPEG_PIXELS_A_BYTE = (
    512  # a Huffman code has a bit at least, a block 64 pixels; libjpeg fills what is missing with grey
)
_SIXTEEN_BIT_STEP = 257  # 65535 / 255: a 16-bit value is scaled to 8 bits, never clipped

Image.MAX_IMAGE_PIXELS = None  # Pillow's limit holds for the whole process and comes before ours: `max_pixels` decides


def picture_files(folder: Path) -> list[Path]:
    """Find the JPEG and PNG files below a folder by their suffixes, at any depth, in the order of their paths."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())


def decode(data: bytes, max_pixels: int) -> RgbPicture:
    """Decode a JPEG or PNG into 8-bit RGB, upright.

    The size is read from the header and checked before a pixel is decoded. EXIF rotation is applied, CMYK and palettes are
    converted, greyscale is repeated over the channels, an alpha channel is left out (the colours below it count), and
    16 bits a channel are scaled to 8.

    Args:
        data: The encoded picture.
        max_pixels: Largest width x height that is decoded.

    Returns:
        (H, W, 3) uint8, red first.

    Raises:
        BadFrameError: empty_body, not_an_image, too_many_pixels or broken_image.
    """
    if not data:
        raise BadFrameError(DeadLetterReason.EMPTY_BODY, "the message has no picture")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of odd metadata
        try:
            with Image.open(io.BytesIO(data), formats=_FORMATS) as picture:
                _check_size(picture, max_pixels, len(data))
                return _upright_rgb(picture, data)
        except BadFrameError:
            raise
        except UnidentifiedImageError as error:
            raise BadFrameError(DeadLetterReason.NOT_AN_IMAGE, "neither JPEG nor PNG") from error
        except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error, ...
            raise BadFrameError(DeadLetterReason.BROKEN_IMAGE, str(error) or type(error).__name__) from error


def _check_size(picture: Image.Image, max_pixels: int, size: int) -> None:
    width, height = picture.size
    if width * height > max_pixels:
        raise BadFrameError(DeadLetterReason.TOO_MANY_PIXELS, f"{width} x {height} px, the limit is {max_pixels} px")
    if picture.format == "JPEG" and width * height > _JPEG_PIXELS_A_BYTE * size:
        raise BadFrameError(DeadLetterReason.BROKEN_IMAGE, f"a JPEG of {width} x {height} px cannot have {size} bytes")


def _upright_rgb(picture: Image.Image, data: bytes) -> RgbPicture:
    picture.load()  # raises on a truncated file, where OpenCV would hand out a half-grey picture
    if picture.format == "PNG" and _png_bit_depth(data) == 16:
        narrow = Image.fromarray(_scaled_from_16_bit(data))
        narrow.info = picture.info  # with its EXIF
        picture = narrow
    upright = ImageOps.exif_transpose(picture)
    if upright.mode in ("LA", "RGBA", "PA", "P"):
        upright = upright.convert("RGBA")
    return np.ascontiguousarray(np.asarray(upright.convert("RGB")))


def _png_bit_depth(data: bytes) -> int:
    return data[24]  # IHDR is the first chunk by the standard: 8 signature, 8 chunk head, 8 size, then the depth


def _require_whole_chunks(data: bytes) -> None:
    """Refuse a PNG with a chunk that is longer than the file: OpenCV would first make room for it, gigabytes and seconds."""
    at, kind = len(_PNG_SIGNATURE), b""
    while kind != b"IEND":
        length, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        at += _CHUNK_FRAME + length
        if at > len(data):
            raise BadFrameError(
                DeadLetterReason.BROKEN_IMAGE, f"a PNG chunk {kind!r} of {length} bytes that are not there"
            )


def _scaled_from_16_bit(data: bytes) -> RgbPicture:
    """Decode through OpenCV: Pillow has no 16-bit RGB mode and would drop the low byte."""
    _require_whole_chunks(data)
    wide = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if wide is None or wide.dtype != np.uint16:
        raise BadFrameError(DeadLetterReason.BROKEN_IMAGE, "a 16-bit PNG that does not decode")
    channels = np.atleast_3d(wide)
    grey = channels.shape[2] <= 2  # with or without alpha
    colours = np.repeat(channels[..., :1], 3, axis=2) if grey else channels[..., 2::-1]
    return np.ascontiguousarray(np.round(colours / _SIXTEEN_BIT_STEP).astype(np.uint8))


def encode_jpeg(picture: RgbPicture, quality: int = 95) -> bytes:
    """Encode (H, W, 3) uint8 RGB as JPEG."""
    return _encode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])


def encode_png(picture: RgbPicture) -> bytes:
    """Encode (H, W, 3) uint8 RGB as PNG."""
    return _encode(".png", picture, [])


def thumbnail(picture: RgbPicture, longest_px: int) -> RgbPicture:
    """Shrink so that the longer side has at most `longest_px`; smaller pictures stay as they are."""
    height, width = picture.shape[:2]
    scale = longest_px / max(height, width)
    if scale >= 1:
        return picture
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _encode(extension: str, picture: RgbPicture, options: list[int]) -> bytes:
    encoded = cv2.imencode(extension, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), options)[1]
    return encoded.tobytes()
