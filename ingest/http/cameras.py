"""The cameras that post: a line for each, opened with its first frame, and what becomes of a frame that was read whole."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus

from infra.clock import Clock, utc_now
from infra.errors import DifferlineError, SpoolFullError
from infra.frames import sha256_hex
from infra.telemetry import get_logger
from ingest.camera_line import CameraLine
from ingest.http.post import Post, PostRefusedError, too_large
from ingest.sources import CapturedPicture

_RETRY_AFTER_S = 5

_log = get_logger("ingest")


@dataclass(frozen=True, slots=True)
class Accepted:
    """A frame that is on disk, in the spool of its camera; `repeated`: it was already."""

    frame_id: str
    run: str
    sequence: int
    repeated: bool


@dataclass(slots=True)
class _Posting:
    line: CameraLine
    opened: AbstractContextManager[CameraLine]
    lock: threading.Lock = field(default_factory=threading.Lock)


class PostingCameras:
    """The lines of the cameras that post. Any thread may hand frames in; a context manager that closes them all."""

    def __init__(
        self,
        open_line: Callable[[str], AbstractContextManager[CameraLine]],
        *,
        most: int,
        largest: int,
        clock: Clock = utc_now,
    ) -> None:
        """Know of no camera yet.

        Args:
            open_line: Opens the line of a camera, with a spool.
            most: How many cameras there may be.
            largest: Largest picture, in bytes.
            clock: The capture time of a frame that has none.
        """
        self._open_line = open_line
        self._most = most
        self._largest = largest
        self._clock = clock
        self._lock = threading.Lock()
        self._cameras: dict[str, _Posting] = {}

    def __enter__(self) -> "PostingCameras":
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            cameras = list(self._cameras.values())
            self._cameras.clear()
        with ThreadPoolExecutor(max_workers=max(1, len(cameras))) as closing:  # each may wait for a bus that is away
            list(closing.map(lambda camera: camera.opened.__exit__(None, None, None), cameras))

    def open(self, camera: str) -> None:
        """Open the line of a camera before its first frame, to send what an earlier process left in its spool.

        Raises:
            PostRefusedError: There are too many cameras, or another process has this one.
        """
        self._posting(camera)

    def health(self) -> str | None:
        """Return None while all is well, else the reason of one camera."""
        with self._lock:
            cameras = list(self._cameras.values())
        return next((why for camera in cameras if (why := camera.line.health())), None)

    def accept(self, post: Post, body: bytes) -> Accepted:
        """Take a frame: when this returns it is on disk, under the next number of its camera.

        A frame that comes again under its client's id is answered as before and not taken again.

        Raises:
            PostRefusedError: 400, 409, 413, 429 or 503, with the reason.
        """
        sha256 = sha256_hex(body)
        if post.sha256 is not None and post.sha256 != sha256:
            raise PostRefusedError(
                HTTPStatus.BAD_REQUEST, "the body's SHA-256 is not ce-sha256: it was damaged on its way"
            )
        picture = CapturedPicture(
            body=body,
            content_type=post.content_type,
            captured_at=post.captured_at or self._clock(),
            part_id=post.part_id,
            job_id=post.job_id,
            name=post.frame_id,
            product=post.product,
        )
        camera = self._posting(post.camera)
        try:
            with camera.lock:
                return self._known(camera, post, sha256) or self._send(camera, picture, post.frame_id)
        except SpoolFullError as error:
            _log.warning("post_held_up", camera=post.camera, reason=str(error))
            raise PostRefusedError(
                HTTPStatus.TOO_MANY_REQUESTS,
                "the spool of this camera is full: the bus is away or full",
                _RETRY_AFTER_S,
            ) from error

    def _known(self, camera: _Posting, post: Post, sha256: str) -> Accepted | None:
        if post.frame_id is None or camera.line.spool is None:
            return None
        known = camera.line.spool.known(post.frame_id)
        if known is None:
            return None
        if known.sha256 != sha256:
            raise PostRefusedError(HTTPStatus.CONFLICT, "another picture was accepted under this id")
        return Accepted(post.frame_id, known.run, known.sequence, repeated=True)

    def _send(self, camera: _Posting, picture: CapturedPicture, frame_id: str | None) -> Accepted:
        frame = camera.line.gateway.send(picture, frame_id)
        if frame is None:
            raise too_large(self._largest)
        return Accepted(frame.frame_id, frame.run or "", frame.sequence or 0, repeated=False)

    def _posting(self, name: str) -> _Posting:
        with self._lock:
            if name in self._cameras:
                return self._cameras[name]
            if len(self._cameras) >= self._most:
                raise PostRefusedError(
                    HTTPStatus.SERVICE_UNAVAILABLE,
                    f"{self._most} cameras post already, see DIFFERLINE_HTTP_MAX_CAMERAS",
                )
            try:
                opened = self._open_line(name)
                self._cameras[name] = _Posting(opened.__enter__(), opened)
            except DifferlineError as error:
                _log.error("camera_not_opened", camera=name, reason=str(error))
                raise PostRefusedError(
                    HTTPStatus.SERVICE_UNAVAILABLE, "this camera cannot be taken now; the log of ingest says why", 30
                ) from error
            return self._cameras[name]


def open_left_over(cameras: PostingCameras, names: list[str]) -> None:
    """Open the lines of cameras whose spools hold frames of an earlier process."""
    for name in names:
        with suppress(PostRefusedError):  # it is in the log; the camera's next post tries again
            cameras.open(name)
