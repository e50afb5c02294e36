"""What differline asks of a frames bus (infra.bus.protocol), tested on every implementation."""

import threading
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from infra.bus import Consumer, Partition, Producer, Record
from infra.bus.span import records_of, spans_of
from infra.clock import utc_now
from infra.errors import BusAwayError, BusFullError
from infra.frames import Header

from .conftest import MortalBus, NewTopic, Topic

PATIENCE_S = 20.0
RESTART_S = 120.0  # a broker that starts on a busy machine


def send(producer: Producer, topic: Topic, *bodies: bytes, key: bytes = b"cam") -> None:
    for body in bodies:
        producer.send(topic.name, key, (), body, timeout_s=PATIENCE_S)


def reader(topic: Topic) -> Consumer:
    """A consumer that begins at the beginning of every partition."""
    consumer = topic.consumer()
    for partition in consumer.assigned():
        consumer.seek_to_beginning(partition)
    return consumer


def read(consumer: Consumer, count: int) -> list[Record]:
    """Read exactly so many records, and see that nothing comes behind them."""
    records: list[Record] = []
    deadline = time.monotonic() + PATIENCE_S
    while len(records) < count and time.monotonic() < deadline:
        records += consumer.poll(100, 0.5)
    records += consumer.poll(100, 0.0)
    assert len(records) == count
    return records


def read_first(consumer: Consumer) -> Record:
    """Read until there is a record; a bus that is just back may still be away for a poll or two."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        with suppress(BusAwayError):
            if records := consumer.poll(1, 0.5):
                return records[0]
    raise AssertionError("nothing came")


def numbered(count: int) -> list[bytes]:
    return [str(number).encode() for number in range(count)]


def keys_of_every_partition(new_topic: NewTopic, partitions: int) -> list[bytes]:
    """One key for each partition of a topic with so many, in the partitions' order."""
    topic = new_topic(partitions=partitions)
    producer = topic.producer()
    keys = [f"camera {number}".encode() for number in range(20 * partitions)]
    for key in keys:
        send(producer, topic, b"", key=key)
    found = {record.partition.number: record.key or b"" for record in read(reader(topic), len(keys))}
    assert len(found) == partitions
    return [found[number] for number in sorted(found)]


def test_a_key_keeps_its_partition_whichever_producer_sends(new_topic: NewTopic) -> None:
    topic = new_topic(partitions=4)
    keys = [f"camera {number}".encode() for number in range(40)]
    for producer in (topic.producer(), topic.producer()):
        for key in keys:
            send(producer, topic, b"", key=key)
    partitions = defaultdict(set)
    for record in read(reader(topic), 80):
        partitions[record.key].add(record.partition)
    assert sorted(partitions) == sorted(keys)
    assert all(len(found) == 1 for found in partitions.values())
    assert set().union(*partitions.values()) == {Partition(topic.name, number) for number in range(4)}


def test_a_partition_keeps_its_order_and_offsets_grow(new_topic: NewTopic) -> None:
    topic = new_topic()
    send(topic.producer(), topic, *numbered(300))
    records = read(reader(topic), 300)
    assert [record.value for record in records] == numbered(300)
    offsets = [record.offset for record in records]
    assert offsets == sorted(set(offsets))


def test_a_fresh_consumer_is_assigned_every_partition(new_topic: NewTopic) -> None:
    topic = new_topic(partitions=3)
    topic.producer()
    assert topic.consumer().assigned() == {Partition(topic.name, number) for number in range(3)}


HEADERS: tuple[Header, ...] = (
    ("ce_id", b"0197"),
    ("empty", b""),
    ("not UTF-8", b"\xff\x00\xfe caf\xe9"),
    ("every byte", bytes(range(256))),
    ("Größe", "größer".encode()),
    ("long", b"x" * 10_000),
)


