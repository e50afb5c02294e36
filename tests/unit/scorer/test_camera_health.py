from datetime import UTC, datetime, timedelta

import numpy as np

from infra.bus import Partition, Record
from infra.frames import FrameMessage, to_headers
from infra.pictures import encode_png
from scorer.camera_health import Frozen
from scorer.decode import DecodedFrame, decode_record

NOON = datetime(2026, 3, 3, 12, tzinfo=UTC)
FRAMES = Partition("frames", 0)


def frame(number: int, shade: int, camera: str = "cam") -> DecodedFrame:
    body = encode_png(np.full((8, 8, 3), shade, np.uint8))
    message = FrameMessage(f"frame {number}", camera, "tile", NOON + timedelta(seconds=number), body)
    decoded = decode_record(Record(FRAMES, number, b"cam", to_headers(message), body, NOON), 10**6)
    assert isinstance(decoded, DecodedFrame)
    return decoded


def test_a_camera_is_frozen_after_so_many_equal_pictures_and_until_another_one() -> None:
    frozen = Frozen(3)
    shades = [100, 100, 100, 100, 100, 101, 101, 100]
    seen = [frozen.looks_frozen(frame(number, shade)) for number, shade in enumerate(shades)]
    assert seen == [False, False, False, True, True, False, False, False]


def test_cameras_are_told_apart() -> None:
    frozen = Frozen(2)
    seen = [frozen.looks_frozen(frame(number, 100, f"cam {number % 2}")) for number in range(6)]
    assert seen == [False, False, False, False, True, True]


def test_a_frame_that_is_read_again_counts_once() -> None:
    frozen = Frozen(1)
    assert [frozen.looks_frozen(frame(0, 100)) for _ in range(3)] == [False] * 3
    assert frozen.looks_frozen(frame(1, 100))
    assert frozen.looks_frozen(frame(1, 100))


def test_zero_believes_all() -> None:
    frozen = Frozen(0)
    assert not any(frozen.looks_frozen(frame(number, 100)) for number in range(20))
