import cv2
import numpy as np
import pytest

from infra.errors import SettingsError, SourceError
from ingest.shaping import Pixels, Region, Shaping, Size, cut, parsed_region, parsed_size, resized

PICTURE = np.random.default_rng(3).integers(0, 255, (60, 80, 3), np.uint8)


def decoded(body: bytes) -> Pixels:
    return cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_UNCHANGED)


def test_png_is_without_loss_and_jpeg_gets_smaller_with_its_quality() -> None:
    png = Shaping(jpeg_quality=None)
    assert png.content_type == "image/png"
    assert np.array_equal(decoded(png.encoded(PICTURE)), PICTURE)
    sizes = [len(Shaping(jpeg_quality=quality).encoded(PICTURE)) for quality in (20, 70, 95)]
    assert sizes == sorted(sizes)
    assert Shaping().content_type == "image/jpeg"


def test_sixteen_bits_stay_sixteen_in_png() -> None:
    deep = PICTURE[..., 0].astype(np.uint16) * 257
    assert np.array_equal(decoded(Shaping(jpeg_quality=None).encoded(deep)), deep)


def test_first_it_is_cut_then_resized() -> None:
    shaping = Shaping(Region(10, 20, 40, 30), Size(20, 15), None)
    expected = cv2.resize(PICTURE[20:50, 10:50], (20, 15), interpolation=cv2.INTER_AREA)
    assert np.array_equal(decoded(shaping.encoded(PICTURE)), expected)


def test_a_fine_stripe_pattern_becomes_grey_and_not_another_pattern() -> None:
    stripes = np.tile(np.array([0, 255], np.uint8), (60, 40))
    assert np.ptp(resized(stripes, Size(40, 30))) <= 1


@pytest.mark.parametrize("region", [Region(41, 0, 40, 60), Region(0, 1, 80, 60), Region(500, 500, 1, 1)])
def test_a_region_beyond_the_picture_is_an_error_with_both_sizes(region: Region) -> None:
    with pytest.raises(SourceError, match="80x60"):
        cut(PICTURE, region)


def test_a_region_up_to_the_edge_fits() -> None:
    assert cut(PICTURE, Region(40, 30, 40, 30)).shape == (30, 40, 3)


@pytest.mark.parametrize("text", ["", "1,2,3", "1,2,3,0", "-1,0,5,5", "a,b,c,d", "1,2,3,4,5", "1.5,0,3,3"])
def test_what_is_no_region_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="X,Y,WIDTH,HEIGHT"):
        parsed_region(text)


@pytest.mark.parametrize("text", ["", "640", "0x480", "640x0", "640x-1", "99999x2", "640*480"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="WIDTHxHEIGHT"):
        parsed_size(text)


def test_regions_and_sizes_are_read() -> None:
    assert parsed_region("1, 2,30,40") == Region(1, 2, 30, 40)
    assert parsed_size("640X480") == Size(640, 480)


def test_a_picture_too_large_for_a_jpeg_is_an_error_and_no_crash() -> None:
    with pytest.raises(SourceError, match="70000"):
        Shaping().encoded(np.zeros((1, 70_000), np.uint8))
