"""Real Kafka for tests: the server of `make up`, on free ports, with its data in a folder of the test run.

`DIFFERLINE_TEST_KAFKA=off` leaves out, by name, every test that needs one. Otherwise a machine that cannot get Kafka fails.
"""

import contextlib
import os
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from infra.bus.topics import create_topics
from infra.settings import Settings

from .servers import LocalServers, ServersError

OFF = os.environ.get("DIFFERLINE_TEST_KAFKA") == "off"


class KafkaServer(LocalServers):
    """One broker of a test's own."""

    @property
    def port(self) -> int:
        return self.port_of("LOCAL_KAFKA_PORT")

    @property
    def raft_port(self) -> int:
        return self.port_of("LOCAL_KAFKA_RAFT_PORT")

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def process(self) -> psutil.Process:
        return self.process_of("kafka")

    def start(self) -> None:
        try:
            self.up("kafka")
        except ServersError as error:
            pytest.fail(
                f"these tests need Kafka, and it cannot be had: {error}\nDIFFERLINE_TEST_KAFKA=off leaves them out",
                pytrace=False,
            )

    def stop(self) -> None:
        self.down("kafka")

    def kill(self) -> None:
        self.kill_server("kafka")


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


def on_kafka(settings: Settings, server: KafkaServer, **changes: object) -> Settings:
    """Settings of a line on Kafka, with topics and a group of its own; the topics are made."""
    own = uuid.uuid4().hex
    named = {"frames_topic": f"frames-{own}", "verdicts_topic": f"verdicts-{own}", "kafka_group": f"scorers-{own}"}
    chosen = settings.model_copy(update={"bus": "kafka", "kafka_servers": server.address, **named, **changes})
    create_topics(chosen)
    return chosen


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
