"""Which part a picture shows: by the name of its file, or by a code that is in the picture."""

import re
from dataclasses import dataclass, field
from enum import StrEnum

import cv2
import numpy as np

from infra.errors import SettingsError
from infra.frames import MAX_TEXT
from ingest.shaping import Pixels

_GROUPS = {"part", "job"}
_BLUR = 3  # OpenCV finds bars with hard edges less often


class PartCode(StrEnum):
    """A code in the picture."""

    QR = "qr"
    BARCODE = "barcode"  # EAN-13, EAN-8 and UPC-A, which is what OpenCV reads


@dataclass(frozen=True, slots=True)
class Identity:
    """Part and job of a picture, as far as they are known."""

    part_id: str | None = None
    job_id: str | None = None


@dataclass(frozen=True, slots=True)
class PartNames:
    """Reads part and job out of a file's name.

    Attributes:
        pattern: With the named groups `part`, `job` or both; found anywhere in the path below the folder.
    """

    pattern: "re.Pattern[str]"

    def identity(self, name: str) -> Identity | None:
        """Return what the name says; None when the pattern does not fit it."""
        found = self.pattern.search(name)
        if found is None:
            return None
        groups = found.groupdict()
        return Identity(carried(groups.get("part")), carried(groups.get("job")))


@dataclass(slots=True)
class CodeReader:
    """Reads the part id from a QR code or a barcode.

    Attributes:
        code: Which of them.
        unread: Pictures in which none was found.
    """

    code: PartCode
    unread: int = 0
    _qr: "cv2.QRCodeDetector | None" = field(default=None, init=False)
    _barcode: "cv2.barcode.BarcodeDetector | None" = field(default=None, init=False)

    def part_id(self, pixels: Pixels) -> str | None:
        """Return what the code says; None when there is none, or two that say different things."""
        picture = pixels if pixels.dtype == np.uint8 else (pixels >> 8).astype(np.uint8)
        try:
            texts = self._texts(np.ascontiguousarray(picture))
        except cv2.error:  # OpenCV's detectors raise on some pictures
            texts = ()
        said = {text for text in map(carried, texts) if text is not None}
        if len(said) != 1:
            self.unread += 1
            return None
        return said.pop()

    def _texts(self, picture: Pixels) -> tuple[str, ...]:
        if self.code is PartCode.QR:
            self._qr = self._qr or cv2.QRCodeDetector()
            return tuple(self._qr.detectAndDecodeMulti(picture)[1])
        self._barcode = self._barcode or cv2.barcode.BarcodeDetector()
        found = tuple(self._barcode.detectAndDecodeMulti(picture)[1])
        if any(found) or min(picture.shape[:2]) < _BLUR:
            return found
        return tuple(self._barcode.detectAndDecodeMulti(cv2.GaussianBlur(picture, (_BLUR, _BLUR), 0))[1])


def parsed_pattern(text: str) -> PartNames:
    r"""Read a pattern such as `(?P<job>\w+)/(?P<part>\d+)_`.

    Raises:
        SettingsError: It is no regular expression, or names neither `part` nor `job`, or something else.
    """
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise SettingsError(f"the part pattern is no regular expression: {error}") from error
    named = set(pattern.groupindex)
    if not named or named - _GROUPS:
        raise SettingsError("the part pattern needs the named groups (?P<part>…), (?P<job>…) or both, and no other")
    return PartNames(pattern)


def parsed_code(text: str) -> PartCode:
    """Read the name of a kind of code.

    Raises:
        SettingsError: There is none of this name.
    """
    try:
        return PartCode(text)
    except ValueError:
        raise SettingsError(f"the part code must be one of: {', '.join(PartCode)}") from None


def carried(text: str | None) -> str | None:
    """Return a text as a message can carry it; None for an empty one."""
    return "".join(c for c in text or "" if c.isprintable()).strip()[:MAX_TEXT] or None
