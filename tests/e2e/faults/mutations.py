"""Twelve kinds of damage to an encoded picture, each a pure function of the bytes and a seeded generator.

They damage what decoders trip over: lengths, sizes, markers, checksums and entropy-coded data.
"""

import random
import struct
import zlib
from collections.abc import Callable

Mutation = Callable[[bytes, random.Random], bytes]

_INTERESTING = (
    b"\x00" * 4,
    b"\xff" * 4,
    b"\x7f\xff\xff\xff",
    b"\x80\x00\x00\x00",
    b"\xff\xd9\xff\xd8",
    b"\x00\x01\x00\x00",
)
_CHUNK_REST = 12


def flip_bits(body: bytes, drawn: random.Random) -> bytes:
    """Flip one to sixteen bits anywhere."""
    changed = bytearray(body)
    for _ in range(drawn.randint(1, 16)):
        changed[drawn.randrange(len(changed))] ^= 1 << drawn.randrange(8)
    return bytes(changed)


def truncate(body: bytes, drawn: random.Random) -> bytes:
    """Cut the end off."""
    return body[: drawn.randrange(len(body))]


def cut_out(body: bytes, drawn: random.Random) -> bytes:
    """Leave bytes out of the middle."""
    start = drawn.randrange(len(body))
    return body[:start] + body[start + drawn.randint(1, 64) :]


def insert_noise(body: bytes, drawn: random.Random) -> bytes:
    """Put random bytes in."""
    at = drawn.randrange(len(body))
    return body[:at] + drawn.randbytes(drawn.randint(1, 64)) + body[at:]


def overwrite_with_interesting(body: bytes, drawn: random.Random) -> bytes:
    """Write a number that overflows, or a marker, over some bytes."""
    at = drawn.randrange(len(body))
    value = drawn.choice(_INTERESTING)
    return body[:at] + value + body[at + len(value) :]


def zero_a_range(body: bytes, drawn: random.Random) -> bytes:
    """Blank a part, as a disk block that was never written."""
    start = drawn.randrange(len(body))
    length = min(drawn.randint(1, 512), len(body) - start)
    return body[:start] + bytes(length) + body[start + length :]


def repeat_a_range(body: bytes, drawn: random.Random) -> bytes:
    """Write a part several times."""
    start = drawn.randrange(len(body))
    part = body[start : start + drawn.randint(1, 256)]
    return body[:start] + part * drawn.randint(2, 50) + body[start:]


def append_garbage(body: bytes, drawn: random.Random) -> bytes:
    """Go on behind the end, with noise or with another picture's beginning."""
    return body + drawn.choice([drawn.randbytes(2000), body[: len(body) // 2]])


def damage_the_header(body: bytes, drawn: random.Random) -> bytes:
    """Change bytes among the first 32: magic number, first marker, first length."""
    changed = bytearray(body)
    for _ in range(drawn.randint(1, 4)):
        changed[drawn.randrange(min(32, len(changed)))] = drawn.randrange(256)
    return bytes(changed)


def lie_about_the_size(body: bytes, drawn: random.Random) -> bytes:
    """State another width and height, with a correct checksum: small, odd or enormous."""
    width, height = (drawn.choice([0, 1, 2, 65_500, 30_000, 0x7FFFFFFF, drawn.randint(1, 5000)]) for _ in range(2))
    if body.startswith(b"\x89PNG"):
        header = b"IHDR" + struct.pack(">II", width, height) + body[24:29]
        return body[:12] + header + struct.pack(">I", zlib.crc32(header)) + body[33:]
    at = _start_of_frame(body)
    if at is None:
        return flip_bits(body, drawn)
    return body[: at + 5] + struct.pack(">HH", height & 0xFFFF, width & 0xFFFF) + body[at + 9 :]


def lie_about_a_length(body: bytes, drawn: random.Random) -> bytes:
    """State another length of a segment or chunk."""
    starts = _chunks(body) if body.startswith(b"\x89PNG") else _segments(body)
    if not starts:
        return flip_bits(body, drawn)
    at = drawn.choice(starts)
    if body.startswith(b"\x89PNG"):
        return body[:at] + struct.pack(">I", drawn.choice([0, 1, 0xFFFFFFFF, 0x7FFFFFFF, 9_000_000])) + body[at + 4 :]
    return body[: at + 2] + struct.pack(">H", drawn.choice([0, 1, 2, 0xFFFF, 300])) + body[at + 4 :]


def shuffle_the_parts(body: bytes, drawn: random.Random) -> bytes:
    """Change the order of segments or chunks, leave one out or write one twice."""
    starts = _chunks(body) if body.startswith(b"\x89PNG") else _segments(body)
    if len(starts) < 2:
        return flip_bits(body, drawn)
    parts = [body[start:stop] for start, stop in zip(starts, [*starts[1:], len(body)], strict=True)]
    match drawn.randrange(3):
        case 0:
            drawn.shuffle(parts)
        case 1:
            parts.pop(drawn.randrange(len(parts)))
        case _:
            parts.insert(drawn.randrange(len(parts)), drawn.choice(parts))
    return body[: starts[0]] + b"".join(parts)


MUTATIONS: tuple[Mutation, ...] = (
    flip_bits,
    truncate,
    cut_out,
    insert_noise,
    overwrite_with_interesting,
    zero_a_range,
    repeat_a_range,
    append_garbage,
    damage_the_header,
    lie_about_the_size,
    lie_about_a_length,
    shuffle_the_parts,
)


def _chunks(body: bytes) -> list[int]:
    """Where the chunks of a PNG begin."""
    starts, at = [], 8
    while at + _CHUNK_REST <= len(body):
        starts.append(at)
        at += _CHUNK_REST + int.from_bytes(body[at : at + 4], "big")
    return starts


def _segments(body: bytes) -> list[int]:
    """Where the marker segments of a JPEG begin, up to its scan."""
    starts, at = [], 2
    while at + 4 <= len(body) and body[at] == 0xFF:
        starts.append(at)
        if body[at + 1] == 0xDA:
            break
        at += 2 + int.from_bytes(body[at + 2 : at + 4], "big")
    return starts


def _start_of_frame(body: bytes) -> int | None:
    return next((at for at in _segments(body) if 0xC0 <= body[at + 1] <= 0xC2), None)
