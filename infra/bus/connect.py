"""Which bus: chosen by the settings, in one place."""

from infra.bus.protocol import Consumer, Producer
from infra.bus.redis_streams import RedisStreamsConsumer, RedisStreamsProducer
from infra.engines import Engines
from infra.settings import Settings


def open_producer(settings: Settings, engines: Engines) -> Producer:
    """Return a producer of the bus that the settings choose."""
    return RedisStreamsProducer(engines.redis_url, settings.partitions, settings.bus_max_frames)


def open_consumer(settings: Settings, engines: Engines) -> Consumer:
    """Return a consumer of the frames topic on the bus that the settings choose."""
    return RedisStreamsConsumer(engines.redis_url, settings.frames_topic, settings.partitions)
