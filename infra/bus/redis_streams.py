"""The frames bus on Redis Streams: for one machine, one reader, positions in PostgreSQL.

A partition is the stream `differline:bus:TOPIC:N`; a message is an entry whose fields are the headers by name, then `key` and
`body` (no headers of these names travel). Entry ids are Redis' own `milliseconds-count`, so offsets keep growing even over a
flush. A stream is bounded: the producer's script adds only below the bound, and only what is stored is ever trimmed.
"""

import zlib
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import cast

import redis
from tenacity import RetryError, Retrying, retry_if_exception_type, stop_after_delay, wait_random_exponential

from infra.bus.protocol import Extent, Partition, Record
from infra.clock import whole_milliseconds
from infra.errors import BusAwayError, BusFullError, TransientError
from infra.frames import Header

_STREAM = "differline:bus:{topic}:{number}"
_PARTITION_COUNTS = "differline:bus:partitions"
_COUNT_BITS = 20  # an offset is milliseconds * 2^20 + count: 61 bits until the year 2200
_LONGEST_BLOCK_S = 5.0
_SOCKET_TIMEOUT_S = 30.0
_KEY, _BODY = b"key", b"body"

# Adds an entry unless the stream stands at its bound; one script, so two producers cannot pass it together.
_SEND = """
if redis.call('XLEN', KEYS[1]) >= tonumber(ARGV[1]) then return false end
return redis.call('XADD', KEYS[1], '*', unpack(ARGV, 2))
"""
# The number of partitions of a topic only grows, so that no entry is stranded by a smaller setting.
_GROW = """
local known = tonumber(redis.call('HGET', KEYS[1], ARGV[1]) or '0')
local wanted = tonumber(ARGV[2])
if wanted > known then redis.call('HSET', KEYS[1], ARGV[1], wanted) return wanted end
return known
"""


class RedisStreamsProducer:
    """Sends to Redis Streams; see `infra.bus.protocol.Producer`."""

    def __init__(self, url: str, partitions: int, max_frames: int) -> None:
        self._redis = _connect(url)
        self._partitions = partitions
        self._max_frames = max_frames
        self._send_script = self._redis.register_script(_SEND)

    def send(self, topic: str, key: bytes, headers: tuple[Header, ...], value: bytes, timeout_s: float) -> None:
        """Add one message; waits while the stream is full or Redis is away, at most `timeout_s`."""
        arguments: list[bytes | str | int] = [self._max_frames]
        for name, text in headers:
            arguments += [name, text]
        arguments += [_KEY, key, _BODY, value]  # last: of two fields with one name the last one counts
        retry = Retrying(
            retry=retry_if_exception_type(TransientError),
            wait=wait_random_exponential(multiplier=0.01, max=0.5),
            stop=stop_after_delay(timeout_s),
        )
        try:
            retry(self._send_once, topic, key, arguments)
        except RetryError as error:
            raise cast("TransientError", error.last_attempt.exception()) from error

    def close(self) -> None:
        """Let go of the connections."""
        self._redis.close()

    def _send_once(self, topic: str, key: bytes, arguments: list[bytes | str | int]) -> None:
        try:
            count = _partition_count(self._redis, topic, self._partitions)
            stream = _STREAM.format(topic=topic, number=zlib.crc32(key) % count)
            added = self._send_script(keys=[stream], args=arguments)
        except redis.ResponseError as error:
            if isinstance(error, redis.OutOfMemoryError) or "OOM" in str(error):  # Redis 6 has it in the script's text
                raise BusFullError(f"Redis is at its memory bound: {error}") from error
            raise BusAwayError(f"the bus refuses: {error}") from error
        except redis.RedisError as error:
            raise BusAwayError(f"the bus does not answer: {error}") from error
        if added is None:
            raise BusFullError(f"{stream} holds {self._max_frames} frames that are not scored yet")


