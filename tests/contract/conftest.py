"""Every frames bus, as the contract sees it. Another one joins by a fixture like `redis_bus` and its name in `params`."""

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psutil
import pytest
import redis

from infra.bus import Observer, Producer
from infra.bus.embedded import EmbeddedRedis
from infra.bus.kafka import KafkaBusConsumer, KafkaBusProducer
from infra.bus.redis_streams import RedisStreamsConsumer, RedisStreamsProducer
from infra.bus.topics import create_topics
from infra.engines import Engines
from infra.settings import Settings

from ..kafka_server import KafkaServer


@dataclass(frozen=True, slots=True)
class Topic:
    """A fresh topic; producers and consumers are closed when the test ends."""

    name: str
    producer: Callable[[], Producer]
    consumer: Callable[[], Observer]


NewTopic = Callable[..., Topic]
"""(partitions=1, max_frames=10_000): a topic with so many partitions, each with room for so many messages."""


@dataclass(frozen=True, slots=True)
class MortalBus:
    """A bus with a server of its own that can be killed and started again on the same data."""

    new_topic: NewTopic
    kill: Callable[[], None]
    start: Callable[[], object]


KAFKA = ("kafka_bus", "kafka_group_bus")
EVERY_BUS = ["redis_bus", *(pytest.param(name, marks=pytest.mark.kafka) for name in KAFKA)]


@pytest.fixture(params=EVERY_BUS)
def new_topic(request: pytest.FixtureRequest) -> NewTopic:
    made: NewTopic = request.getfixturevalue(request.param)
    return made


@pytest.fixture(params=["redis_bus"])
def new_bounded_topic(request: pytest.FixtureRequest) -> NewTopic:
    """A bus that bounds a partition and drops what is done; Kafka keeps everything for its retention time."""
    made: NewTopic = request.getfixturevalue(request.param)
    return made


@pytest.fixture(params=["mortal_redis_bus", pytest.param("mortal_kafka_bus", marks=pytest.mark.kafka)])
def mortal_bus(request: pytest.FixtureRequest) -> MortalBus:
    made: MortalBus = request.getfixturevalue(request.param)
    return made


@pytest.fixture
def redis_bus(engines: Engines) -> Iterator[NewTopic]:
    with ExitStack() as opened:
        yield partial(_redis_topic, engines.redis_url, opened)


@pytest.fixture
def mortal_redis_bus(tmp_path: Path) -> Iterator[MortalBus]:
    server = EmbeddedRedis(tmp_path / "redis", max_memory_mb=64)
    url = server.start()
    with ExitStack() as opened:
        yield MortalBus(partial(_redis_topic, url, opened), lambda: _kill_redis(url), server.start)
    server.stop()


def _kill_redis(url: str) -> None:
    with closing(redis.Redis.from_url(url)) as client:
        server = psutil.Process(client.info("server")["process_id"])
    server.kill()
    server.wait(10)


def _redis_topic(url: str, opened: ExitStack, partitions: int = 1, max_frames: int = 10_000) -> Topic:
    name = "topic-" + uuid.uuid4().hex
    return Topic(
        name,
        lambda: opened.enter_context(closing(RedisStreamsProducer(url, partitions, max_frames))),
        lambda: opened.enter_context(closing(RedisStreamsConsumer(url, name, partitions))),
    )


@pytest.fixture
def kafka_bus(kafka: KafkaServer) -> Iterator[NewTopic]:
    """Consumers that watch, each all partitions."""
    with ExitStack() as opened:
        yield partial(_kafka_topic, kafka, opened)


@pytest.fixture
def kafka_group_bus(kafka: KafkaServer) -> Iterator[NewTopic]:
    """Consumers that are the only member of a group of their own."""
    with ExitStack() as opened:
        yield partial(_kafka_topic, kafka, opened, grouped=True)


@pytest.fixture
def mortal_kafka_bus(mortal_kafka: KafkaServer) -> Iterator[MortalBus]:
    with ExitStack() as opened:
        yield MortalBus(partial(_kafka_topic, mortal_kafka, opened), mortal_kafka.kill, mortal_kafka.start)


def _kafka_topic(server: KafkaServer, opened: ExitStack, partitions: int = 1, grouped: bool = False) -> Topic:
    name = "topic-" + uuid.uuid4().hex
    settings = Settings(bus="kafka", kafka_servers=server.address, frames_topic=name, partitions=partitions)
    create_topics(settings)

    def consumer() -> Observer:
        group = "group-" + uuid.uuid4().hex if grouped else None
        made = opened.enter_context(closing(KafkaBusConsumer(settings, name, group)))
        deadline = time.monotonic() + 30
        while len(made.assigned()) < partitions and time.monotonic() < deadline:
            made.poll(1, 0.1)  # polls make it a member
        return made

    return Topic(name, lambda: opened.enter_context(closing(KafkaBusProducer(settings))), consumer)