@pytest.mark.parametrize(
    "body", [b"", b"\0", bytes(range(256)), np.random.default_rng(0).bytes(2**20)], ids=["none", "NUL", "all", "1 MiB"]
)
def test_key_headers_and_body_come_back_byte_for_byte(new_topic: NewTopic, body: bytes) -> None:
    topic = new_topic()
    topic.producer().send(topic.name, b"k\xff\0", HEADERS, body, PATIENCE_S)
    (record,) = read(reader(topic), 1)
    assert (record.key, record.headers, record.value) == (b"k\xff\0", HEADERS, body)


def test_of_a_repeated_header_the_last_one_is_the_last(new_topic: NewTopic) -> None:
    topic = new_topic()
    topic.producer().send(topic.name, b"cam", (("a", b"1"), ("b", b"2"), ("a", b"3")), b"", PATIENCE_S)
    (record,) = read(reader(topic), 1)
    assert dict(record.headers) == {"a": b"3", "b": b"2"}


@pytest.mark.parametrize("name", ["key", "body", "value", "headers", "offset"])
def test_a_header_never_takes_the_place_of_key_or_body(new_topic: NewTopic, name: str) -> None:
    topic = new_topic()
    topic.producer().send(topic.name, b"cam", ((name, b"a header"), ("ce_id", b"1")), b"a body", PATIENCE_S)
    (record,) = read(reader(topic), 1)
    assert (record.key, record.value) == (b"cam", b"a body")
    assert ("ce_id", b"1") in record.headers


def test_a_record_is_the_same_whenever_it_is_read(new_topic: NewTopic) -> None:
    topic = new_topic(partitions=2)
    before = utc_now() - timedelta(milliseconds=1)  # a bus may count milliseconds
    for key in (b"a", b"b", b"c"):
        send(topic.producer(), topic, b"1", b"2", key=key)
    after = utc_now()
    consumer = reader(topic)
    first = read(consumer, 6)
    for partition in consumer.assigned():
        consumer.seek_to_beginning(partition)
    for again in (read(consumer, 6), read(reader(topic), 6)):
        assert sorted(again, key=place) == sorted(first, key=place)
    for record in first:
        assert record.received_at.tzinfo is UTC
        assert before <= record.received_at <= after


def place(record: Record) -> tuple[Partition, int]:
    return record.partition, record.offset


def test_seek_goes_to_the_record_at_or_behind_the_offset(new_topic: NewTopic) -> None:
    topic = new_topic()
    send(topic.producer(), topic, *numbered(10))
    consumer = reader(topic)
    records = read(consumer, 10)
    for at, first in ((records[4].offset, 4), (records[4].offset + 1, 5), (records[0].offset - 1, 0), (0, 0)):
        consumer.seek(records[0].partition, at)
        assert [record.value for record in read(consumer, 10 - first)] == numbered(10)[first:]


def test_reading_goes_on_behind_the_last_record(new_topic: NewTopic) -> None:
    topic = new_topic()
    producer, consumer = topic.producer(), reader(topic)
    for body in numbered(5):
        send(producer, topic, body)
        assert [record.value for record in read(consumer, 1)] == [body]


def test_only_partitions_that_were_sought_are_read(new_topic: NewTopic) -> None:
    topic = new_topic(partitions=2)
    keys = keys_of_every_partition(new_topic, 2)
    for key in keys:
        send(topic.producer(), topic, key, key=key)
    consumer = topic.consumer()
    assert consumer.poll(10, 0.0) == []
    consumer.seek_to_beginning(Partition(topic.name, 1))
    assert [record.value for record in read(consumer, 1)] == [keys[1]]


@pytest.mark.parametrize("timeout_s", [0.0, 0.0001, 0.05])
def test_a_poll_that_finds_nothing_returns_nothing(new_topic: NewTopic, timeout_s: float) -> None:
    assert reader(new_topic(partitions=2)).poll(10, timeout_s) == []


