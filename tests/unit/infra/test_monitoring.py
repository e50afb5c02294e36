import socket
import urllib.error
import urllib.request

import pytest

from infra.errors import SettingsError
from infra.metrics import SCORER_WAITING, Metrics, Service
from infra.monitoring import Freshness, MonitoringServer, monitored
from infra.settings import Settings


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def get(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_health_is_the_age_of_the_last_result() -> None:
    clock = Clock()
    freshness = Freshness(30, clock)
    clock.now += 30
    assert freshness.health() is None
    clock.now += 5
    freshness.stale("the bus\ndoes not answer")
    assert freshness.health() == "no result for 35 s: the bus does not answer"
    freshness.fresh()
    assert freshness.health() is None
    clock.now += 31
    assert freshness.health() == "no result for 31 s: nothing came of the work since"


def test_metrics_and_health_are_served() -> None:
    clock = Clock()
    freshness = Freshness(30, clock)
    metrics = Metrics(Service.SCORER)
    metrics.show(SCORER_WAITING, 4)
    with MonitoringServer("127.0.0.1", 0, metrics, freshness.health) as server:
        assert get(server.port, "/healthz") == (200, "fresh\n")
        status, text = get(server.port, "/metrics?x=1")
        assert status == 200
        assert "differline_scorer_waiting_frames 4.0" in text
        assert "differline_scorer_healthy 1.0" in text

        clock.now += 60
        freshness.stale("4 frames wait")
        assert get(server.port, "/healthz") == (503, "no result for 60 s: 4 frames wait\n")
        assert "differline_scorer_healthy 0.0" in get(server.port, "/metrics")[1]
        assert get(server.port, "/")[0] == 404


def test_a_silent_client_keeps_nobody_waiting() -> None:
    with (
        MonitoringServer("127.0.0.1", 0, Metrics(Service.INGEST), lambda: None) as server,
        socket.create_connection(("127.0.0.1", server.port)),
    ):
        assert get(server.port, "/healthz")[0] == 200


def test_a_taken_port_is_named() -> None:
    metrics = Metrics(Service.INGEST)
    with (
        MonitoringServer("127.0.0.1", 0, metrics, lambda: None) as server,
        pytest.raises(SettingsError, match=f"127.0.0.1:{server.port}.*DIFFERLINE_METRICS_PORT"),
    ):
        MonitoringServer("127.0.0.1", server.port, metrics, lambda: None)


def test_it_is_off_by_default_and_gone_afterwards() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with monitored(Settings(metrics_port=port), Metrics(Service.INGEST), lambda: None):
        assert get(port, "/healthz")[0] == 200
    with pytest.raises(urllib.error.URLError):
        get(port, "/healthz")
    with monitored(Settings(), Metrics(Service.INGEST), lambda: None), pytest.raises(urllib.error.URLError):
        get(port, "/healthz")
