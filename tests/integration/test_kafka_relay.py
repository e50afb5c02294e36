"""The relay on real Kafka: brokers and relays are killed in between, and every verdict arrives, in the order of its camera."""

import json
import os
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import closing

import jsonschema
import pytest
import sqlalchemy as sa

from infra.bus import Record
from infra.bus.kafka import KafkaBusConsumer
from infra.bus.topics import DEAD_LETTERS_SUFFIX
from infra.engines import Engines
from infra.outputs.connect import open_sinks
from infra.outputs.relay import Relay
from infra.outputs.sink import Sink
from infra.settings import Settings
from infra.store.outbox import backlog
from infra.store.positions import Claim, claim
from infra.store.results import write_batch
from infra.store.tables import dead_letters
from infra.telemetry import get_logger
from infra.verdict_message import verdict_schema

from ..kafka_server import KafkaServer, on_kafka
from .line import Line
from .rows import FIRST, batch, unjudged

PATIENCE_S = 120.0
CAMERAS = 5


class Verdicts:
    """Writes verdicts as a scorer does."""

    def __init__(self, database: sa.Engine) -> None:
        self.database = database
        self.claim: Claim = claim(database, FIRST, "test")
        self.written = 0

    def write(self, count: int) -> None:
        numbers = range(self.written, self.written + count)
        rows = [unjudged(f"{n:05}", n, camera=f"cam {n % CAMERAS}", result_id=f"result {n}") for n in numbers]
        write_batch(self.database, [self.claim], batch(*rows), 7, fill_outbox=True)
        self.written += count

    def expected(self) -> dict[bytes, list[str]]:
        return {
            f"cam {camera}".encode(): [f"result {n}" for n in range(camera, self.written, CAMERAS)]
            for camera in range(CAMERAS)
        }


@pytest.fixture
def results(database: sa.Engine) -> Verdicts:
    return Verdicts(database)


def until(happens: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not happens():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def everything(settings: Settings, topic: str) -> list[Record]:
    """What lies on a topic; each partition in its order."""
    with closing(KafkaBusConsumer(settings, topic, group=None)) as consumer:
        until(lambda: len(consumer.assigned()) == settings.partitions)
        for partition in consumer.assigned():
            consumer.seek_to_beginning(partition)
        records = []
        while consumer.waiting(consumer.assigned()):
            records += consumer.poll(1000, 1.0)
        return records


def first_appearances(records: list[Record]) -> dict[bytes, list[str]]:
    """What a consumer keeps that knows doubles by their ce_id."""
    known: set[str] = set()
    found = defaultdict(list)
    for record in records:
        result = dict(record.headers)["ce_id"].decode()
        if result not in known:
            known.add(result)
            found[record.key or b""].append(result)
    return dict(found)


def check(records: list[Record]) -> None:
    """Every message follows the published schema and has the headers of a CloudEvent."""
    validator = jsonschema.Draft202012Validator(verdict_schema())
    for record in records:
        headers = {name: value.decode() for name, value in record.headers}
        body = json.loads(record.value)
        validator.validate(body)
        assert headers["ce_specversion"] == "1.0"
        assert headers["ce_type"] == "differline.verdict.v1"
        assert headers["content-type"] == "application/json"
        assert (headers["ce_id"], headers["ce_subject"]) == (body["resultId"], body["frameId"])
        assert headers["ce_time"] == body["creationTime"]
        assert record.key == body["camera"].encode()


@pytest.fixture
def relaying(database: sa.Engine) -> Iterator[Callable[[Settings], None]]:
    """Runs relays in the background, each like `differline relay`, until the test ends."""
    stop = threading.Event()
    threads: list[threading.Thread] = []
    sinks: list[Sink] = []

    def start(settings: Settings) -> None:
        opened = open_sinks(settings)
        sinks.extend(opened)
        relay = Relay(database, opened, get_logger("relay"), stop=stop)
        threads.append(threading.Thread(target=relay.run))
        threads[-1].start()

    yield start
    stop.set()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    for sink in sinks:
        sink.close()


def test_a_killed_broker_loses_no_verdict_and_keeps_each_cameras_order(
    settings: Settings, mortal_kafka: KafkaServer, results: Verdicts, relaying: Callable[[Settings], None]
) -> None:
    chosen = on_kafka(settings, mortal_kafka, partitions=2)
    for _ in range(6):
        results.write(500)
    relaying(chosen)
    until(lambda: backlog(results.database).rows < 3000)
    mortal_kafka.kill()
    results.write(500)  # a scorer's database does not wait for the broker
    time.sleep(2.0)
    assert backlog(results.database).rows > 500
    mortal_kafka.start()
    results.write(100)
    until(lambda: backlog(results.database).rows == 0)
    records = everything(chosen, chosen.verdicts_topic)
    check(records)
    assert first_appearances(records) == results.expected()


def start_command(settings: Settings, *arguments: str) -> "subprocess.Popen[bytes]":
    plain = {name: value for name, value in os.environ.items() if not name.startswith("DIFFERLINE_")}
    names = ("data_dir", "database_url", "redis_url", "bus", "kafka_servers", "frames_topic", "verdicts_topic")
    chosen = {f"DIFFERLINE_{name.upper()}": str(getattr(settings, name)) for name in names}
    return subprocess.Popen([sys.executable, "-m", "infra", "relay", *arguments], env=plain | chosen)


def test_a_killed_relay_loses_no_verdict_and_keeps_each_cameras_order(
    settings: Settings, kafka: KafkaServer, results: Verdicts
) -> None:
    chosen = on_kafka(settings, kafka, partitions=2)
    for _ in range(12):
        results.write(500)
    kills = 0
    while kills < 3:
        before = backlog(results.database).rows
        with start_command(chosen) as relay:
            until(lambda before=before: backlog(results.database).rows < before)
            relay.kill()
        kills += 1
        assert backlog(results.database).rows > 0, "it was killed when all was done"
    assert start_command(chosen, "--until-idle", "1").wait(PATIENCE_S) == 0
    assert backlog(results.database).rows == 0
    records = everything(chosen, chosen.verdicts_topic)
    check(records)
    assert first_appearances(records) == results.expected()


def test_a_frame_that_cannot_be_judged_reaches_the_dead_letter_topic_as_it_was(
    settings: Settings, kafka: KafkaServer, engines: Engines, database: sa.Engine, relaying: Callable[[Settings], None]
) -> None:
    chosen = on_kafka(settings, kafka, partitions=2)
    line = Line(chosen, engines, database)
    headers = (
        ("ce_product", b"part"),
        ("ce_time", b"yesterday"),
        ("twice", b"1"),
        ("twice", b"\xff\x00"),
        ("none", b""),
    )
    try:
        line.producer.send(chosen.frames_topic, b"cam \xff", headers, b"no picture", PATIENCE_S)
        line.worker().run(until_idle_s=1.0)
    finally:
        line.close()
    (letter,) = line.rows(dead_letters)
    relaying(chosen)
    until(lambda: backlog(database).rows == 0)
    (record,) = everything(chosen, chosen.frames_topic + DEAD_LETTERS_SUFFIX)
    assert (record.key, record.value, record.headers[: len(headers)]) == (b"cam \xff", b"no picture", headers)
    why = {name: value.decode() for name, value in record.headers[len(headers) :]}
    assert (why["dl_reason"], why["dl_detail"]) == (letter.reason, letter.detail) == ("bad_header", letter.detail)
    place = (why["dl_topic"], int(why["dl_partition"]), int(why["dl_offset"]))
    assert place == (letter.topic, letter.partition, letter.bus_offset)