def test_a_waiting_poll_gets_what_comes_meanwhile(new_topic: NewTopic) -> None:
    topic = new_topic(partitions=2)
    producer, consumer = topic.producer(), reader(topic)
    later = threading.Timer(0.2, send, (producer, topic, b"late"))
    later.start()
    records = read(consumer, 1)
    later.join()
    assert [record.value for record in records] == [b"late"]


@pytest.mark.parametrize("most", [1, 3, 4, 7])
def test_a_poll_returns_no_more_than_asked_for_and_loses_nothing(new_topic: NewTopic, most: int) -> None:
    topic = new_topic(partitions=4)
    for key in keys_of_every_partition(new_topic, 4):
        send(topic.producer(), topic, *numbered(5), key=key)
    consumer = reader(topic)
    bodies = defaultdict(list)
    deadline = time.monotonic() + PATIENCE_S
    while sum(map(len, bodies.values())) < 20 and time.monotonic() < deadline:
        records = consumer.poll(most, 1.0)
        assert len(records) <= most
        for record in records:
            bodies[record.partition].append(record.value)
    assert list(bodies.values()) == [numbered(5)] * 4


def test_a_busy_partition_does_not_starve_the_others(new_topic: NewTopic) -> None:
    topic = new_topic(partitions=4)
    keys = keys_of_every_partition(new_topic, 4)
    send(topic.producer(), topic, *([bytes(2**16)] * 400), key=keys[0])  # more than a client fetches at once
    for key in keys[1:]:
        send(topic.producer(), topic, b"quiet", key=key)
    consumer = reader(topic)
    busy, seen = 0, set()
    while len(seen) < 4:
        records = consumer.poll(16, PATIENCE_S)
        seen |= {record.partition.number for record in records}
        busy += sum(record.partition.number == 0 for record in records)
    assert busy < 400


def test_a_busy_partition_does_not_starve_the_others_for_a_batch(new_bounded_topic: NewTopic) -> None:
    topic = new_bounded_topic(partitions=4)
    keys = keys_of_every_partition(new_bounded_topic, 4)
    send(topic.producer(), topic, *numbered(400), key=keys[0])
    for key in keys[1:]:
        send(topic.producer(), topic, b"quiet", key=key)
    for most in (2, 16):
        consumer = reader(topic)
        seen = {record.partition.number for _ in range(8) for record in consumer.poll(most, 1.0)}
        assert seen == {0, 1, 2, 3}


def test_busy_partitions_take_turns(new_bounded_topic: NewTopic) -> None:
    topic = new_bounded_topic(partitions=4)
    for key in keys_of_every_partition(new_bounded_topic, 4):
        send(topic.producer(), topic, *numbered(20), key=key)
    consumer = reader(topic)
    seen = {record.partition.number for _ in range(8) for record in consumer.poll(2, 1.0)}
    assert seen == {0, 1, 2, 3}


def test_done_until_drops_only_what_lies_before(new_bounded_topic: NewTopic) -> None:
    topic = new_bounded_topic(partitions=2)
    keys = keys_of_every_partition(new_bounded_topic, 2)
    for key in keys:
        send(topic.producer(), topic, *numbered(6), key=key)
    consumer = reader(topic)
    first = [record for record in read(consumer, 12) if record.partition.number == 0]
    consumer.done_until({})
    consumer.done_until({first[0].partition: first[3].offset})
    left = sorted(read(reader(topic), 9), key=place)
    assert [record.value for record in left] == [*numbered(6)[3:], *numbered(6)]
    consumer.seek(first[0].partition, first[1].offset)  # a place that is gone: on from the oldest that is kept
    assert read(consumer, 3) == left[:3]


