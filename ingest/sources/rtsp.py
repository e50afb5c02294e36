"""An RTSP camera through OpenCV's FFmpeg, over TCP, with time-outs."""

import time

import cv2

from infra.telemetry import get_logger
from ingest.sources.address import CameraAddress
from ingest.sources.opencv import Capture, OpenCvCapture, opened
from ingest.sources.rtsp_answer import why_not

# nobuffer: what FFmpeg reads to know the stream is dropped, not handed out late all at once; half a second of it is enough
_OPTIONS = "rtsp_transport;tcp|fflags;nobuffer|analyzeduration;500000"
_SAY_AGAIN_S = 60.0

_log = get_logger("ingest")


class RtspCapture(OpenCvCapture):
    """Looks out for pictures that come in pieces."""

    def __init__(self, capture: "cv2.VideoCapture", address: CameraAddress) -> None:
        """Take over a capture that is open."""
        super().__init__(capture)
        self._address = address
        self._last_pts: float | None = None
        self._said_at = float("-inf")

    def grab(self) -> bool:
        """Wait for the next picture, as long as the capture's time-out."""
        if not super().grab():
            return False
        pts = self.get(cv2.CAP_PROP_PTS)
        if pts == self._last_pts and pts > 0:
            self._say_in_pieces()
        self._last_pts = pts
        return True

    def _say_in_pieces(self) -> None:
        now_s = time.monotonic()
        if now_s - self._said_at >= _SAY_AGAIN_S:
            self._said_at = now_s
            _log.error(
                "picture_in_pieces",
                address=self._address.shown,
                reason="two pictures have the same time stamp: FFmpeg may put slices together wrongly; set the camera to one "
                "slice a picture, or to JPEG",
            )


def open_rtsp(address: CameraAddress, *, timeout_s: float) -> Capture:
    """Open a stream.

    Args:
        address: Where.
        timeout_s: How long it may take to open, and to send a picture, in seconds.

    Raises:
        CameraAwayError: It does not answer, or has no picture; the text holds no password.
        CameraLoginError: It refuses the login.
    """
    limits = {
        cv2.CAP_PROP_OPEN_TIMEOUT_MSEC: timeout_s * 1000,
        cv2.CAP_PROP_READ_TIMEOUT_MSEC: timeout_s * 1000,
        cv2.CAP_PROP_N_THREADS: 1,  # each further one keeps a picture back
    }
    capture = opened(address.secret, cv2.CAP_FFMPEG, limits, _OPTIONS)
    if capture is None:
        raise why_not(address, timeout_s)
    return RtspCapture(capture, address)
