"""A USB camera, or whatever else is a V4L2 device on Linux, through OpenCV."""

import os
import re
import time
from pathlib import Path

import cv2

from infra.errors import CameraAwayError
from ingest.sources.opencv import Capture, OpenCvCapture, opened

_TIMEOUT_VARIABLE = "OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT"
_BELIEVED_S = 10.0  # an older time stamp is of another clock


class UsbCapture(OpenCvCapture):
    """Takes the time of a picture from the kernel, which stamps it when the camera's driver has it."""

    def age_s(self) -> float:
        """Say how long ago the driver had the picture, in seconds; 0 where it does not say."""
        return kernel_age_s(self.get(cv2.CAP_PROP_POS_MSEC), time.monotonic())


def open_usb(
    device: Path, *, timeout_s: float, size: tuple[int, int] | None = None, fps: float | None = None
) -> Capture:
    """Open a device such as `/dev/video0` or `/dev/v4l/by-id/…`.

    Args:
        device: The device.
        timeout_s: How long a picture may take, in seconds.
        size: Width and height that the camera is asked for; it takes the nearest that it has.
        fps: Pictures a second that the camera is asked for.

    Raises:
        CameraAwayError: There is no such device, it is taken, or it is no camera.
    """
    try:
        with device.open("rb", buffering=0):
            pass
    except PermissionError as error:
        raise CameraAwayError(
            f"{device} may not be opened by this user (on Debian: add it to the group video)"
        ) from error
    except OSError as error:
        raise CameraAwayError(f"{device} cannot be opened: {error.strerror or error}") from error
    os.environ[_TIMEOUT_VARIABLE] = str(max(1, round(timeout_s)))  # OpenCV takes whole seconds, and from here only
    capture = opened(
        _opencv_name(device), cv2.CAP_V4L2, {}
    )  # with what a driver does not know it would not open at all
    if capture is None:
        raise CameraAwayError(f"{device} is no camera, or another program has it")
    if size is not None:
        capture.set(cv2.CAP_PROP_FRAME_WIDTH, size[0])
        capture.set(cv2.CAP_PROP_FRAME_HEIGHT, size[1])
    if fps is not None:
        capture.set(cv2.CAP_PROP_FPS, fps)
    return UsbCapture(capture)


def kernel_age_s(stamp_ms: float, monotonic_s: float) -> float:
    """Return the age of a picture by its V4L2 time stamp, which is of the monotonic clock.

    Args:
        stamp_ms: The time stamp in milliseconds.
        monotonic_s: The monotonic clock now, in seconds.
    """
    age_s = monotonic_s - stamp_ms / 1000.0
    return age_s if stamp_ms > 0 and 0.0 <= age_s <= _BELIEVED_S else 0.0


def _opencv_name(device: Path) -> str:
    """Return the name by which OpenCV knows a device: it wants `/dev/video0`, not a link to it."""
    real = device.resolve()
    return str(real if re.fullmatch(r"/dev/video\d+", str(real)) else device)