def test_a_partition_tells_what_it_holds(new_topic: NewTopic) -> None:
    topic = new_topic()
    producer, consumer = topic.producer(), topic.consumer()
    (partition,) = consumer.assigned()
    nothing = consumer.extent(partition)
    assert nothing.oldest == nothing.end
    assert consumer.count(partition, 0, 2**62) == 0
    send(producer, topic, *numbered(100))
    held = consumer.extent(partition)
    consumer.seek_to_beginning(partition)
    offsets = [record.offset for record in read(consumer, 100)]
    assert (held.oldest, held.end) == (offsets[0], offsets[-1] + 1)
    assert consumer.count(partition, held.oldest, held.end) == 100
    assert consumer.count(partition, 0, 2**62) == 100
    assert consumer.count(partition, offsets[3], offsets[70]) == 67
    assert consumer.count(partition, offsets[3] + 1, offsets[70] + 1) == 67
    assert consumer.count(partition, offsets[70], offsets[3]) == 0
    assert consumer.count(partition, held.end, held.end + 5) == 0


def test_a_time_is_found_in_a_partition(new_topic: NewTopic) -> None:
    topic = new_topic()
    producer, consumer = topic.producer(), topic.consumer()
    (partition,) = consumer.assigned()
    assert consumer.offset_at(partition, utc_now()) == consumer.extent(partition).end  # nothing came yet
    for body in numbered(5):
        send(producer, topic, body)
        time.sleep(0.005)  # buses count milliseconds
    consumer.seek_to_beginning(partition)
    records = read(consumer, 5)
    instant = timedelta(microseconds=1)
    for place, record in enumerate(records):
        for at, first in ((record.received_at, place), (record.received_at + instant, place + 1)):
            offset = consumer.offset_at(partition, at)
            consumer.seek(partition, offset)
            assert [each.value for each in read(consumer, 5 - first)] == numbered(5)[first:]
            assert consumer.count(partition, 0, offset) == first
    end = consumer.extent(partition).end
    assert consumer.offset_at(partition, utc_now() + timedelta(days=1)) == end
    for long_ago in (datetime.min.replace(tzinfo=UTC), records[0].received_at - timedelta(days=1)):
        consumer.seek(partition, consumer.offset_at(partition, long_ago))
        assert [each.value for each in read(consumer, 5)] == numbered(5)


def test_a_partition_that_was_left_is_read_no_more_and_the_others_are(new_topic: NewTopic) -> None:
    topic = new_topic(partitions=2)
    keys = keys_of_every_partition(new_topic, 2)
    for key in keys:
        send(topic.producer(), topic, *numbered(30), key=key)
    consumer = reader(topic)
    left, other = (Partition(topic.name, number) for number in range(2))
    taken = consumer.poll(8, PATIENCE_S)
    for _ in range(2):  # a second time changes nothing
        consumer.leave(left)
    rest = read(consumer, 30 - sum(record.partition == other for record in taken))
    assert {record.partition for record in rest} == {other}


def stretch(topic: Topic, since: datetime, until: datetime, at_once: int = 7, **known: int) -> list[list[Record]]:
    """Read a stretch as a replay does, by a reader of its own."""
    bus = topic.consumer()
    ends = {Partition(topic.name, int(number.lstrip("p"))): end for number, end in known.items()}
    return list(records_of(bus, spans_of(bus, since, until, ends), at_once))


def test_a_stretch_of_time_is_read_whole_and_nothing_else(new_topic: NewTopic) -> None:
    topic = new_topic(partitions=3)
    keys = keys_of_every_partition(new_topic, 3)
    producer = topic.producer()

    def send_to_all(body: bytes) -> datetime:
        time.sleep(0.005)
        between = utc_now()
        time.sleep(0.005)
        for key, count in zip(keys, (1, 20, 3), strict=True):
            send(producer, topic, *([body] * count), key=key)
        return between

    send_to_all(b"before")
    since, until = send_to_all(b"within"), send_to_all(b"behind")
    scorer = reader(topic)
    mine = scorer.poll(5, PATIENCE_S)
    parts = stretch(topic, since, until)
    assert max(map(len, parts)) <= 7
    assert [record.value for part in parts for record in part] == [b"within"] * 24
    rest = read(scorer, 72 - len(mine))  # it reads on as if nobody had been there
    assert len({place(record) for record in [*mine, *rest]}) == 72
    assert stretch(topic, until + timedelta(days=1), until + timedelta(days=2)) == []
    assert stretch(topic, since, since) == []
    assert len([record for part in stretch(topic, since, until + timedelta(days=1)) for record in part]) == 48


