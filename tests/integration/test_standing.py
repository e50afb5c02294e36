"""The fail-safe on a real database: when verdicts stop, come late or cannot be read, the peer is told NO_VERDICT."""

import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
import structlog

from infra.bus.kafka import KafkaBusConsumer
from infra.clock import utc_now
from infra.outputs.connect import open_sinks
from infra.outputs.relay import Relay, Rules
from infra.settings import Settings
from infra.store.line_pace import camera_paces
from infra.store.models import register_in_force
from infra.store.positions import claim
from infra.store.results import write_batch
from infra.store.runs import report_accepted, report_ended

from ..contract.peers import WebhookPeer
from ..kafka_server import KafkaServer, on_kafka
from .rows import FIRST, MODEL, batch, judged

RULES = Rules(deadline_s=1.5, silent_after_s=30.0)


@dataclass
class Line:
    """A camera, a scorer, and what the peer of the webhook was told."""

    database: sa.Engine
    peer: WebhookPeer

    def __post_init__(self) -> None:
        self.claim = claim(self.database, FIRST, "test")
        self.model = register_in_force(self.database, MODEL)
        self.accepted = self.scored = 0

    def sends(self, frames: int = 1) -> None:
        self.accepted += frames
        report_accepted(self.database, "cam", "run", self.accepted)

    def scores(self, age_s: float = 0.0) -> None:
        number, self.scored = self.scored, self.scored + 1
        at = utc_now() - timedelta(seconds=age_s)
        place = {"run": "run", "sequence": number, "received_at": at}
        row = judged(f"f{number}", number, self.model.id, result_id=str(number), **place)
        write_batch(self.database, [self.claim], batch(row), 7, fill_outbox=True)

    def told(self) -> Any:
        """The newest standing that the peer has heard."""
        found = self.peer.requests("differline.standing.v1")
        return found[-1].event["data"] if found else None

    def becomes(self, in_time: bool, reason: str | None = None, patience_s: float = 10.0) -> float:
        """Wait until the peer is told so; return how long that took, in seconds."""
        began = time.monotonic()
        while True:
            told = self.told()
            reasons = [each["reason"] for each in told["notInTime"]] if told else None
            if told and told["inTime"] == in_time and reasons == ([reason] if reason else []):
                return time.monotonic() - began
            assert time.monotonic() - began < patience_s, told
            time.sleep(0.05)


@pytest.fixture
def line(database: sa.Engine, settings: Settings) -> Iterator[Line]:
    """With a relay that works."""
    peer = WebhookPeer()
    peer.come_back()
    made = Line(database, peer)
    with relaying(peer.settings(settings), database):
        yield made
    peer.close()


@contextmanager
def relaying(settings: Settings, database: sa.Engine) -> Iterator[Relay]:
    sinks = open_sinks(settings)
    relay = Relay(database, sinks, structlog.get_logger(), RULES)
    thread = threading.Thread(target=relay.run)
    thread.start()
    try:
        yield relay
    finally:
        relay.stop.set()
        thread.join(30)
        for sink in sinks:
            sink.close()
        assert not thread.is_alive()


def test_a_scorer_that_stops_a_database_that_is_away_and_a_late_verdict_are_told_and_so_is_their_end(
    line: Line, database_url: str
) -> None:
    line.becomes(in_time=True)  # no camera yet
    assert line.told()["cameras"] == 0
    line.sends()
    line.scores()
    time.sleep(2.5)
    assert line.told()["inTime"]
    line.sends(3)  # and the scorer is gone
    stopped_s = line.becomes(in_time=False, reason="stopped")
    assert stopped_s > RULES.deadline_s - 1.0  # not at the first frame that waits
    assert line.told()["notInTime"][0]["lastResultId"] == "0"
    for _ in range(3):
        line.scores()
    line.becomes(in_time=True)
    line.sends()
    line.scores(age_s=20.0)
    late_s = line.becomes(in_time=False, reason="late")
    line.sends()
    line.scores()
    line.becomes(in_time=True)
    began = time.monotonic()
    with away(database_url):
        time.sleep(1.5)
        assert line.told()["inTime"]  # a database that restarts is no reason
        away_s = time.monotonic() - began + line.becomes(in_time=False, reason="stopped")
    line.becomes(in_time=True, patience_s=20)
    report_ended(line.database, "cam", "run")
    time.sleep(3.0)
    assert line.told()["inTime"]
    print(
        f"\ndeadline {RULES.deadline_s} s: a scorer that stopped was told after {stopped_s:.1f} s, a late verdict after "
        f"{late_s:.1f} s, a database that is away after {away_s:.1f} s"
    )


