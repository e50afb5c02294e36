"""From a record of the bus to its message and its picture: one way, for whoever judges frames and whoever judges them again."""

from dataclasses import dataclass, replace

from infra.bus import Record
from infra.claim_check import Fetch, fetch_nothing
from infra.errors import BadFrameError, DeadLetterReason
from infra.frames import FrameMessage, from_headers, sha256_hex
from infra.pictures import RgbPicture, decode


@dataclass(frozen=True, slots=True)
class Received:
    """A message with its picture.

    Attributes:
        message: What the producer said; its body is the picture, also where the message only said where it is.
        sha256: SHA-256 of the encoded picture, checked.
        picture: (H, W, 3) uint8 RGB.
    """

    message: FrameMessage
    sha256: str
    picture: RgbPicture


def place_of(record: Record) -> str:
    """Return where a record lies, as TOPIC/PARTITION/OFFSET: the id of a frame whose producer gave it none."""
    return f"{record.partition.topic}/{record.partition.number}/{record.offset}"


def message_of(record: Record) -> FrameMessage:
    """Read a record's message; the same whenever it is read.

    Raises:
        BadFrameError: missing_camera, missing_product, bad_header or unsupported_type.
    """
    return from_headers(
        record.headers, record.value, key=record.key, fallback_id=place_of(record), received_at=record.received_at
    )


def picture_of(message: FrameMessage, max_pixels: int, fetch: Fetch = fetch_nothing) -> Received:
    """Fetch a message's picture where it did not come along, check its hash and decode it.

    Args:
        message: The message.
        max_pixels: Largest picture that is decoded.
        fetch: Gets the picture of a message that only says where it is.

    Raises:
        BadFrameError: There is no picture, it is not what the message says, or it does not decode.
        ArchiveAwayError: The archive that the picture is in does not answer; this says nothing about the frame.
    """
    if message.dataref and not message.body:
        message = replace(message, body=fetch(message.dataref))
    digest = sha256_hex(message.body)
    if message.body and message.sha256 not in (None, digest):
        raise BadFrameError(DeadLetterReason.HASH_MISMATCH, f"the body has {digest}, its header says {message.sha256}")
    return Received(message, digest, decode(message.body, max_pixels))