def test_a_stretch_reaches_to_what_is_known_of_it_also_where_the_clock_jumped_back(new_topic: NewTopic) -> None:
    topic = new_topic()
    send(topic.producer(), topic, *numbered(10))
    records = read(reader(topic), 10)
    since, until = records[0].received_at, records[0].received_at
    assert [record.value for part in stretch(topic, since, until, p0=records[6].offset + 1) for record in part] == (
        numbered(7)
    )
    beyond = stretch(topic, since, until, p0=records[-1].offset + 2**40)  # of a topic that was made anew since
    assert [record.value for part in beyond for record in part] == numbered(10)


def test_what_was_dropped_is_no_longer_held(new_bounded_topic: NewTopic) -> None:
    topic = new_bounded_topic()
    producer, consumer = topic.producer(), reader(topic)
    send(producer, topic, *numbered(3))
    records = read(consumer, 3)
    (partition,) = consumer.assigned()
    end = records[-1].offset + 1
    consumer.done_until({partition: records[1].offset})
    assert consumer.extent(partition) == (records[1].offset, end)
    consumer.done_until({partition: end})
    assert consumer.extent(partition) == (end, end)


def test_waiting_counts_exactly_what_lies_ahead(new_topic: NewTopic) -> None:
    topic = new_topic(partitions=2)
    keys = keys_of_every_partition(new_topic, 2)
    consumer = reader(topic)
    partitions = consumer.assigned()
    assert consumer.waiting(partitions) == 0
    for key in keys:
        send(topic.producer(), topic, *numbered(50), key=key)
    assert consumer.waiting(partitions) == 100
    assert consumer.waiting([Partition(topic.name, 0)]) == 50
    assert consumer.waiting([]) == 0
    taken = [record for _ in range(3) for record in consumer.poll(20, 1.0)]
    assert consumer.waiting(partitions) == 100 - len(taken)
    consumer.done_until({record.partition: record.offset + 1 for record in taken})
    assert consumer.waiting(partitions) == 100 - len(taken)
    last = read(consumer, 100 - len(taken))[-1]
    assert consumer.waiting(partitions) == 0
    consumer.seek(last.partition, last.offset)
    assert consumer.waiting(partitions) == 1


def test_a_full_partition_makes_the_producer_wait_until_something_is_done(new_bounded_topic: NewTopic) -> None:
    topic = new_bounded_topic(max_frames=5)
    producer, consumer = topic.producer(), reader(topic)
    send(producer, topic, *numbered(5))
    waiting = threading.Thread(target=send, args=(producer, topic, b"5"))
    waiting.start()
    waiting.join(0.3)
    assert waiting.is_alive()
    records = read(consumer, 5)
    waiting.join(0.3)
    assert waiting.is_alive()  # read is not done
    consumer.done_until({records[0].partition: records[0].offset + 1})
    waiting.join(PATIENCE_S)
    assert not waiting.is_alive()
    assert [record.value for record in read(reader(topic), 5)] == numbered(6)[1:]


def test_a_producer_that_waited_in_vain_says_so_and_nothing_was_pushed_out(new_bounded_topic: NewTopic) -> None:
    topic = new_bounded_topic(max_frames=3)
    send(topic.producer(), topic, *numbered(3))
    with pytest.raises(BusFullError):
        topic.producer().send(topic.name, b"cam", (), b"too much", timeout_s=0.2)
    assert [record.value for record in read(reader(topic), 3)] == numbered(3)


