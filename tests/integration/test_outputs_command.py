"""`differline relay` and `differline outputs` as a person runs them, on Redis Streams with a webhook."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

import pytest
import sqlalchemy as sa
from pydantic import SecretStr

from infra.settings import Settings
from infra.store.positions import claim
from infra.store.results import write_batch

from ..contract.peers import WebhookPeer
from .rows import FIRST, batch, unjudged

TIMEOUT_S = 60


@dataclass
class Command:
    """Runs commands with settings."""

    settings: Settings

    def __call__(self, module: str, *arguments: str, expect: int = 0, **more: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", module, *arguments],
            env=self.environment(more),
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        assert done.returncode == expect, done.stdout + done.stderr
        return done.stdout + done.stderr

    def environment(self, more: dict[str, str]) -> dict[str, str]:
        plain = {name: value for name, value in os.environ.items() if not name.startswith("DIFFERLINE_")}
        for name in self.settings.model_fields_set:
            value = getattr(self.settings, name)
            text = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
            plain[f"DIFFERLINE_{name.upper()}"] = text
        return {**plain, **more}


@pytest.fixture
def peer() -> Iterator[WebhookPeer]:
    made = WebhookPeer()
    made.come_back()
    with closing(made):
        yield made


def test_a_person_sees_what_was_refused_sends_it_again_and_forgets_an_output(
    peer: WebhookPeer, settings: Settings, database: sa.Engine
) -> None:
    command = Command(peer.settings(settings))
    outputs = "infra.outputs.commands"
    assert "no output was ever on" in command(outputs, "list")
    rows = [unjudged(f"f{n}", n, result_id=str(n)) for n in range(3)]
    write_batch(database, [claim(database, FIRST, "test")], batch(*rows), 7, fill_outbox=True)
    peer.answer = lambda _, request: 422 if b'"resultId": "1"' in request.body else 204
    command("infra", "relay", "--until-idle", "1")
    assert [got.result_id for got in peer.got()] == ["0", "2"]
    (listed,) = json.loads(command(outputs, "list", "--json"))
    assert (listed["output"], listed["waiting"], listed["refused"], listed["relayAtWork"]) == ("webhook", 0, 1, False)
    assert "the webhook answers 422" in command(outputs, "refused")
    assert "webhook" in command(outputs, "list")
    peer.answer = lambda *_: 204
    assert "--why" in command(outputs, "again", "webhook", expect=2)
    assert "1 to be sent again" in command(outputs, "again", "webhook", "--why", "they know the field now")
    command("infra", "relay", "--until-idle", "3")
    assert [got.result_id for got in peer.got()] == ["0", "2", "1"]
    assert "nothing is refused" in command(outputs, "refused")
    assert "is forgotten" in command(outputs, "forget", "webhook", "--why", "another MES")
    assert "no output was ever on" in command(outputs, "list")


def test_a_relay_without_an_output_or_an_outbox_says_so(peer: WebhookPeer, settings: Settings) -> None:
    chosen = peer.settings(settings)
    without = Settings(data_dir=chosen.data_dir, database_url=chosen.database_url, redis_url=chosen.redis_url)
    assert "no output is set" in Command(without)("infra", "relay", expect=2)
    assert "DIFFERLINE_OUTBOX is off" in Command(chosen)("infra", "relay", expect=2, DIFFERLINE_OUTBOX="off")
    said = Command(chosen)("infra", "relay", expect=2, DIFFERLINE_WEBHOOK_SECRET="hunter2-hunter2")
    assert "webhook_secret: number 1 is not" in said
    assert "hunter2" not in said


@pytest.mark.parametrize("away", [True, False])
def test_a_relay_ends_in_order_when_it_is_asked_to(peer: WebhookPeer, settings: Settings, away: bool) -> None:
    if away:
        peer.go_away()
    environment = Command(peer.settings(settings)).environment({})
    with subprocess.Popen([sys.executable, "-m", "infra", "relay"], env=environment, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        while b"relay.published" not in process.stderr.readline():
            assert process.poll() is None
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        said = process.communicate(timeout=TIMEOUT_S)[1]
    assert (process.returncode, b"relay.ended" in said) == (0, True)
    assert time.monotonic() - began < 15
