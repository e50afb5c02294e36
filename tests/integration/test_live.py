"""Live state in a real Redis, and without one."""

from collections.abc import Iterator
from contextlib import closing

import pytest
import redis
from structlog.testing import capture_logs

from infra.live import LatestFrame, LiveState, best_effort
from infra.telemetry import get_logger

FRAME = LatestFrame("Linie 3/Ö *[a]", "frame-1", "2026-03-03T12:00:00+00:00", bytes(range(256)))


@pytest.fixture
def live(redis_url: str) -> Iterator[LiveState]:
    with closing(LiveState(redis_url)) as state:
        yield state


@pytest.fixture
def absent() -> Iterator[LiveState]:
    with closing(LiveState("redis://127.0.0.1:1")) as state:
        yield state


def test_the_latest_frame_of_a_camera_comes_back(live: LiveState) -> None:
    live.show_frames([FRAME, LatestFrame("other", "frame-2", "", b"")])
    assert live.latest_frame(FRAME.camera) == FRAME
    assert live.latest_frame("other") == LatestFrame("other", "frame-2", "", b"")
    assert live.latest_frame("none") is None


def test_a_newer_frame_takes_the_place_of_the_older(live: LiveState) -> None:
    newer = LatestFrame(FRAME.camera, "frame-2", "2026-03-03T12:00:01+00:00", b"jpeg")
    live.show_frames([FRAME])
    live.show_frames([newer])
    assert live.latest_frame(FRAME.camera) == newer


def test_nothing_to_show_is_no_error(live: LiveState) -> None:
    live.show_frames([])


def test_workers_are_alive_until_their_time_is_over(live: LiveState, redis_url: str) -> None:
    for worker in ("a", "b", "b"):
        live.beat("scorer", worker, ttl_s=60)
    live.beat("trainer", "a", ttl_s=60)
    assert (live.alive("scorer"), live.alive("trainer"), live.alive("relay")) == (2, 1, 0)
    with closing(redis.Redis.from_url(redis_url)) as client:
        times = [client.ttl(key) for key in client.keys("*heartbeat*")]
    assert len(times) == 3
    assert all(0 < time <= 60 for time in times)


def test_everything_live_is_forgotten_some_day(live: LiveState, redis_url: str) -> None:
    live.show_frames([FRAME])
    live.beat("scorer", "a", ttl_s=10)
    with closing(redis.Redis.from_url(redis_url)) as client:
        assert all(client.ttl(key) > 0 for key in client.keys("differline:live:*"))


def test_an_absent_redis_is_an_error_for_who_reads(absent: LiveState) -> None:
    with pytest.raises(redis.RedisError):
        absent.latest_frame("cam")
    with pytest.raises(redis.RedisError):
        absent.alive("scorer")


def test_an_absent_redis_is_logged_and_passed_over_by_who_writes(absent: LiveState) -> None:
    log = get_logger("test")
    with capture_logs() as events:
        best_effort(log, lambda: absent.show_frames([FRAME]))
        best_effort(log, lambda: absent.beat("scorer", "a", 10))
    assert [event["event"] for event in events] == ["live_state.away", "live_state.away"]
    assert all("\n" not in event["error"] for event in events)


def test_any_other_error_of_a_writer_is_not_passed_over() -> None:
    def broken() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        best_effort(get_logger("test"), broken)