def test_a_full_partition_does_not_hold_up_another(new_bounded_topic: NewTopic) -> None:
    topic = new_bounded_topic(partitions=2, max_frames=60)
    full, free = keys_of_every_partition(new_bounded_topic, 2)
    producer = topic.producer()
    send(producer, topic, *numbered(60), key=full)
    send(producer, topic, b"free", key=free)
    with pytest.raises(BusFullError):
        producer.send(topic.name, full, (), b"", timeout_s=0.05)


def test_several_producers_at_once_keep_the_bound_and_lose_nothing(new_bounded_topic: NewTopic) -> None:
    topic = new_bounded_topic(max_frames=7)
    together = threading.Barrier(4)
    acknowledged: list[bytes] = []

    def produce(name: int) -> None:
        producer = topic.producer()
        together.wait(PATIENCE_S)
        for number in range(5):
            body = f"{name}/{number}".encode()
            try:
                producer.send(topic.name, b"cam", (), body, timeout_s=0.05)
            except BusFullError:
                return
            acknowledged.append(body)

    threads = [threading.Thread(target=produce, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert len(acknowledged) == 7
    assert sorted(record.value for record in read(reader(topic), 7)) == sorted(acknowledged)


def test_an_acknowledged_record_survives_a_kill_of_the_server(mortal_bus: MortalBus) -> None:
    topic = mortal_bus.new_topic(partitions=2)
    keys = keys_of_every_partition(mortal_bus.new_topic, 2)
    producer = topic.producer()
    for body in numbered(20):
        producer.send(topic.name, keys[int(body) % 2], HEADERS, body, PATIENCE_S)
    before = read(reader(topic), 20)
    mortal_bus.kill()
    mortal_bus.start()
    assert sorted(read(reader(topic), 20), key=place) == sorted(before, key=place)


def test_offsets_grow_over_a_kill_also_where_everything_was_dropped(mortal_bus: MortalBus) -> None:
    topic = mortal_bus.new_topic()
    producer, consumer = topic.producer(), reader(topic)
    send(producer, topic, b"before")
    (before,) = read(consumer, 1)
    consumer.done_until({before.partition: before.offset + 1})
    mortal_bus.kill()
    mortal_bus.start()
    send(producer, topic, b"behind")
    (behind,) = read(consumer, 1)  # the same consumer goes on where it was
    assert behind.value == b"behind"
    assert behind.offset > before.offset


def test_an_absent_bus_is_said_to_be_away_and_no_call_hangs(mortal_bus: MortalBus) -> None:
    topic = mortal_bus.new_topic()
    producer, consumer = topic.producer(), reader(topic)
    send(producer, topic, b"1")
    partition = Partition(topic.name, 0)
    mortal_bus.kill()
    calls: list[Callable[[], object]] = [
        lambda: producer.send(topic.name, b"cam", (), b"2", timeout_s=0.2),
        lambda: consumer.poll(10, 0.1),
        lambda: consumer.waiting([partition]),
    ]
    for call in calls:
        with pytest.raises(BusAwayError):
            call()
    with suppress(BusAwayError):  # a bus that drops nothing then has nothing to say
        consumer.done_until({partition: 0})
    mortal_bus.start()
    assert read_first(consumer).value == b"1"  # what was not acknowledged may come behind it, or not


def test_a_producer_waits_for_an_absent_bus_and_goes_on(mortal_bus: MortalBus) -> None:
    topic = mortal_bus.new_topic()
    producer = topic.producer()
    send(producer, topic, b"before")
    mortal_bus.kill()
    arguments = (topic.name, b"cam", (), b"while away", RESTART_S)
    waiting = threading.Thread(target=producer.send, args=arguments)
    waiting.start()
    waiting.join(0.3)
    assert waiting.is_alive()
    mortal_bus.start()
    waiting.join(RESTART_S)
    assert not waiting.is_alive()
    assert [record.value for record in read(reader(topic), 2)] == [b"before", b"while away"]