@contextmanager
def away(database_url: str) -> Iterator[None]:
    """The database takes no connections and has cut all that there were."""
    url = sa.make_url(database_url)
    admin = sa.create_engine(
        url.set(drivername="postgresql+psycopg", database="postgres"), isolation_level="AUTOCOMMIT"
    )
    cut = sa.text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name")
    with admin.connect() as connection:
        connection.execute(sa.text(f'ALTER DATABASE "{url.database}" ALLOW_CONNECTIONS false'))
        connection.execute(cut, {"name": url.database})
        try:
            yield
        finally:
            connection.execute(sa.text(f'ALTER DATABASE "{url.database}" ALLOW_CONNECTIONS true'))
    admin.dispose()


def test_a_relay_that_starts_while_the_database_is_away_tells_so_at_once(
    database: sa.Engine, settings: Settings, database_url: str
) -> None:
    peer = WebhookPeer()
    peer.come_back()
    line = Line(database, peer)
    database.dispose()
    with closing(peer), away(database_url), relaying(peer.settings(settings), database):
        line.becomes(in_time=False)


def test_a_relay_that_stands_by_tells_nothing(database: sa.Engine, settings: Settings) -> None:
    first, second = WebhookPeer(), WebhookPeer()
    for peer in (first, second):
        peer.come_back()
    line = Line(database, first)
    with closing(first), closing(second), relaying(first.settings(settings), database):
        line.becomes(in_time=True)
        with relaying(second.settings(settings), database):
            time.sleep(2.5)
            assert second.asked == []


def test_the_newest_run_of_each_camera_counts(database: sa.Engine) -> None:
    report_accepted(database, "cam", "killed", 50)
    report_accepted(database, "other", "ended", 5)
    report_ended(database, "other", "ended")
    with database.begin() as connection:
        connection.execute(sa.text("UPDATE camera_runs SET updated_at = now() - interval '1 minute'"))
    report_accepted(database, "cam", "newest", 3)
    report_accepted(database, "future", "before the clock was set back", 9)
    report_accepted(database, "both", "before the clock was set back", 9)
    report_accepted(database, "both", "after that", 1)
    with database.begin() as connection:
        future = "UPDATE camera_runs SET updated_at = now() + interval '1 hour' WHERE run LIKE 'before%'"
        connection.execute(sa.text(future))
        yesterday = (
            "INSERT INTO camera_runs (camera, run, updated_at) VALUES ('gone', 'r', now() - interval '25 hours')"
        )
        connection.execute(sa.text(yesterday))
    found = {pace.camera: pace for pace in camera_paces(database)}
    assert sorted(found) == ["both", "cam", "future", "other"]
    assert found["both"].run == "after that"
    assert (found["cam"].run, found["cam"].waiting, found["cam"].ended) == ("newest", 3, False)
    assert (found["other"].ended, found["other"].heard_s > 50, found["future"].heard_s) == (True, True, 0.0)


def test_on_kafka_the_standing_has_a_topic_of_its_own(
    database: sa.Engine, settings: Settings, kafka: KafkaServer
) -> None:
    chosen = on_kafka(settings, kafka, partitions=2, standing_topic=f"standing-{time.time_ns()}")
    with relaying(chosen, database), closing(KafkaBusConsumer(chosen, chosen.standing_topic, group=None)) as consumer:
        seen = first_of(consumer)
    headers = {name: value.decode() for name, value in seen.headers}
    assert headers["ce_type"] == "differline.standing.v1"
    assert seen.key == b"standing"


def first_of(consumer: KafkaBusConsumer) -> Any:
    deadline = time.monotonic() + 60
    sought: set[object] = set()
    while time.monotonic() < deadline:
        for partition in consumer.assigned():
            if partition not in sought:
                consumer.seek_to_beginning(partition)
                sought.add(partition)
        for record in consumer.poll(10, 0.2):
            return record
    raise AssertionError("no standing was published")
