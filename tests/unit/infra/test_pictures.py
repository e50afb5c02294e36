import io
import struct
import tracemalloc
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from infra.errors import BadFrameError, DeadLetterReason
from infra.pictures import RgbPicture, decode, encode_jpeg, encode_png, thumbnail

MAX_PIXELS = 1_000_000
GRADIENT = np.stack([np.tile(np.arange(64, dtype=np.uint8) * 4, (48, 1)), *np.full((2, 48, 64), 90, np.uint8)], axis=2)
ORIENTATION = 0x0112
TURN_CLOCKWISE = 6


def encoded(picture: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()


def png(width: int, height: int, depth: int, colour: int, pixels: bytes, *between: tuple[bytes, bytes]) -> bytes:
    """A PNG by hand, so that headers may say what no encoder would write."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = [(b"IHDR", header), *between, (b"IDAT", pixels), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*each) for each in chunks)


def png_16_bit(values: "np.ndarray[tuple[int, ...], np.dtype[np.int64]]", colour: int) -> bytes:
    """A 16-bit PNG of (H, W, channels) values from 0 to 65535."""
    height, width = values.shape[:2]
    rows = values.astype(">u2").reshape(height, -1)
    return png(width, height, 16, colour, zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows)))


def refusal(data: bytes, max_pixels: int = MAX_PIXELS) -> DeadLetterReason:
    with pytest.raises(BadFrameError) as caught:
        decode(data, max_pixels)
    return caught.value.reason


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", DeadLetterReason.EMPTY_BODY),
        (b"\0", DeadLetterReason.NOT_AN_IMAGE),
        (b"this is text, whatever its name ends in", DeadLetterReason.NOT_AN_IMAGE),
        (encoded(Image.fromarray(GRADIENT), "GIF"), DeadLetterReason.NOT_AN_IMAGE),
        (encoded(Image.fromarray(GRADIENT), "BMP"), DeadLetterReason.NOT_AN_IMAGE),
        (encode_png(GRADIENT)[:8], DeadLetterReason.NOT_AN_IMAGE),
        (encode_png(GRADIENT)[:-30], DeadLetterReason.BROKEN_IMAGE),
        (encode_jpeg(GRADIENT)[:-200], DeadLetterReason.BROKEN_IMAGE),
        (encode_jpeg(GRADIENT)[:300], DeadLetterReason.BROKEN_IMAGE),
        (png(64, 48, 8, 2, b"not deflate"), DeadLetterReason.BROKEN_IMAGE),
    ],
    ids=["empty", "one byte", "text", "GIF", "BMP", "signature", "cut PNG", "cut JPEG", "JPEG head", "no deflate"],
)
def test_what_is_no_whole_picture_is_refused_with_its_reason(data: bytes, reason: DeadLetterReason) -> None:
    assert refusal(data) is reason


@pytest.mark.parametrize("cut", [0.3, 0.6, 0.9])
@pytest.mark.parametrize("encode", [encode_jpeg, encode_png, lambda noise: png_16_bit(noise, 2)])
def test_a_picture_that_was_cut_never_passes_as_half_grey(encode: Callable[[RgbPicture], bytes], cut: float) -> None:
    noise = np.random.default_rng(3).integers(0, 255, (300, 80, 3), np.uint8)
    data = encode(noise)
    assert refusal(data[: int(len(data) * cut)]) is DeadLetterReason.BROKEN_IMAGE


def test_a_png_comes_out_as_it_went_in_and_a_jpeg_nearly() -> None:
    assert np.array_equal(decode(encode_png(GRADIENT), MAX_PIXELS), GRADIENT)
    difference = np.abs(decode(encode_jpeg(GRADIENT), MAX_PIXELS).astype(int) - GRADIENT)
    assert difference.mean() < 3


WIDE_VALUES = [0, 1, 128, 129, 256, 257, 32767, 32768, 65000, 65535]
SCALED_VALUES = [0, 0, 0, 1, 1, 1, 127, 128, 253, 255]


@pytest.mark.parametrize(
    ("colour", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)], ids=["grey", "RGB", "grey A", "RGBA"]
)
def test_16_bits_are_scaled_and_never_clipped(colour: int, channels: int) -> None:
    values = np.repeat(np.array(WIDE_VALUES)[None, :, None], channels, axis=2)
    expected = np.repeat(np.array(SCALED_VALUES)[None, :, None], 3, axis=2)
    assert np.array_equal(decode(png_16_bit(values, colour), MAX_PIXELS), expected)


def test_16_bit_colours_keep_their_order() -> None:
    values = np.array([[[65535, 257 * 100, 0]]])
    assert decode(png_16_bit(values, 2), MAX_PIXELS).tolist() == [[[255, 100, 0]]]


@pytest.mark.parametrize(
    ("colour", "inks"), [((255, 255, 255), (0, 0, 0, 0)), ((0, 0, 0), (0, 0, 0, 255)), ((255, 0, 0), (0, 255, 255, 0))]
)
def test_cmyk_becomes_about_the_same_colours(colour: tuple[int, ...], inks: tuple[int, ...]) -> None:
    picture = decode(encoded(Image.new("CMYK", (16, 8), inks), "JPEG", quality=95), MAX_PIXELS)
    assert picture.shape == (8, 16, 3)
    assert np.abs(picture.astype(int) - colour).max() <= 12


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_greyscale_is_repeated_over_the_channels(kind: str) -> None:
    picture = decode(encoded(Image.fromarray(GRADIENT[..., 0]), kind), MAX_PIXELS)
    assert np.array_equal(picture, picture[..., :1].repeat(3, axis=2))
    assert np.abs(picture[..., 0].astype(int) - GRADIENT[..., 0]).max() <= 4


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA"])
def test_every_kind_of_png_becomes_rgb(mode: str) -> None:
    black_and_white = np.where(np.arange(64)[None, :, None] < 32, 0, 255).repeat(48, axis=0).repeat(3, axis=2)
    whole = Image.fromarray(black_and_white.astype(np.uint8)).convert(mode)
    assert np.array_equal(decode(encoded(whole, "PNG"), MAX_PIXELS), black_and_white)


def test_a_palette_with_a_clear_colour_keeps_its_colours() -> None:
    picture = Image.new("P", (4, 1))
    picture.putpalette([200, 10, 10, 10, 200, 10])
    picture.putdata([0, 1, 0, 1])
    expected = [[[200, 10, 10], [10, 200, 10]] * 2]
    assert decode(encoded(picture, "PNG", transparency=1), MAX_PIXELS).tolist() == expected


def test_alpha_is_left_out_and_the_colours_below_it_count() -> None:
    picture = Image.new("RGBA", (2, 1), (10, 20, 30, 0))
    assert decode(encoded(picture, "PNG"), MAX_PIXELS).tolist() == [[[10, 20, 30]] * 2]


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_exif_orientation_is_applied(kind: str) -> None:
    lying = np.zeros((40, 64, 3), np.uint8)
    lying[:16, :16] = 255  # top left, as the sensor sees it
    exif = Image.Exif()
    exif[ORIENTATION] = TURN_CLOCKWISE
    upright = decode(encoded(Image.fromarray(lying), kind, exif=exif), MAX_PIXELS)
    assert upright.shape == (64, 40, 3)
    assert upright[:12, -12:].min() > 240  # now top right
    assert upright[20:].max() < 15


def test_exif_orientation_is_applied_to_16_bits_too() -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = TURN_CLOCKWISE
    row = zlib.compress(b"\0" + np.array([65535, 257], ">u2").tobytes())
    picture = decode(png(2, 1, 16, 0, row, (b"eXIf", exif.tobytes()[6:])), MAX_PIXELS)
    assert picture[..., 0].tolist() == [[255], [1]]


@pytest.mark.parametrize("shape", [(1, 1), (1, 20_000), (20_000, 1)])
@pytest.mark.parametrize("encode", [encode_jpeg, encode_png])
def test_odd_sizes_are_pictures_too(shape: tuple[int, int], encode: Callable[[RgbPicture], bytes]) -> None:
    picture = decode(encode(np.full((*shape, 3), 77, np.uint8)), MAX_PIXELS)
    assert picture.shape == (*shape, 3)
    assert picture.min() >= 75


def test_the_limit_itself_is_allowed_and_one_row_more_is_not() -> None:
    assert decode(encode_png(GRADIENT), 64 * 48).shape == (48, 64, 3)
    assert refusal(encode_png(GRADIENT), 64 * 48 - 1) is DeadLetterReason.TOO_MANY_PIXELS


@pytest.mark.parametrize("depth", [8, 16])
def test_a_huge_picture_is_refused_from_its_header_without_decoding(depth: int) -> None:
    # A decoder that got at these pixels would call the picture broken.
    assert refusal(png(64, 48, depth, 2, b"these are no pixels")) is DeadLetterReason.BROKEN_IMAGE
    tracemalloc.start()
    with pytest.raises(BadFrameError, match="20000 x 20000 px, the limit is 50000000 px") as caught:
        decode(png(20_000, 20_000, depth, 2, b"these are no pixels"), 50_000_000)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert caught.value.reason is DeadLetterReason.TOO_MANY_PIXELS
    assert most < 2**20


def test_a_png_chunk_longer_than_the_file_is_refused_before_anybody_makes_room_for_it() -> None:
    whole = png_16_bit(np.full((8, 8, 1), 40_000), 0)
    end = whole.rindex(b"IEND") - 4
    lying = whole[:end] + b"\x7f\xff\xff\xff" + whole[end + 4 :]
    assert decode(whole, MAX_PIXELS).shape == (8, 8, 3)
    with pytest.raises(BadFrameError, match="2147483647 bytes that are not there"):
        decode(lying, MAX_PIXELS)


def test_a_jpeg_that_states_more_pixels_than_its_bytes_can_hold_is_broken_not_grey() -> None:
    whole = encode_jpeg(GRADIENT)
    at = whole.index(b"\xff\xc0") + 5
    lying = whole[:at] + (4_000).to_bytes(2, "big") + (4_000).to_bytes(2, "big") + whole[at + 4 :]
    with pytest.raises(BadFrameError, match="4000 x 4000 px cannot have") as caught:
        decode(lying, 50_000_000)
    assert caught.value.reason is DeadLetterReason.BROKEN_IMAGE


@pytest.mark.parametrize("options", [{}, {"optimize": True}, {"progressive": True}])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_the_flattest_jpeg_is_still_a_picture(mode: str, options: dict[str, bool]) -> None:
    flat = encoded(Image.new(mode, (4_000, 3_000), 0), "JPEG", quality=10, **options)
    assert decode(flat, 50_000_000).shape == (3_000, 4_000, 3)


MUTANTS = {
    "JPEG": encode_jpeg(GRADIENT),
    "PNG": encode_png(GRADIENT),
    "PNG 16": png_16_bit(np.random.default_rng(0).integers(0, 65535, (20, 20, 3)), 2),
    "palette": encoded(Image.fromarray(GRADIENT).convert("P"), "PNG"),
}


@pytest.mark.parametrize("kind", MUTANTS)
def test_mutated_bytes_end_in_a_picture_or_a_bad_frame(kind: str) -> None:
    random = np.random.default_rng(20_26)
    original = MUTANTS[kind]
    refused = 0
    for _ in range(200):
        data = bytearray(original)
        for place in random.integers(0, len(data), random.integers(1, 12)):
            data[place] = random.integers(0, 256)
        try:
            picture = decode(bytes(data[: random.integers(len(data) // 2, len(data) + 1)]), MAX_PIXELS)
        except BadFrameError:
            refused += 1
        else:
            assert picture.dtype == np.uint8
            assert picture.ndim == 3
    assert refused > 0


def test_a_thumbnail_keeps_the_shape_and_never_grows() -> None:
    assert thumbnail(GRADIENT, 32).shape == (24, 32, 3)
    assert thumbnail(np.zeros((20_000, 1, 3), np.uint8), 480).shape == (480, 1, 3)
    assert thumbnail(GRADIENT, 64) is GRADIENT
