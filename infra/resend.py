"""A dead letter sent again, once what was wrong is mended: the same bytes, as a frame of its own.

It gets an id that follows from where it lay, so that sending it twice makes one frame; and no place in its camera's run, where
it is accounted for as a dead letter already.
"""

import sqlalchemy as sa

from infra.archive import Archive
from infra.bus.protocol import Producer
from infra.dead_letters import unpack_original
from infra.errors import BadFrameError, DeadLetterReason
from infra.frames import Header, sha256_hex
from infra.store.audit import letter_subject, record
from infra.store.connect import transaction
from infra.store.health import LetterKey
from infra.store.reasons import checked_reason
from infra.store.tables import dead_letters

_TIMEOUT_S = 5.0
_ANEW = ("ce_id", "ce_run", "ce_sequence")
RESENT_OF = "ce_resentof"  # a header that nothing reads: for the person who looks at the message


def send_again(
    database: sa.Engine, archive: Archive, producer: Producer, key: LetterKey, *, topic: str, who: str, reason: str
) -> str:
    """Send a dead letter to the frames topic again and put that on record.

    Args:
        database: Where it is kept.
        archive: Where its body is.
        producer: Sends it.
        key: Which.
        topic: The frames topic.
        who: Who wants it.
        reason: Why.

    Returns:
        The id of the new frame.

    Raises:
        ValueError: The reason is empty or too long.
        LookupError: There is no such dead letter, or its original message was not kept.
        BadFrameError: Its body is gone from the archive.
        TransientError: Database, archive or bus do not answer. It may have been sent; to try again is safe.
    """
    text = checked_reason(reason)
    row = dead_letters.c
    wanted = sa.select(row.original, row.camera, row.frame_id, row.body_ref).where(
        row.received_at == key.received_at,
        row.topic == key.topic,
        row.partition == key.partition,
        row.bus_offset == key.bus_offset,
    )
    with transaction(database) as connection:
        letter = connection.execute(wanted).one_or_none()
        if letter is None:
            raise LookupError("there is no such dead letter")
        if not letter.original:
            raise LookupError("its original message was not kept")
        body = b"" if letter.body_ref is None else _body(archive, letter.body_ref)
        original_key, headers = unpack_original(letter.original)
        place = f"{key.topic}/{key.partition}/{key.bus_offset}"
        frame_id = f"again-{sha256_hex(place.encode())[:32]}"
        detail = {"frame_id": frame_id}
        record(connection, who, "send_again", letter_subject(place), reason=text, detail=detail)
        message_key = original_key or letter.camera.encode()
        producer.send(topic, message_key, _headers(headers, frame_id, letter.frame_id), body, _TIMEOUT_S)
    return frame_id


def _headers(original: tuple[Header, ...], frame_id: str, before: str) -> tuple[Header, ...]:
    kept = tuple((name, value) for name, value in original if name.lower() not in _ANEW)
    return (*kept, ("ce_id", frame_id.encode()), (RESENT_OF, before.encode("utf-8", "replace")))


def _body(archive: Archive, ref: str) -> bytes:
    try:
        return archive.read(ref)
    except FileNotFoundError as error:
        archive.check_present()
        raise BadFrameError(DeadLetterReason.DATAREF_MISSING, "its body is gone from the archive") from error