class RedisStreamsConsumer:
    """Reads every partition of a topic; see `infra.bus.protocol.Observer`."""

    def __init__(self, url: str, topic: str, partitions: int) -> None:
        self._redis = _connect(url)
        self._topic = topic
        self._partitions = partitions
        self._next: dict[Partition, int] = {}
        self._turn = 0

    def assigned(self) -> frozenset[Partition]:
        """Return all partitions: there is one reader; a second one is fenced off by the epoch."""
        try:
            count = _partition_count(self._redis, self._topic, self._partitions)
        except redis.RedisError as error:
            raise BusAwayError(f"the bus does not answer: {error}") from error
        return frozenset(Partition(self._topic, number) for number in range(count))

    def generation(self) -> int:
        """Return the same number always: nobody takes a partition from the one reader."""
        return 0

    def rejoin(self) -> bool:
        """Return False: there is one reader, and another one has taken over."""
        return False

    def stay(self) -> None:
        """Do nothing: a stream does not mind a silent reader."""

    def seek(self, partition: Partition, offset: int) -> None:
        """Read on from the first entry at or behind `offset`."""
        self._next[partition] = offset

    def seek_to_beginning(self, partition: Partition) -> None:
        """Read on from the oldest entry."""
        self._next[partition] = 0

    def poll(self, max_records: int, timeout_s: float) -> list[Record]:
        """Read the next entries, the partitions taking turns to be first."""
        if not self._next:
            return []
        order = sorted(self._next)
        self._turn = (self._turn + 1) % len(order)
        streams = {_name(p): _entry_id(self._next[p] - 1) for p in order[self._turn :] + order[: self._turn]}
        share = max(1, max_records // len(order))
        block_ms = int(min(timeout_s, _LONGEST_BLOCK_S) * 1000) or None  # 0 would wait for ever
        try:
            answer = self._redis.xread(streams, count=share, block=block_ms)  # type: ignore[arg-type]
        except redis.RedisError as error:
            raise BusAwayError(f"the bus does not answer: {error}") from error
        by_name = {_name(p).encode(): p for p in order}
        records = [
            _record(by_name[name], entry_id, fields)
            for name, entries in cast("list[tuple[bytes, list[tuple[bytes, dict[bytes, bytes]]]]]", answer or [])
            for entry_id, fields in entries
        ][:max_records]
        for record in records:
            self._next[record.partition] = record.offset + 1
        return records

    def done_until(self, offsets: Mapping[Partition, int]) -> None:
        """Drop the entries before these offsets: they are stored."""
        try:
            pipeline = self._redis.pipeline(transaction=False)
            for partition, offset in offsets.items():
                pipeline.xtrim(_name(partition), minid=_entry_id(offset), approximate=False)
            pipeline.execute()
        except redis.RedisError as error:
            raise BusAwayError(f"the bus does not answer: {error}") from error

    def waiting(self, partitions: Collection[Partition]) -> int:
        """Count the entries that lie at or behind the current positions."""
        try:
            return sum(self._waiting_in(partition) for partition in partitions)
        except redis.RedisError as error:
            raise BusAwayError(f"the bus does not answer: {error}") from error

    def extent(self, partition: Partition) -> Extent:
        """Ask for the first entry and the last id; after a flush a stream knows of no id any more."""
        try:
            stream = self._redis.xinfo_stream(_name(partition))
        except redis.ResponseError:  # there is none
            return Extent(0, 0)
        except redis.RedisError as error:
            raise BusAwayError(f"the bus does not answer: {error}") from error
        end = _offset(stream["last-generated-id"]) + 1
        first = stream["first-entry"]
        return Extent(_offset(first[0]) if first else end, end)

    def count(self, partition: Partition, since: int, until: int) -> int:
        """Count the entries one page after the other."""
        if until <= since:
            return 0
        found, start, end = 0, _entry_id(since), _entry_id(until - 1)
        try:
            while page := self._page(partition, start, end):
                found += len(page)
                start = "(" + page[-1][0].decode()
        except redis.RedisError as error:
            raise BusAwayError(f"the bus does not answer: {error}") from error
        return found

    def offset_at(self, partition: Partition, time: datetime) -> int:
        """Make an offset of the time: an entry's id has the millisecond at which it came."""
        return min(whole_milliseconds(time) << _COUNT_BITS, self.extent(partition).end)

    def leave(self, partition: Partition) -> None:
        """Read no more of a partition."""
        self._next.pop(partition, None)

    def close(self) -> None:
        """Let go of the connections."""
        self._redis.close()

    def _page(self, partition: Partition, start: str, end: str) -> list[tuple[bytes, object]]:
        return cast("list[tuple[bytes, object]]", self._redis.xrange(_name(partition), start, end, count=32))

    def _waiting_in(self, partition: Partition) -> int:
        total = int(self._redis.xlen(_name(partition)))
        before, end = 0, _entry_id(self._next.get(partition, 0) - 1)
        start = "-"
        while page := self._page(partition, start, end):
            before += len(page)  # fetched or scored, not dropped yet: a batch or two
            start = "(" + page[-1][0].decode()
        return max(0, total - before)


def _connect(url: str) -> redis.Redis:
    return redis.Redis.from_url(url, socket_timeout=_SOCKET_TIMEOUT_S, socket_connect_timeout=5)


def _partition_count(client: redis.Redis, topic: str, wanted: int) -> int:
    return int(cast("int", client.eval(_GROW, 1, _PARTITION_COUNTS, topic, str(wanted))))


def _name(partition: Partition) -> str:
    return _STREAM.format(topic=partition.topic, number=partition.number)


def _entry_id(offset: int) -> str:
    offset = max(offset, 0)
    return f"{offset >> _COUNT_BITS}-{offset & ((1 << _COUNT_BITS) - 1)}"


def _offset(entry_id: bytes) -> int:
    milliseconds, count = (int(part) for part in entry_id.split(b"-"))
    if count >> _COUNT_BITS:
        raise BusAwayError(
            f"Redis has given out more than a million ids of one millisecond, {entry_id.decode()}: its clock jumped far back; "
            "frames stay on the bus, and what lies behind them cannot be read"
        )
    return (milliseconds << _COUNT_BITS) + count


def _record(partition: Partition, entry_id: bytes, fields: dict[bytes, bytes]) -> Record:
    offset = _offset(entry_id)
    return Record(
        partition=partition,
        offset=offset,
        key=fields.get(_KEY) or None,
        headers=tuple(
            (name.decode("utf-8", "backslashreplace"), value)
            for name, value in fields.items()
            if name not in (_KEY, _BODY)
        ),
        value=fields.get(_BODY, b""),
        received_at=datetime.fromtimestamp((offset >> _COUNT_BITS) / 1000, UTC),
    )
