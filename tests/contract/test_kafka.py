"""What Kafka adds to the contract of the bus: groups, retention, large and unreadable records, topics."""

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing

import pytest
from kafka import KafkaAdminClient, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType
from structlog.testing import capture_logs

from infra.bus import Partition, Record
from infra.bus.kafka import KafkaBusConsumer, KafkaBusProducer
from infra.bus.topics import create_topics
from infra.errors import BusAwayError, PositionLostError
from infra.settings import Settings

from ..kafka_server import KafkaServer

PATIENCE_S = 40.0


class Line:
    """A frames topic of the test's own, and clients that are closed with it."""

    def __init__(self, server: KafkaServer, opened: ExitStack) -> None:
        self._opened = opened
        self.topic = "frames-" + uuid.uuid4().hex
        self.settings = Settings(
            bus="kafka",
            kafka_servers=server.address,
            frames_topic=self.topic,
            verdicts_topic="verdicts-" + uuid.uuid4().hex,
            standing_topic="standing-" + uuid.uuid4().hex,
            partitions=1,
            kafka_session_timeout_s=6,
        )

    def make(self, **changes: object) -> list[str]:
        self.settings = self.settings.model_copy(update=changes)
        return create_topics(self.settings)

    def producer(self) -> KafkaBusProducer:
        return self._opened.enter_context(closing(KafkaBusProducer(self.settings)))

    def consumer(self, group: str | None = None, monotonic: Callable[[], float] = time.monotonic) -> KafkaBusConsumer:
        made = KafkaBusConsumer(self.settings, self.topic, group, monotonic)
        return self._opened.enter_context(closing(made))

    def admin(self) -> KafkaAdminClient:
        return self._opened.enter_context(closing(KafkaAdminClient(bootstrap_servers=self.settings.kafka_servers)))

    def send(self, *bodies: bytes, key: bytes = b"cam") -> None:
        producer = self.producer()
        for body in bodies:
            producer.send(self.topic, key, (), body, PATIENCE_S)


@pytest.fixture
def line(kafka: KafkaServer) -> Iterator[Line]:
    with ExitStack() as opened:
        yield Line(kafka, opened)


def until(happens: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not happens():
        assert time.monotonic() < deadline, "it did not happen"


def read(consumer: KafkaBusConsumer, count: int) -> list[Record]:
    records: list[Record] = []
    until(lambda: records.extend(consumer.poll(100, 0.5)) or len(records) >= count)
    return records


def test_topics_are_made_once_then_brought_to_the_settings(line: Line) -> None:
    assert [text.split(": ")[1] for text in line.make(partitions=2)] == ["made, with 2 partitions"] * 4
    assert all(text.endswith("as it should be") for text in line.make())
    grown = line.make(partitions=3, kafka_retention_hours=1)
    assert all("2 partitions became 3" in text and "retention.ms" in text for text in grown)
    assert all("keeps its 3 partitions" in text for text in line.make(partitions=2))


def test_a_topic_is_as_the_line_needs_it(line: Line) -> None:
    line.make(kafka_retention_hours=48)
    admin = line.admin()
    names = [line.topic, line.topic + ".dlt", line.settings.verdicts_topic, line.settings.standing_topic]
    found = admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name) for name in names])["topic"]
    for name in names:
        options = {option: entry["value"] for option, entry in found[name].items()}
        assert options["message.timestamp.type"] == "LogAppendTime"
        assert options["compression.type"] == "uncompressed"
        assert options["retention.ms"] == str(48 * 3_600_000)
    assert int(found[line.topic]["max.message.bytes"]["value"]) > line.settings.max_frame_bytes


def test_a_topic_that_nobody_made_is_not_made_by_using_it(line: Line) -> None:
    for use in (
        lambda: line.producer().send(line.topic, b"cam", (), b"", 1.5),
        lambda: line.consumer().assigned(),
        lambda: line.consumer("group").poll(1, 0.1),
    ):
        with pytest.raises(BusAwayError, match="differline topics"):
            use()
    assert line.topic not in line.admin().list_topics()


