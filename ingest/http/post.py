"""What a client says of a frame that it posts: the request's headers, read and checked.

CloudEvents 1.0 in HTTP's binary mode, since the frame message is one: `ce-id`, `ce-time`, `ce-product`, `ce-partid`,
`ce-jobid`, `ce-sha256`, `ce-source`, `ce-type`, `ce-specversion`. Whoever does not speak CloudEvents writes `X-Frame-Id`,
`X-Captured-At`, `X-Product`, `X-Part-Id`, `X-Job-Id`. Characters beyond ASCII are percent-encoded UTF-8. Run and sequence are
ours.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from urllib.parse import unquote_to_bytes

from infra.errors import DifferlineError
from infra.frames import FRAME_TYPE, SPEC_VERSION, moment_of
from ingest.names import checked_name

CONTENT_TYPES = ("image/jpeg", "image/png")
_NAMES = {
    "ce-id": "x-frame-id",
    "ce-time": "x-captured-at",
    "ce-product": "x-product",
    "ce-partid": "x-part-id",
    "ce-jobid": "x-job-id",
}


class PostRefusedError(DifferlineError):
    """A post is not accepted; the client is told why.

    Attributes:
        status: HTTP's status.
        retry_after_s: When the same post may be accepted, in seconds; None: it will not be.
    """

    def __init__(self, status: HTTPStatus, reason: str, retry_after_s: int | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, slots=True)
class Post:
    """A frame as its client announces it, before its body is read.

    Attributes:
        camera: From the address.
        product: What is on it.
        content_type: `image/jpeg` or `image/png`.
        frame_id: The client's own id, by which it may post the frame again; None: it gave none.
        captured_at: When it was taken (UTC); None: when it came.
        part_id: Serial number of the part, if known.
        job_id: Job or order, if known.
        sha256: SHA-256 of the body in hex, if the client computed it.
    """

    camera: str
    product: str
    content_type: str
    frame_id: str | None = None
    captured_at: datetime | None = None
    part_id: str | None = None
    job_id: str | None = None
    sha256: str | None = None


def read_post(camera: str, headers: Mapping[str, str], default_product: str | None) -> Post:
    """Read the headers of a post.

    Args:
        camera: The camera that the address names.
        headers: By name in small letters.
        default_product: The product where the post names none.

    Raises:
        PostRefusedError: 400 or 415, with the reason.
    """
    _check("the camera", camera)
    content_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type not in CONTENT_TYPES:
        raise PostRefusedError(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            f"Content-Type must be {' or '.join(CONTENT_TYPES)}, not {content_type!r}",
        )
    texts = {name: _text(headers, name, other) for name, other in _NAMES.items()}
    _check_event(camera, headers)
    product = texts["ce-product"] or default_product
    if product is None:
        raise _bad("neither ce-product nor X-Product says what is on the picture")
    sha256 = _text(headers, "ce-sha256")
    time = texts["ce-time"]
    return Post(
        camera=camera,
        product=product,
        content_type=content_type,
        frame_id=texts["ce-id"],
        captured_at=None if time is None else _time(time),
        part_id=texts["ce-partid"],
        job_id=texts["ce-jobid"],
        sha256=None if sha256 is None else sha256.lower(),
    )


def read_length(headers: Mapping[str, str], largest: int) -> int | None:
    """Return how long the body says it is, in bytes; None: it does not say.

    Raises:
        PostRefusedError: 413 or 400.
    """
    text = headers.get("content-length")
    if text is None:
        return None
    if not (text.isascii() and text.isdigit()):
        raise _bad("Content-Length is no number")
    if int(text) > largest:
        raise too_large(largest)
    return int(text)


def too_large(largest: int) -> PostRefusedError:
    """Return the answer to a body that is larger than a frame may be."""
    return PostRefusedError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the picture is larger than {largest} bytes")


def _check_event(camera: str, headers: Mapping[str, str]) -> None:
    kind, version = headers.get("ce-type", FRAME_TYPE), headers.get("ce-specversion", SPEC_VERSION)
    if kind != FRAME_TYPE or version != SPEC_VERSION:
        raise _bad(f"ce-type must be {FRAME_TYPE}, and ce-specversion {SPEC_VERSION}")
    source = _text(headers, "ce-source")
    if source is not None and source != camera:
        raise _bad("ce-source is not the camera of the address")


def _text(headers: Mapping[str, str], name: str, other: str | None = None) -> str | None:
    given = {headers[key] for key in (name, other) if key is not None and key in headers}
    if len(given) > 1:
        raise _bad(f"{name} and {other} differ")
    if not given:
        return None
    try:
        text = unquote_to_bytes(given.pop().encode("latin-1")).decode("utf-8")
    except UnicodeError:
        raise _bad(f"{name} is not percent-encoded UTF-8") from None
    _check(name, text)
    return text


def _check(name: str, text: str) -> None:
    try:
        checked_name(text)
    except ValueError as error:
        raise _bad(f"{name} {error}") from None


def _time(text: str) -> datetime:
    try:
        return moment_of(text)
    except ValueError as error:
        raise _bad(f"the capture time is not RFC 3339: {error}") from None


def _bad(reason: str) -> PostRefusedError:
    return PostRefusedError(HTTPStatus.BAD_REQUEST, reason)
