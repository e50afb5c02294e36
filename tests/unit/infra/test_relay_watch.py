from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client import generate_latest

from infra.errors import BusAwayError
from infra.relay_watch import RelayWatch
from infra.store.outbox import Backlog

NOON = datetime(2025, 5, 5, 12, tzinfo=UTC)
NOTHING = Backlog(0, None)


class FakeTime:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def time() -> FakeTime:
    return FakeTime()


@pytest.fixture
def watch(time: FakeTime) -> RelayWatch:
    return RelayWatch(60, lambda: NOON, time.monotonic)


def value(watch: RelayWatch, series: str) -> float:
    lines = generate_latest(watch.metrics.registry).decode().splitlines()
    return float(next(line.split()[-1] for line in lines if line.startswith(series + " ")))


def test_what_waits_is_told_with_its_age(watch: RelayWatch) -> None:
    watch.looked(Backlog(5, NOON - timedelta(seconds=42)))
    assert value(watch, "differline_relay_waiting_messages") == 5
    assert value(watch, "differline_relay_oldest_seconds") == 42
    watch.looked(NOTHING)
    assert value(watch, "differline_relay_oldest_seconds") == 0


def test_messages_are_counted_and_keep_it_healthy(watch: RelayWatch, time: FakeTime) -> None:
    for _ in range(3):
        time.now += 50
        watch.looked(Backlog(5, NOON))
        watch.published(2)
        assert watch.health() is None
    assert value(watch, "differline_relay_published_messages_total") == 6


def test_it_is_ill_while_messages_wait_and_none_goes_out(watch: RelayWatch, time: FakeTime) -> None:
    time.now += 61
    watch.looked(Backlog(5, NOON))
    watch.published(0)
    assert watch.health() == "no result for 61 s: 5 messages wait and none goes out"
    watch.server_away(BusAwayError("the bus does not answer"))
    assert watch.health() == "no result for 61 s: the bus does not answer"
    watch.published(1)
    assert watch.health() is None


def test_without_work_or_turn_it_is_healthy(watch: RelayWatch, time: FakeTime) -> None:
    time.now += 3600
    watch.looked(NOTHING)
    assert watch.health() is None
    watch.looked(Backlog(5, NOON))
    time.now += 3600
    watch.standing_by()
    assert watch.health() is None
    assert value(watch, "differline_relay_waiting_messages") == 0
