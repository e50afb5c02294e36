"""USB cameras. No machine of ours has one, and a container cannot load v4l2loopback, which would make one."""

import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from infra.errors import CameraAwayError
from ingest.sources.opencv import opened
from ingest.sources.usb import UsbCapture, kernel_age_s, open_usb


def test_without_v4l2loopback_which_cannot_load_here_a_video_file_stands_in_for_the_device(tmp_path: Path) -> None:
    path = tmp_path / "stand-in.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    for number in range(5):
        writer.write(np.full((48, 64, 3), 40 * number, np.uint8))
    writer.release()
    raw = opened(str(path), cv2.CAP_FFMPEG, {})
    assert raw is not None
    capture = UsbCapture(raw)
    seen = []
    while capture.grab():
        assert capture.age_s() == 0.0  # a file's time is not the kernel's
        pixels = capture.retrieve()
        assert pixels is not None
        seen.append(round(float(pixels.mean()) / 40))
    capture.release()
    assert seen == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("stamp_ms", "now_s", "age_s"),
    [
        (99_900.0, 100.0, 0.1),
        (100_000.0, 100.0, 0.0),
        (0.0, 100.0, 0.0),
        (-1.0, 100.0, 0.0),
        (101_000.0, 100.0, 0.0),  # of the future: another clock
        (1_700_000_000_000.0, 100.0, 0.0),  # the wall's clock
        (10_000.0, 100.0, 0.0),  # older than any picture in a queue
    ],
)
def test_the_kernels_stamp_is_believed_where_it_can_be_one(stamp_ms: float, now_s: float, age_s: float) -> None:
    assert kernel_age_s(stamp_ms, now_s) == pytest.approx(age_s)


def test_a_device_that_is_not_there_and_one_that_is_no_camera_are_told_apart(tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(CameraAwayError, match="No such file"):
        open_usb(tmp_path / "video0", timeout_s=1)
    (tmp_path / "video1").write_bytes(b"no device")
    with pytest.raises(CameraAwayError, match="is no camera, or another program has it"):
        open_usb(tmp_path / "video1", timeout_s=1)
    with pytest.raises(CameraAwayError, match="cannot be opened"):
        open_usb(tmp_path, timeout_s=1)
    assert time.monotonic() - began < 5