def test_the_largest_frame_goes_through_with_its_headers(line: Line) -> None:
    line.make()
    body = bytes(line.settings.max_frame_bytes)
    headers = tuple((f"ce_{number}", b"x" * 256) for number in range(20))
    line.producer().send(line.topic, b"cam", headers, body, PATIENCE_S)
    consumer = line.consumer()
    consumer.seek_to_beginning(*consumer.assigned())
    (record,) = read(consumer, 1)
    assert record.value == body
    assert record.headers == headers


def test_a_wrong_clock_of_the_producer_changes_nothing(line: Line) -> None:
    line.make()
    raw = KafkaProducer(bootstrap_servers=line.settings.kafka_servers)
    raw.send(line.topic, key=b"cam", value=b"", timestamp_ms=86_400_000).get(10)
    raw.close()
    consumer = line.consumer()
    consumer.seek_to_beginning(*consumer.assigned())
    (record,) = read(consumer, 1)
    assert abs(record.received_at.timestamp() - time.time()) < 3600


def test_what_retention_dropped_is_told_and_reading_goes_on_from_the_oldest(line: Line) -> None:
    line.make()
    line.send(b"0", b"1", b"2")
    line.admin().delete_records({TopicPartition(line.topic, 0): 2})
    consumer = line.consumer()
    (partition,) = consumer.assigned()
    consumer.seek(partition, 0)
    with capture_logs() as logs:
        assert [record.value for record in read(consumer, 1)] == [b"2"]
    (told,) = [entry for entry in logs if entry["event"] == "bus.records_lost_to_retention"]
    assert (told["log_level"], told["position"], told["oldest"], told["lost"]) == ("error", 0, 2, 2)


def test_a_position_behind_the_end_stops_the_reader(line: Line) -> None:
    line.make()
    line.send(b"0")
    consumer = line.consumer()
    (partition,) = consumer.assigned()
    consumer.seek(partition, 5000)
    with pytest.raises(PositionLostError, match=r"ends at 1, before the stored position 5000.*`differline positions`"):
        until(lambda: consumer.poll(1, 0.5))


class BrokenName(str):
    """A header name whose bytes are not UTF-8, as librdkafka lets one send."""

    __slots__ = ()

    def encode(self, *_: str) -> bytes:  # type: ignore[override]
        return b"\xff\xfe"


@pytest.mark.parametrize("group", [None, "readers"])
def test_a_record_that_cannot_be_read_is_handed_out_empty_and_reading_goes_on(line: Line, group: str | None) -> None:
    line.make(partitions=2)
    raw = KafkaProducer(bootstrap_servers=line.settings.kafka_servers, enable_idempotence=False)
    for number, name in enumerate(["fine", BrokenName("broken"), "fine", BrokenName("broken"), "fine"]):
        raw.send(line.topic, partition=0, value=str(number).encode(), headers=[(name, b"")]).get(10)
    raw.send(line.topic, partition=1, value=b"other").get(10)
    raw.close()
    consumer = line.consumer(group and f"{group}-{uuid.uuid4().hex}")
    until(lambda: consumer.poll(1, 0.1) or len(consumer.assigned()) == 2)
    for partition in consumer.assigned():
        consumer.seek_to_beginning(partition)
    records = read(consumer, 6)
    assert [r.value for r in records if r.partition.number == 1] == [b"other"]
    first = [r for r in records if r.partition.number == 0]
    assert [r.offset for r in first] == [0, 1, 2, 3, 4]
    assert [r.value for r in first] == [b"0", b"", b"2", b"", b"4"]
    assert [r.offset for r in first if dict(r.headers).get("unreadable")] == [1, 3]


def test_members_share_the_partitions_and_each_change_has_a_new_generation(line: Line) -> None:
    line.make(partitions=4)
    one, two = line.consumer("pair"), line.consumer("pair")
    until(lambda: one.poll(1, 0.1) or len(one.assigned()) == 4)
    alone = one.generation()
    until(lambda: (one.poll(1, 0.1), two.poll(1, 0.1)) and len(one.assigned()) == len(two.assigned()) == 2)
    assert one.assigned() | two.assigned() == {Partition(line.topic, number) for number in range(4)}
    together = one.generation()
    assert together > alone
    two.close()
    until(lambda: one.poll(1, 0.1) or len(one.assigned()) == 4)
    assert one.generation() > together


