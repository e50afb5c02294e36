"""What every output must hold: peers that go away, relays that are killed, and every verdict arrives in its camera's order."""

import os
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa
from pydantic import SecretStr

from infra.settings import Settings
from infra.store.outbox import backlog
from infra.store.output_cursors import output_states
from infra.store.positions import claim
from infra.store.results import write_batch

from ..integration.rows import FIRST, batch, unjudged
from ..mosquitto import Mosquitto, mosquitto
from .peers import Got, KafkaPeer, MqttPeer, OpcUaPeer, Peer, WebhookPeer

__all__ = ["mosquitto"]  # a fixture

VERDICTS = 1000
CAMERAS = 5
PATIENCE_S = 120.0
EVERY_PEER = ["webhook_peer", "mqtt_peer", "opcua_peer", pytest.param("kafka_peer", marks=pytest.mark.kafka)]


@pytest.fixture(params=EVERY_PEER)
def peer(request: pytest.FixtureRequest) -> Peer:
    """Away at first."""
    found: Peer = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def webhook_peer() -> Iterator[WebhookPeer]:
    def slowly(_handler: object, _request: object) -> int:
        time.sleep(0.003)  # so that a relay is killed in the middle, however quick the machine is
        return 204

    made = WebhookPeer(slowly)
    yield made
    made.close()


@pytest.fixture
def mqtt_peer(mosquitto: Mosquitto, tmp_path: Path) -> Iterator[MqttPeer]:
    made = MqttPeer(mosquitto, tmp_path / "mes")
    yield made
    made.close()


@pytest.fixture
def opcua_peer() -> Iterator[OpcUaPeer]:
    made = OpcUaPeer()
    yield made
    made.close()


@pytest.fixture
def kafka_peer(request: pytest.FixtureRequest) -> Iterator[KafkaPeer]:
    made = KafkaPeer(request.getfixturevalue("mortal_kafka"))
    yield made
    made.close()


class Verdicts:
    """Writes verdicts as a scorer does, which no absent peer holds up."""

    def __init__(self, database: sa.Engine) -> None:
        self._database = database
        self._claim = claim(database, FIRST, "test")
        self.written = 0

    def write(self, count: int) -> None:
        for start in range(self.written, self.written + count, 50):
            numbers = range(start, min(start + 50, self.written + count))
            rows = [unjudged(f"{n:05}", n, camera=f"cam {n % CAMERAS}", result_id=f"result-{n}") for n in numbers]
            write_batch(self._database, [self._claim], batch(*rows), 7, fill_outbox=True)
        self.written += count

    def expected(self) -> dict[str, list[str]]:
        return {f"cam {c}": [f"result-{n}" for n in range(c, self.written, CAMERAS)] for c in range(CAMERAS)}


def environment(settings: Settings) -> dict[str, str]:
    """What a process needs to have these settings."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("DIFFERLINE_")}
    for name in settings.model_fields_set:
        value = getattr(settings, name)
        if value is not None:
            text = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
            plain[f"DIFFERLINE_{name.upper()}"] = text
    return plain


@contextmanager
def relay(settings: Settings) -> "Iterator[subprocess.Popen[bytes]]":
    """`differline relay` as a process of its own, killed at the end with no chance to tidy up."""
    with subprocess.Popen([sys.executable, "-m", "infra", "relay"], env=environment(settings)) as process:
        try:
            yield process
        finally:
            process.kill()


def until(happens: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not happens():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


def first_appearances(got: list[Got]) -> dict[str, list[str]]:
    """What a peer keeps that knows doubles by their idempotency key."""
    known: set[str] = set()
    kept = defaultdict(list)
    for camera, result_id in got:
        if result_id not in known:
            known.add(result_id)
            kept[camera].append(result_id)
    return dict(kept)


@pytest.mark.timeout(400)
def test_a_thousand_verdicts_reach_a_peer_that_goes_away_through_relays_that_are_killed(
    peer: Peer, settings: Settings, database: sa.Engine
) -> None:
    chosen = peer.settings(settings)
    verdicts = Verdicts(database)
    began = time.monotonic()
    kills = 0

    def left() -> int:
        return backlog(database).rows

    peer.go_away()  # at the start already
    verdicts.write(300)
    with relay(chosen) as running:
        until(lambda: output_states(database))
        time.sleep(1.0)
        assert (running.poll(), left()) == (None, 300)
        peer.come_back()
        until(lambda: left() < 300)
    kills += 1
    verdicts.write(400)
    with relay(chosen):
        before = left()
        until(lambda: left() < before)
        peer.go_away()
        verdicts.write(200)
        time.sleep(1.0)
    kills += 1
    assert left() > 0, "it was killed when all was done"
    peer.come_back()
    with relay(chosen):
        verdicts.write(100)
        until(lambda: left() == 0)
    kills += 1
    got = peer.got()
    assert verdicts.written == VERDICTS
    assert first_appearances(got) == verdicts.expected()
    print(
        f"\n{type(peer).__name__}: {VERDICTS} verdicts of {CAMERAS} cameras, peer away twice, relay killed {kills} times: "
        f"{len(set(got))} arrived, in {len(got)} deliveries, each camera in order; "
        f"{time.monotonic() - began:.1f} s"
    )
