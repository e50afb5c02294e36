"""The frame message: CloudEvents 1.0 in Kafka's binary content mode; the same fields travel on Redis Streams.

Headers, and what a missing one means:

    ce_id           id, unique in its camera     default: `topic/partition/offset`, so a record keeps its id when read again
    ce_source       camera                       default: the message key; neither: dead letter missing_camera
    ce_type         differline.frame.v1          default: that; another type: dead letter unsupported_type
    ce_specversion  1.0                          default: that
    ce_time         capture time, RFC 3339       default: the time at which the bus received the message
    content-type    image/jpeg or image/png      default: the picture's own first bytes decide, always
    ce_product      product id                   none: dead letter missing_product
    ce_partid       serial number of the part    optional
    ce_jobid        job or order                 optional
    ce_run          a camera's run               optional, with ce_sequence: the ledger counts by them
    ce_sequence     gapless count within the run, from 0
    ce_sha256       SHA-256 of the body, hex     none: computed, nothing to compare with
    ce_simulated    ground truth of a simulator  none: a real frame
    ce_dataref      claim check: where the picture is when it is too large for the bus

The body is the encoded picture itself, never base64. The key is the camera.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import uuid_utils

from infra.errors import BadFrameError, DeadLetterReason

FRAME_TYPE = "differline.frame.v1"
SPEC_VERSION = "1.0"
MAX_TEXT = 256
_MAX_SEQUENCE = 2**63 - 1

Header = tuple[str, bytes]


@dataclass(frozen=True, slots=True)
class FrameMessage:
    """One camera frame on its way to a verdict.

    Attributes:
        frame_id: Unique within its camera; UUIDv7 when differline makes it.
        camera: Where it was taken; also the message key, so that a camera's frames stay in order.
        product: What should be on it; chooses the model.
        captured_at: When the camera took it (UTC).
        body: The encoded picture, JPEG or PNG.
        content_type: Media type of the body, as the producer states it.
        sha256: SHA-256 of the body in hex, as the producer states it; None from a foreign producer that does not.
        part_id: Serial number of the part, if known.
        job_id: Job or order, if known.
        run: A camera's run; frames within it count from 0.
        sequence: Gapless count within the run.
        simulated: Ground truth of a simulated frame: `good` or the kind of defect; None for a real one.
        dataref: Where the picture is when it is too large for the bus.
    """

    frame_id: str
    camera: str
    product: str
    captured_at: datetime
    body: bytes
    content_type: str = "image/jpeg"
    sha256: str | None = None
    part_id: str | None = None
    job_id: str | None = None
    run: str | None = None
    sequence: int | None = None
    simulated: str | None = None
    dataref: str | None = None


def new_id() -> str:
    """Return a fresh UUIDv7: ids made later sort later."""
    return str(uuid_utils.uuid7())


def sha256_hex(body: bytes) -> str:
    """Return the SHA-256 of a body in hex."""
    return hashlib.sha256(body).hexdigest()


def to_headers(frame: FrameMessage) -> tuple[Header, ...]:
    """Return the CloudEvents headers of a frame; what is None is left out."""
    texts = {
        "ce_specversion": SPEC_VERSION,
        "ce_type": FRAME_TYPE,
        "ce_id": frame.frame_id,
        "ce_source": frame.camera,
        "ce_time": frame.captured_at.astimezone(UTC).isoformat(),
        "content-type": frame.content_type,
        "ce_product": frame.product,
        "ce_partid": frame.part_id,
        "ce_jobid": frame.job_id,
        "ce_run": frame.run,
        "ce_sequence": None if frame.sequence is None else str(frame.sequence),
        "ce_sha256": frame.sha256,
        "ce_simulated": frame.simulated,
        "ce_dataref": frame.dataref,
    }
    return tuple((name, text.encode()) for name, text in texts.items() if text is not None)


def from_headers(
    headers: tuple[Header, ...], body: bytes, *, key: bytes | None, fallback_id: str, received_at: datetime
) -> FrameMessage:
    """Read a frame message as any producer may send it.

    Args:
        headers: Name and value, in the order of the message; of a repeated name the last one counts.
        body: The encoded picture.
        key: The message key.
        fallback_id: Frame id when the producer gave none; must be the same when the record is read again.
        received_at: When the bus received the message (UTC).

    Raises:
        BadFrameError: missing_camera, missing_product, bad_header or unsupported_type.
    """
    texts = _texts(headers)
    kind = texts.get("ce_type", FRAME_TYPE)
    if kind != FRAME_TYPE or texts.get("ce_specversion", SPEC_VERSION) != SPEC_VERSION:
        raise BadFrameError(DeadLetterReason.UNSUPPORTED_TYPE, f"{kind} {texts.get('ce_specversion', '')}".strip())
    camera = texts.get("ce_source") or (_text("key", key) if key else None)
    if not camera:
        raise BadFrameError(DeadLetterReason.MISSING_CAMERA, "neither ce_source nor a key")
    product = texts.get("ce_product")
    if not product:
        raise BadFrameError(DeadLetterReason.MISSING_PRODUCT, "no ce_product")
    run, sequence = texts.get("ce_run"), _sequence(texts)
    if (run is None) != (sequence is None):
        raise BadFrameError(DeadLetterReason.BAD_HEADER, "ce_run and ce_sequence belong together")
    return FrameMessage(
        frame_id=texts.get("ce_id") or fallback_id,
        camera=camera,
        product=product,
        captured_at=_time(texts["ce_time"]) if "ce_time" in texts else received_at,
        body=body,
        content_type=texts.get("content-type", ""),
        sha256=texts["ce_sha256"].lower() if "ce_sha256" in texts else None,
        part_id=texts.get("ce_partid"),
        job_id=texts.get("ce_jobid"),
        run=run,
        sequence=sequence,
        simulated=texts.get("ce_simulated"),
        dataref=texts.get("ce_dataref"),
    )


def readable_headers(headers: tuple[Header, ...]) -> dict[str, str]:
    """Return headers for a person to read in a dead letter, whatever their bytes; never raises."""
    return {_printable(name): _printable(value.decode("utf-8", "backslashreplace")) for name, value in headers}


def _printable(text: str) -> str:
    return text.replace("\0", "\\0")[: 4 * MAX_TEXT]  # PostgreSQL's text has no NUL


def _texts(headers: tuple[Header, ...]) -> dict[str, str]:
    known = {name.lower(): value for name, value in headers if name.lower().startswith(("ce_", "content-type"))}
    return {name: _text(name, value) for name, value in known.items()}


def _text(name: str, value: bytes) -> str:
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadFrameError(DeadLetterReason.BAD_HEADER, f"{name} is not UTF-8") from error
    if "\0" in text or len(text) > MAX_TEXT:
        raise BadFrameError(DeadLetterReason.BAD_HEADER, f"{name} has a NUL or more than {MAX_TEXT} characters")
    return text


def _sequence(texts: Mapping[str, str]) -> int | None:
    text = texts.get("ce_sequence")
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and int(text) <= _MAX_SEQUENCE):
        raise BadFrameError(DeadLetterReason.BAD_HEADER, f"ce_sequence {text[:40]!r} is not a count")
    return int(text)


def moment_of(text: str) -> datetime:
    """Read a time as RFC 3339 has it.

    Returns:
        It, in UTC.

    Raises:
        ValueError: It is none, or has no time zone.
    """
    try:
        time = datetime.fromisoformat(text.upper())  # RFC 3339 allows a small t and z
        if time.tzinfo is None:
            raise ValueError("no time zone")
        return time.astimezone(UTC)
    except OverflowError as error:
        raise ValueError(str(error)) from error


def _time(text: str) -> datetime:
    try:
        return moment_of(text)
    except ValueError as error:
        raise BadFrameError(DeadLetterReason.BAD_HEADER, f"ce_time {text[:40]!r} is not RFC 3339: {error}") from error


@dataclass(frozen=True, slots=True)
class FrameTraces:
    """What can be told of a frame whatever is wrong with its message; for dead letters and the ledger."""

    frame_id: str
    camera: str
    run: str | None
    sequence: int | None


def traces(headers: tuple[Header, ...], key: bytes | None, fallback_id: str) -> FrameTraces:
    """Read who sent a message and its place in the run, as far as it can be read; never raises."""
    raw = {name.lower(): value for name, value in headers}

    def readable(name: str, value: bytes | None) -> str | None:
        try:
            return None if value is None else _text(name, value)
        except BadFrameError:
            return None

    run = readable("ce_run", raw.get("ce_run"))
    try:
        sequence = _sequence({"ce_sequence": readable("ce_sequence", raw.get("ce_sequence")) or ""})
    except BadFrameError:
        sequence = None
    whole = run is not None and sequence is not None
    return FrameTraces(
        frame_id=readable("ce_id", raw.get("ce_id")) or fallback_id,
        camera=readable("ce_source", raw.get("ce_source")) or readable("key", key) or "",
        run=run if whole else None,
        sequence=sequence if whole else None,
    )