def test_after_a_rebalance_nothing_flows_until_it_is_sought_anew(line: Line) -> None:
    line.make(partitions=2)
    one = line.consumer("pair")
    until(lambda: one.poll(1, 0.1) or len(one.assigned()) == 2)
    for partition in one.assigned():
        one.seek_to_beginning(partition)
    before = one.generation()
    assert one.rejoin()
    line.send(*[b"x"] * 5)
    until(lambda: one.assigned() or one.poll(10, 0.1))
    assert one.generation() > before
    assert one.poll(10, 1.0) == []
    for partition in one.assigned():
        one.seek_to_beginning(partition)
    assert len(read(one, 5)) == 5


def test_an_observer_takes_nothing_from_a_member(line: Line) -> None:
    line.make(partitions=2)
    member, observer = line.consumer("scorers"), line.consumer()
    until(lambda: member.poll(1, 0.1) or len(member.assigned()) == 2)
    generation = member.generation()
    assert len(observer.assigned()) == 2
    assert not observer.rejoin()
    for _ in range(10):
        member.poll(1, 0.1)
    assert (len(member.assigned()), member.generation()) == (2, generation)


def test_what_is_done_shows_in_the_lag_of_the_group(line: Line) -> None:
    line.make()
    line.send(b"0", b"1", b"2")
    member = line.consumer("scorers-" + line.topic)
    until(lambda: member.poll(1, 0.1) or member.assigned())
    partition = Partition(line.topic, 0)
    member.seek(partition, 0)
    read(member, 3)
    member.done_until({partition: 2})
    admin = line.admin()

    def committed() -> bool:
        member.poll(1, 0.1)
        offsets = admin.list_group_offsets(["scorers-" + line.topic])["scorers-" + line.topic]
        return bool(offsets) and offsets[TopicPartition(line.topic, 0)].offset == 2

    until(committed)


def test_a_member_that_stays_keeps_its_partitions_and_loses_no_record(line: Line) -> None:
    line.make(kafka_max_poll_interval_s=6.0)
    member = line.consumer("patient")
    until(lambda: member.poll(1, 0.1) or member.assigned())
    member.seek(Partition(line.topic, 0), 0)
    line.send(*[str(number).encode() for number in range(5)])
    first = read_one(member)
    generation, waited = member.generation(), time.monotonic() + 9
    while time.monotonic() < waited:
        member.stay()
        time.sleep(0.5)
    assert [record.value for record in [first, *read(member, 4)]] == [b"0", b"1", b"2", b"3", b"4"]
    assert member.generation() == generation


def read_one(consumer: KafkaBusConsumer) -> Record:
    records: list[Record] = []
    until(lambda: records.extend(consumer.poll(1, 0.5)) or records)
    return records[0]


def test_a_client_that_stands_still_is_restarted_and_reads_on(line: Line) -> None:
    line.make()
    now = 0.0
    member = line.consumer("stuck", monotonic=lambda: now)
    until(lambda: member.poll(1, 0.1) or member.assigned())
    member.seek(Partition(line.topic, 0), 0)
    member._client.pause(TopicPartition(line.topic, 0))  # what a client that has lost its way looks like from outside
    line.send(b"0")
    generation = member.generation()
    with capture_logs() as logs:
        assert member.poll(1, 0.2) == []
        assert member.generation() == generation
        now = line.settings.kafka_stall_s + 1
        assert member.poll(1, 0.2) == []
    assert "bus.client_stalled" in [entry["event"] for entry in logs]
    assert member.generation() > generation
    until(lambda: member.poll(1, 0.1) or member.assigned())
    member.seek(Partition(line.topic, 0), 0)
    assert read_one(member).value == b"0"
