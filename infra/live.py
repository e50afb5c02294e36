"""Live state in Redis: what must be fresh and may be lost.

Everything here can be rebuilt from PostgreSQL. Writers never fail because of it (`best_effort`), readers fall back.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import cast

import redis
import structlog

_LATEST = "differline:live:latest:{camera}"
_HEARTBEAT = "differline:live:heartbeat:{service}:{worker}"
_LATEST_KEPT_S = 24 * 3600
_TIMEOUT_S = 2.0


@dataclass(frozen=True, slots=True)
class LatestFrame:
    """The newest judged frame of a camera.

    Attributes:
        camera: The camera.
        frame_id: The frame.
        received_at: When the bus took it, ISO 8601 in UTC.
        jpeg: A thumbnail, at most 480 px a side; empty where the frame could not be decoded.
    """

    camera: str
    frame_id: str
    received_at: str
    jpeg: bytes


class LiveState:
    """Reads and writes the live state; connects when first used."""

    def __init__(self, url: str) -> None:
        self._redis = redis.Redis.from_url(url, socket_timeout=_TIMEOUT_S, socket_connect_timeout=_TIMEOUT_S)

    def show_frames(self, frames: Iterable[LatestFrame]) -> None:
        """Store the newest frame of each camera.

        Raises:
            redis.RedisError: Redis is away; wrap the call in `best_effort`.
        """
        pipeline = self._redis.pipeline(transaction=False)
        for frame in frames:
            key = _LATEST.format(camera=frame.camera)
            pipeline.hset(key, items=["frame_id", frame.frame_id, "received_at", frame.received_at, "jpeg", frame.jpeg])
            pipeline.expire(key, _LATEST_KEPT_S)
        pipeline.execute()

    def latest_frame(self, camera: str) -> LatestFrame | None:
        """Return the newest frame of a camera; None where Redis has none.

        Raises:
            redis.RedisError: Redis is away; the caller falls back to the store.
        """
        fields = cast("dict[bytes, bytes]", self._redis.hgetall(_LATEST.format(camera=camera)))
        if not fields:
            return None
        return LatestFrame(camera, fields[b"frame_id"].decode(), fields[b"received_at"].decode(), fields[b"jpeg"])

    def beat(self, service: str, worker: str, ttl_s: int) -> None:
        """Say that a worker is alive for the next `ttl_s` seconds.

        Raises:
            redis.RedisError: Redis is away; wrap the call in `best_effort`.
        """
        self._redis.set(_HEARTBEAT.format(service=service, worker=worker), b"1", ex=ttl_s)

    def alive(self, service: str) -> int:
        """Return how many workers of a service are alive.

        Raises:
            redis.RedisError: Redis is away.
        """
        return sum(1 for _ in self._redis.scan_iter(_HEARTBEAT.format(service=service, worker="*"), count=100))

    def server_version(self) -> str:
        """Return Redis's version.

        Raises:
            redis.RedisError: Redis is away.
        """
        return str(cast("dict[str, object]", self._redis.info("server"))["redis_version"])

    def close(self) -> None:
        """Let go of the connections."""
        self._redis.close()


def best_effort(log: structlog.typing.FilteringBoundLogger, write: Callable[[], None]) -> None:
    """Write live state; results never wait for it, so an absent Redis is logged and passed over."""
    try:
        write()
    except redis.RedisError as error:
        log.warning("live_state.away", error=str(error).splitlines()[0] if str(error) else type(error).__name__)
