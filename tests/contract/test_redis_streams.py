"""What is Redis Streams' own, beside the contract."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import redis

from infra.bus import Partition
from infra.bus.embedded import EmbeddedRedis
from infra.bus.redis_streams import RedisStreamsConsumer, RedisStreamsProducer
from infra.errors import BusFullError


@pytest.fixture
def small_redis(tmp_path: Path) -> Iterator[str]:
    """A Redis with room for a few large frames only."""
    server = EmbeddedRedis(tmp_path / "redis", max_memory_mb=6)
    yield server.start()
    server.stop()


def test_redis_at_its_memory_bound_is_full_and_pushes_nothing_out(small_redis: str) -> None:
    accepted = 0
    with (
        closing(RedisStreamsProducer(small_redis, 1, 1000)) as producer,
        closing(RedisStreamsConsumer(small_redis, "frames", 1)) as consumer,
    ):
        with pytest.raises(BusFullError, match="memory bound"):  # noqa: PT012 - which send is one too many, is open
            while accepted < 100:
                producer.send("frames", b"cam", (), bytes(2**20), timeout_s=0.1)
                accepted += 1
        assert 0 < accepted < 6
        assert consumer.waiting([Partition("frames", 0)]) == accepted
        consumer.seek_to_beginning(Partition("frames", 0))
        (first,) = consumer.poll(1, 1.0)
        consumer.done_until({first.partition: first.offset + 1})
        producer.send("frames", b"cam", (), bytes(2**20), timeout_s=10)


def test_a_smaller_number_of_partitions_strands_nothing(redis_url: str) -> None:
    with (
        closing(RedisStreamsProducer(redis_url, 8, 1000)) as before,
        closing(RedisStreamsConsumer(redis_url, "frames", 2)) as consumer,
        closing(RedisStreamsProducer(redis_url, 2, 1000)) as after,
    ):
        keys = [f"camera {number}".encode() for number in range(40)]
        for producer in (before, after):
            for key in keys:
                producer.send("frames", key, (), b"", timeout_s=10)
        assert len(consumer.assigned()) == 8
        for partition in consumer.assigned():
            consumer.seek_to_beginning(partition)
        records = [record for _ in range(10) for record in consumer.poll(100, 0.1)]
        places = {(record.key, record.partition) for record in records}
        assert len(records) == 80
        assert len(places) == 40  # a key stays where it was


def test_an_entry_that_another_program_added_is_read_as_it_is(redis_url: str) -> None:
    with (
        closing(redis.Redis.from_url(redis_url)) as client,
        closing(RedisStreamsConsumer(redis_url, "frames", 1)) as consumer,
    ):
        client.xadd("differline:bus:frames:0", {b"\xff name": b"text"})
        consumer.seek_to_beginning(Partition("frames", 0))
        (record,) = consumer.poll(1, 1.0)
        assert (record.key, record.headers, record.value) == (None, (("\\xff name", b"text"),), b"")
