"""The ASGI app: `POST /cameras/{camera}/frames`.

A post is refused as early as can be: the token first, then type, size and headers, and the body is read last, within a time and
within a bound for all bodies together. 202 means that the frame is on disk, in the spool of its camera.
"""

import asyncio
import hmac
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from infra.telemetry import get_logger
from ingest.http.cameras import Accepted, PostingCameras
from ingest.http.post import Post, PostRefusedError, read_length, read_post, too_large

_MOST_IN_FLIGHT = 256 * 2**20  # bytes of all bodies that are being read or written
_LOGGED_EVERY_S = 1.0

_log = get_logger("ingest")


class Tokens:
    """Who may post for which camera."""

    def __init__(self, token: str | None, of_cameras: Mapping[str, str]) -> None:
        """Take the tokens.

        Args:
            token: Of every camera that has none of its own; None: such a camera may not post where others have one.
            of_cameras: Tokens by camera.
        """
        self._token = token
        self._of_cameras = dict(of_cameras)

    def allow(self, camera: str, authorization: str) -> bool:
        """Say whether a header `Authorization` holds the camera's token; how long that takes tells nothing of it."""
        wanted = self._of_cameras.get(camera, self._token)
        if wanted is None:
            return not self._of_cameras
        scheme, _, given = authorization.partition(" ")
        same = hmac.compare_digest(given.strip().encode(), wanted.encode())
        return same and scheme.lower() == "bearer"


class FramePosts:
    """Answers posts."""

    def __init__(
        self,
        cameras: PostingCameras,
        tokens: Tokens,
        *,
        largest: int,
        read_timeout_s: float,
        default_product: str | None = None,
        on_answer: Callable[[int], None] = lambda _: None,
        on_failure: Callable[[], None] = lambda: None,
        most_in_flight: int = _MOST_IN_FLIGHT,
    ) -> None:
        """Put it together.

        Args:
            cameras: Take the frames.
            tokens: Who may post.
            largest: Largest picture, in bytes.
            read_timeout_s: How long a body may take to come, in seconds.
            default_product: The product of a post that names none.
            on_answer: Told the status of each answer.
            on_failure: Called when a frame failed for a reason that is no answer; `failure` has it.
            most_in_flight: Bound of all bodies in memory together, in bytes.
        """
        self.failure: Exception | None = None
        self._on_failure = on_failure
        self._cameras = cameras
        self._tokens = tokens
        self._largest = largest
        self._read_timeout_s = read_timeout_s
        self._default_product = default_product
        self._on_answer = on_answer
        self._most_in_flight = most_in_flight
        self._in_flight = 0
        self._logged_at = float("-inf")

    def app(self) -> Starlette:
        """Return the ASGI app."""
        handlers = {HTTPException: self._no_such_thing, PostRefusedError: self._refused}
        routes = [Route("/cameras/{camera}/frames", self._post, methods=["POST"])]
        return Starlette(routes=routes, exception_handlers=handlers)

    async def _post(self, request: Request) -> Response:
        camera = str(request.path_params["camera"])
        if not self._tokens.allow(camera, request.headers.get("authorization", "")):
            raise PostRefusedError(
                HTTPStatus.UNAUTHORIZED, "the token is missing or wrong: Authorization: Bearer TOKEN"
            )
        headers = {name: value for name, value in request.headers.items() if name != "authorization"}
        length = read_length(headers, self._largest)
        post = read_post(camera, headers, self._default_product)
        try:
            accepted = await self._take(request, post, self._largest if length is None else length)
        except ClientDisconnect:
            return Response(status_code=HTTPStatus.BAD_REQUEST)  # nobody is there to read it
        self._on_answer(HTTPStatus.ACCEPTED)
        content = {
            "frame_id": accepted.frame_id,
            "camera": camera,
            "run": accepted.run,
            "sequence": accepted.sequence,
            "repeated": accepted.repeated,
        }
        return JSONResponse(content, HTTPStatus.ACCEPTED)

    async def _take(self, request: Request, post: Post, most: int) -> Accepted:
        if self._in_flight + most > self._most_in_flight:
            raise PostRefusedError(HTTPStatus.TOO_MANY_REQUESTS, "too many pictures are on their way at once", 1)
        self._in_flight += most
        try:
            body = await self._read(request)
            return await run_in_threadpool(self._cameras.accept, post, body)
        except (PostRefusedError, ClientDisconnect):
            raise
        except Exception as error:
            self.failure = error
            self._on_failure()
            raise
        finally:
            self._in_flight -= most

    async def _read(self, request: Request) -> bytes:
        body = bytearray()
        try:
            async with asyncio.timeout(self._read_timeout_s):
                async for chunk in request.stream():
                    body += chunk
                    if len(body) > self._largest:
                        raise too_large(self._largest)
        except TimeoutError:
            raise PostRefusedError(
                HTTPStatus.REQUEST_TIMEOUT, f"the picture was not whole after {self._read_timeout_s:g} s"
            ) from None
        if not body:
            raise PostRefusedError(HTTPStatus.BAD_REQUEST, "the body is empty")
        return bytes(body)

    async def _no_such_thing(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101 - the only kind that this handles
        reason = f"there is POST /cameras/{{camera}}/frames, and no {request.method} here"
        return await self._refused(request, PostRefusedError(HTTPStatus(error.status_code), reason))

    async def _refused(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, PostRefusedError)  # noqa: S101
        self._on_answer(error.status)
        now = time.monotonic()
        if now - self._logged_at >= _LOGGED_EVERY_S:
            self._logged_at = now
            camera = request.path_params.get("camera")
            _log.warning("post_refused", camera=camera, status=int(error.status), reason=str(error))
        headers = {} if error.retry_after_s is None else {"Retry-After": str(error.retry_after_s)}
        if error.status is HTTPStatus.UNAUTHORIZED:
            headers["WWW-Authenticate"] = "Bearer"
        return JSONResponse({"error": str(error)}, error.status, headers)
