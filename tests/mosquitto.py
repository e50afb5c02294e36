"""Debian's Mosquitto for tests, on a free port of loopback, with its own client as the peer that listens."""

import contextlib
import json
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from .servers import free_port

_BROKER = "/usr/sbin/mosquitto"
_PATIENCE_S = 20.0


@dataclass
class Mosquitto:
    """One broker of a test's own; what it has acknowledged it keeps, whichever way it ends."""

    folder: Path
    more: str = ""
    port: int = field(default_factory=free_port)
    _process: "subprocess.Popen[bytes] | None" = None

    def start(self) -> None:
        config = self.folder / "mosquitto.conf"
        anonymous = "" if "allow_anonymous" in self.more else "allow_anonymous true\n"
        config.write_text(
            f"listener {self.port} 127.0.0.1\n{anonymous}persistence true\npersistence_location {self.folder}/\n"
            f"autosave_on_changes true\nautosave_interval 1\nmax_queued_messages 0\nuser root\n{self.more}"
        )
        try:
            self._process = subprocess.Popen([_BROKER, "-c", str(config)], stderr=subprocess.DEVNULL)
        except FileNotFoundError:
            pytest.fail("these tests need Mosquitto; `make tools` installs it", pytrace=False)
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            assert time.monotonic() < deadline, "Mosquitto does not answer"
            time.sleep(0.05)

    def send(self, number: int) -> None:
        if self._process:
            self._process.send_signal(number)

    def stop(self, number: int = signal.SIGTERM) -> None:
        if self._process:
            self._process.send_signal(number)
            self._process.wait(_PATIENCE_S)
            self._process = None


class Listener:
    """`mosquitto_sub`, with a session that the broker keeps while either of them is away."""

    def __init__(self, broker: Mosquitto, output: Path, *more: str, topics: str = "differline/#") -> None:
        self._broker, self._output, self._topics = broker, output, topics
        options = ["-V", "mqttv5", "-q", "1", "-c", "-x", "3600", "-i", output.name, "-F", "%j", *more]
        with output.open("wb") as file:
            self._process = subprocess.Popen(
                ["mosquitto_sub", "-h", "127.0.0.1", "-p", str(broker.port), *options, "-t", topics], stdout=file
            )

    def messages(self, topic: str = "") -> list[dict[str, Any]]:
        """What came so far on topics that begin so, with its properties; the payload of each as JSON."""
        lines = self._output.read_text(encoding="utf-8").splitlines()
        found = [json.loads(line) for line in lines if line.endswith("}")]
        chosen = [message for message in found if message["topic"].startswith(topic)]
        return [{**message, "body": json.loads(message["payload"])} for message in chosen]

    def wait_for(self, topic: str, count: int = 1, patience_s: float = _PATIENCE_S) -> list[dict[str, Any]]:
        deadline = time.monotonic() + patience_s
        while len(found := self.messages(topic)) < count:
            assert time.monotonic() < deadline, f"{len(found)} of {count} messages came on {topic}"
            time.sleep(0.05)
        return found

    def wait_until_there(self) -> None:
        """Wait until the broker knows of it."""
        deadline = time.monotonic() + _PATIENCE_S
        topic = self._topics.replace("#", "hello")
        command = ["mosquitto_pub", "-p", str(self._broker.port), "-h", "127.0.0.1", "-t", topic, "-m", "{}"]
        while not self.messages(topic):
            assert time.monotonic() < deadline, "nobody listens"
            subprocess.run(command, check=True, timeout=_PATIENCE_S)
            time.sleep(0.1)

    def close(self) -> None:
        self._process.kill()
        self._process.wait(_PATIENCE_S)


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Mosquitto]:
    """A broker that the test starts."""
    folder = tmp_path / "mosquitto"
    folder.mkdir()
    broker = Mosquitto(folder)
    yield broker
    broker.stop(signal.SIGKILL)


@pytest.fixture
def listener(mosquitto: Mosquitto, tmp_path: Path) -> Iterator[Listener]:
    """A peer that listens to everything of the line; the broker runs."""
    mosquitto.start()
    listening = Listener(mosquitto, tmp_path / "mes")
    listening.wait_until_there()
    yield listening
    listening.close()
