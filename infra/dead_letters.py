"""A dead letter as it goes to the dead letter topic: the original message, byte for byte, and headers that say why.

    dl_reason, dl_detail                 why it could not be judged
    dl_topic, dl_partition, dl_offset    where it lay; consumers know a double by these
    dl_received_at                       when the bus took it, RFC 3339
    dl_frame_id                          its frame id, or what stands for one
    dl_body_ref                          the body in the archive, where it had one
    dl_left_out                          `body` or `headers`, where there was no room for them or the archive has lost them

The key is the original's, or the camera where it had none. Headers of the original come first and keep their order.
"""

import json
from datetime import UTC

from infra.bus.protocol import Message
from infra.frames import Header
from infra.store.outbox import DeadLetter

_MOST_HEADER_BYTES = 512 * 1024
_MOST_DETAIL = 4096
_ENCODING = "latin-1"  # every byte is one character, so nothing is lost on the way through JSON


def pack_original(key: bytes | None, headers: tuple[Header, ...]) -> bytes:
    """Return a message's key and headers as one value for the database, whatever their bytes."""
    pairs = [[name, value.decode(_ENCODING)] for name, value in headers]
    return json.dumps([None if key is None else key.decode(_ENCODING), pairs]).encode()


def unpack_original(packed: bytes) -> tuple[bytes | None, tuple[Header, ...]]:
    """Return the key and headers of `pack_original`; nothing of an empty value."""
    if not packed:
        return None, ()
    key, pairs = json.loads(packed)
    headers = tuple((name, value.encode(_ENCODING)) for name, value in pairs)
    return None if key is None else key.encode(_ENCODING), headers


def dead_letter_message(letter: DeadLetter, topic: str, body: bytes | None) -> Message:
    """Put the message together.

    Args:
        letter: What was stored.
        topic: The dead letter topic.
        body: The original body; None where it cannot be sent along.
    """
    key, original = unpack_original(letter.original)
    left_out = ["body"] if body is None else []
    if sum(len(name.encode("utf-8", "replace")) + len(value) for name, value in original) > _MOST_HEADER_BYTES:
        original = ()
        left_out.append("headers")
    texts = {
        "dl_reason": letter.reason,
        "dl_detail": letter.detail[:_MOST_DETAIL],
        "dl_topic": letter.topic,
        "dl_partition": str(letter.partition),
        "dl_offset": str(letter.bus_offset),
        "dl_received_at": letter.received_at.astimezone(UTC).isoformat(),
        "dl_frame_id": letter.frame_id,
        "dl_body_ref": letter.body_ref,
        "dl_left_out": ",".join(left_out) or None,
    }
    why = tuple((name, text.encode("utf-8", "replace")) for name, text in texts.items() if text is not None)
    return Message(topic, key or letter.camera.encode(), original + why, body or b"")
