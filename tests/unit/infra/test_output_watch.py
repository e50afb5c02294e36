from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client import generate_latest

from infra.errors import BusAwayError
from infra.outputs.watch import OutputWatch, RelayWatch
from infra.store.outbox import Backlog

from ...fake_time import FakeTime

NOON = datetime(2025, 5, 5, 12, tzinfo=UTC)
NOTHING = Backlog(0, None)


@pytest.fixture
def time() -> FakeTime:
    return FakeTime()


@pytest.fixture
def relay(time: FakeTime) -> RelayWatch:
    return RelayWatch(60, lambda: NOON, time.monotonic)


@pytest.fixture
def watch(relay: RelayWatch) -> OutputWatch:
    return relay.of("kafka")


def value(relay: RelayWatch, series: str, labels: str = 'sink="kafka"') -> float:
    lines = generate_latest(relay.metrics.registry).decode().splitlines()
    return float(next(line.split()[-1] for line in lines if line.startswith(series + "{" + labels + "} ")))


def test_what_waits_is_told_with_its_age(relay: RelayWatch, watch: OutputWatch) -> None:
    watch.looked(Backlog(5, NOON - timedelta(seconds=42)))
    assert value(relay, "differline_relay_waiting_messages") == 5
    assert value(relay, "differline_relay_oldest_seconds") == 42
    watch.looked(NOTHING)
    assert value(relay, "differline_relay_oldest_seconds") == 0


def test_messages_are_counted_and_keep_it_healthy(relay: RelayWatch, watch: OutputWatch, time: FakeTime) -> None:
    for _ in range(3):
        time.now += 50
        watch.looked(Backlog(5, NOON))
        watch.published(2)
        assert watch.health() is None
    assert value(relay, "differline_relay_published_messages_total") == 6


def test_it_is_ill_while_messages_wait_and_none_goes_out(watch: OutputWatch, time: FakeTime) -> None:
    time.now += 61
    watch.looked(Backlog(5, NOON))
    watch.published(0)
    assert watch.health() == "kafka: no result for 61 s: 5 messages wait and none goes out"
    watch.away(BusAwayError("the bus does not answer"))
    assert watch.health() == "kafka: no result for 61 s: the bus does not answer"
    watch.published(1)
    assert watch.health() is None


def test_without_work_or_turn_it_is_healthy(relay: RelayWatch, watch: OutputWatch, time: FakeTime) -> None:
    time.now += 3600
    watch.looked(NOTHING)
    assert watch.health() is None
    watch.looked(Backlog(5, NOON))
    time.now += 3600
    watch.standing_by()
    assert watch.health() is None
    assert value(relay, "differline_relay_waiting_messages") == 0


def test_each_output_is_told_apart_and_any_of_them_makes_the_relay_ill(
    relay: RelayWatch, watch: OutputWatch, time: FakeTime
) -> None:
    webhook = relay.of("webhook")
    webhook.refused()
    webhook.late("cam")
    webhook.stands(False)
    webhook.away(BusAwayError("it hangs"))
    for each in (watch, webhook):
        each.looked(Backlog(5, NOON))
    time.now += 61
    watch.published(1)
    assert (watch.health(), relay.health()) == (None, "webhook: no result for 61 s: 5 messages wait and none goes out")
    of_webhook = 'sink="webhook"'
    assert value(relay, "differline_relay_sink_away", of_webhook) == 1
    assert value(relay, "differline_relay_sink_away") == 0
    assert value(relay, "differline_relay_refused_messages_total", of_webhook) == 1
    assert value(relay, "differline_relay_refused_messages_total") == 0
    assert value(relay, "differline_relay_late_verdicts_total", 'camera="cam",sink="webhook"') == 1
    assert value(relay, "differline_relay_verdicts_in_time", of_webhook) == 0
    webhook.published(1)
    assert (relay.health(), value(relay, "differline_relay_sink_away", of_webhook)) == (None, 0)
