import numpy as np
import pytest

from infra.errors import SettingsError
from infra.frames import MAX_TEXT
from ingest.part_id import CodeReader, Identity, PartCode, parsed_pattern
from ingest.shaping import Pixels

from ...rtsp_camera import with_qr


def with_ean13(digits: str) -> Pixels:
    """A picture with an EAN-13 barcode, drawn by its standard."""
    left = [
        "0001101",
        "0011001",
        "0010011",
        "0111101",
        "0100011",
        "0110001",
        "0101111",
        "0111011",
        "0110111",
        "0001011",
    ]
    parity = ["LLLLLL", "LLGLGG", "LLGGLG", "LLGGGL", "LGLLGG", "LGGLLG", "LGGGLL", "LGLGLG", "LGLGGL", "LGGLGL"]
    right = ["".join("10"[int(bit)] for bit in code) for code in left]
    numbers = [int(digit) for digit in digits]
    bars = "101"
    for number, kind in zip(numbers[1:7], parity[numbers[0]], strict=True):
        bars += left[number] if kind == "L" else right[number][::-1]
    bars += "01010" + "".join(right[number] for number in numbers[7:]) + "101"
    row = np.array([0 if bar == "1" else 255 for bar in bars], np.uint8).repeat(4)
    picture = np.full((500, 700, 3), 255, np.uint8)
    picture[180:320, 150 : 150 + row.size] = row[None, :, None]
    return picture


@pytest.mark.parametrize(
    ("pattern", "name", "found"),
    [
        (r"(?P<part>\d+)_", "order7/000123_top.jpg", Identity("000123")),
        (r"(?P<job>[^/]+)/(?P<part>\d+)", "order7/000123_top.jpg", Identity("000123", "order7")),
        (r"^(?P<job>\w+)/", "order7/000123_top.jpg", Identity(None, "order7")),
        (r"(?P<part>X\d+)", "order7/000123_top.jpg", None),
        (r"(?P<part>.*)", "x" * 400, Identity("x" * MAX_TEXT)),
        (r"(?P<part>.*)-", "  -", Identity(None)),
    ],
)
def test_part_and_job_are_read_from_a_name(pattern: str, name: str, found: Identity | None) -> None:
    assert parsed_pattern(pattern).identity(name) == found


@pytest.mark.parametrize("pattern", ["(", "no groups", r"(\d+)", r"(?P<serial>\d+)", r"(?P<part>a)(?P<x>b)"])
def test_a_pattern_that_names_no_part_is_refused(pattern: str) -> None:
    with pytest.raises(SettingsError, match="part pattern"):
        parsed_pattern(pattern)


def test_a_qr_code_is_read_wherever_it_is() -> None:
    assert CodeReader(PartCode.QR).part_id(with_qr("SN-0042/ä")) == "SN-0042/ä"


def test_a_barcode_is_read() -> None:
    assert CodeReader(PartCode.BARCODE).part_id(with_ean13("4006381333931")) == "4006381333931"


def test_two_codes_that_disagree_are_no_part_and_two_that_agree_are_one() -> None:
    reader = CodeReader(PartCode.QR)
    assert reader.part_id(with_qr("A-1", "B-2")) is None
    assert reader.part_id(with_qr("A-1", "A-1")) == "A-1"
    assert reader.unread == 1


@pytest.mark.parametrize("code", list(PartCode))
@pytest.mark.parametrize(
    "pixels",
    [
        np.full((200, 200, 3), 128, np.uint8),
        np.random.default_rng(0).integers(0, 255, (240, 320, 3), np.uint8),
        np.zeros((1, 1), np.uint8),
        np.zeros((50, 60), np.uint16),
    ],
)
def test_a_picture_without_a_code_has_no_part_and_raises_nothing(code: PartCode, pixels: Pixels) -> None:
    reader = CodeReader(code)
    assert reader.part_id(pixels) is None
    assert reader.unread == 1


def test_sixteen_bits_and_grey_are_read_too() -> None:
    grey = with_qr("A-1")[..., 0]
    assert CodeReader(PartCode.QR).part_id(grey) == "A-1"
    assert CodeReader(PartCode.QR).part_id(grey.astype(np.uint16) * 257) == "A-1"
