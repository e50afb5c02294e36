"""Which bus: chosen by the settings, in one place."""

from infra.bus.kafka import KafkaBusConsumer, KafkaBusProducer
from infra.bus.protocol import Consumer, Observer, Producer
from infra.bus.redis_streams import RedisStreamsConsumer, RedisStreamsProducer
from infra.engines import Engines
from infra.settings import Settings


def open_producer(settings: Settings, engines: Engines) -> Producer:
    """Return a producer of the bus that the settings choose."""
    if settings.bus == "kafka":
        return KafkaBusProducer(settings)
    return RedisStreamsProducer(engines.redis_url, settings.partitions, settings.bus_max_frames)


def open_consumer(settings: Settings, engines: Engines) -> Consumer:
    """Return a scorer's consumer of the frames topic; on Kafka a member of the scorers' group."""
    if settings.bus == "kafka":
        return KafkaBusConsumer(settings, settings.frames_topic, settings.kafka_group)
    return RedisStreamsConsumer(engines.redis_url, settings.frames_topic, settings.partitions)


def open_observer(settings: Settings, engines: Engines) -> Observer:
    """Return a consumer that sees all partitions of the frames topic and takes none from a scorer."""
    if settings.bus == "kafka":
        return KafkaBusConsumer(settings, settings.frames_topic, group=None)
    return RedisStreamsConsumer(engines.redis_url, settings.frames_topic, settings.partitions)
