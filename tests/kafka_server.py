"""Real Kafka for tests: the server of `make up`, on free ports, with its data in a folder of the test run.

`DIFFERLINE_TEST_KAFKA=off` leaves out, by name, every test that needs one. Otherwise a machine that cannot get Kafka fails.
"""

import contextlib
import os
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

SCRIPT = Path(__file__).parents[1] / "infra" / "deploy" / "servers"
OFF = os.environ.get("DIFFERLINE_TEST_KAFKA") == "off"
_START_TIMEOUT_S = 280


def free_port() -> int:
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as listener:
        return int(listener.getsockname()[1])


@dataclass
class KafkaServer:
    """One broker of a test's own."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    raft_port: int = field(default_factory=free_port)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def process(self) -> psutil.Process:
        return psutil.Process(int((self.folder / "kafka" / "pid").read_text()))

    def start(self) -> None:
        answer = self._run("up")
        if answer.returncode:
            pytest.fail(
                f"these tests need Kafka, and it cannot be had: {answer.stderr.strip()}\n"
                "DIFFERLINE_TEST_KAFKA=off leaves them out",
                pytrace=False,
            )

    def stop(self) -> None:
        self._run("down")

    def kill(self) -> None:
        process = self.process
        process.send_signal(signal.SIGKILL)
        process.wait(10)

    def _run(self, action: str) -> "subprocess.CompletedProcess[str]":
        ports = {"LOCAL_KAFKA_PORT": str(self.port), "LOCAL_KAFKA_RAFT_PORT": str(self.raft_port)}
        return subprocess.run(
            [str(SCRIPT), action, "kafka"],
            env={
                **os.environ,
                "LOCAL_DIR": str(self.folder),
                "LOCAL_KAFKA_HEAP_MB": "384",
                **ports,
                **self.environment,
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_START_TIMEOUT_S,
            check=False,
        )


@contextlib.contextmanager
def running_kafka(extra: Callable[["KafkaServer"], str] = lambda _: "", **environment: str) -> Iterator[KafkaServer]:
    """A broker; `extra` gives server properties that win, from the ports that were found for it."""
    with tempfile.TemporaryDirectory(prefix="differline-kafka-", ignore_cleanup_errors=True) as folder:
        server = KafkaServer(Path(folder), environment)
        properties = Path(folder) / "extra.properties"
        properties.write_text(extra(server))
        server.environment["LOCAL_KAFKA_EXTRA"] = str(properties)
        try:
            server.start()
            yield server
        finally:
            server.stop()


@pytest.fixture(scope="session")
def kafka() -> Iterator[KafkaServer]:
    """A broker for the whole run; tests take topics of their own."""
    with running_kafka() as server:
        yield server


@pytest.fixture(scope="session")
def mortal_kafka() -> Iterator[KafkaServer]:
    """A broker that tests kill and start again; a test leaves it running."""
    with running_kafka() as server:
        yield server


def needs_kafka(item: pytest.Item) -> bool:
    fixtures = getattr(item, "fixturenames", ())
    return item.get_closest_marker("kafka") is not None or "kafka" in fixtures or "mortal_kafka" in fixtures
