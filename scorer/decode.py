"""From a record of the bus to a picture that can be judged, or to the reason why not."""

import json
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import numpy as np

from infra.bus import Record
from infra.claim_check import Fetch, fetch_nothing
from infra.errors import BadFrameError, DeadLetterReason
from infra.frames import FrameMessage, FrameTraces, readable_headers, traces
from infra.picture_quality import PictureQuality, picture_quality
from infra.pictures import RgbPicture
from infra.received import message_of, picture_of, place_of
from infra.store.tables import NoVerdictReason

# A covered lens and a blinded sensor leave no structure; a dark or a bright part still has some.
_BLACK_LEVEL = 8
_WHITE_LEVEL = 247
_UNUSABLE_SHARE = 0.999


@dataclass(frozen=True, slots=True)
class DecodedFrame:
    """A frame with its picture.

    Attributes:
        record: Where it came from.
        message: What the producer said; its body is the picture, also where the message only said where it is.
        sha256: SHA-256 of the encoded picture, checked.
        picture: (H, W, 3) uint8 RGB.
        unusable: Why this picture cannot be judged; None for one that can.
        quality: How sharp, bright and contrasty it is.
        decode_s: Seconds spent on it.
    """

    record: Record
    message: FrameMessage
    sha256: str
    picture: RgbPicture
    unusable: NoVerdictReason | None
    quality: PictureQuality
    decode_s: float


@dataclass(frozen=True, slots=True)
class DeadFrame:
    """A frame that goes to the dead letters.

    Attributes:
        record: Where it came from.
        traces: What can be told of it.
        reason: Why, for the ledger.
        detail: Why, for the person who reads it.
        headers: The message's headers, as JSON.
    """

    record: Record
    traces: FrameTraces
    reason: DeadLetterReason
    detail: str
    headers: str


Outcome = DecodedFrame | DeadFrame


def decode_record(record: Record, max_pixels: int, fetch: Fetch = fetch_nothing) -> Outcome:
    """Read a record's message, check its hash and decode its picture; nothing in it can raise.

    Args:
        record: The record.
        max_pixels: Largest picture that is decoded.
        fetch: Gets the picture of a message that only says where it is.

    Raises:
        ArchiveAwayError: The archive that the picture is in does not answer; this says nothing about the frame.
    """
    started = time.perf_counter()
    try:
        received = picture_of(message_of(record), max_pixels, fetch)
    except BadFrameError as error:
        return dead_frame(record, error.reason, error.detail)
    picture = received.picture
    reason, quality = unusable(picture), picture_quality(picture)
    spent_s = time.perf_counter() - started
    return DecodedFrame(record, received.message, received.sha256, picture, reason, quality, spent_s)


@contextmanager
def decoding(
    pool: Executor, decode: Callable[[Record], Outcome], records: Sequence[Record]
) -> Iterator[list[tuple[Record, Future[Outcome]]]]:
    """Decode records in threads while the caller does something else; what was not begun at the end is left out.

    Args:
        pool: The threads.
        decode: Decodes one record.
        records: A batch.
    """
    with warnings.catch_warnings():  # each thread puts back the filters that it found, which may be another thread's
        running = [(record, pool.submit(decode, record)) for record in records]
        try:
            yield running
        finally:
            for _, future in running:
                future.cancel()


def products_of(records: Iterable[Record]) -> set[str]:
    """Return the products of records, as far as their messages can be read."""
    products = set()
    for record in records:
        with suppress(BadFrameError):
            products.add(message_of(record).product)
    return products


def dead_frame(record: Record, reason: DeadLetterReason, detail: str) -> DeadFrame:
    """Make a dead letter of a record, with whatever can be told of it."""
    found = traces(record.headers, record.key, place_of(record))
    return DeadFrame(record, found, reason, detail.replace("\0", "\\0"), json.dumps(readable_headers(record.headers)))


def unusable(picture: RgbPicture) -> NoVerdictReason | None:
    """Say why nothing can be judged on a picture: black or over-exposed all over; None where it can."""
    if np.mean(picture < _BLACK_LEVEL) >= _UNUSABLE_SHARE:
        return NoVerdictReason.BLACK
    if np.mean(picture > _WHITE_LEVEL) >= _UNUSABLE_SHARE:
        return NoVerdictReason.OVER_EXPOSED
    return None
