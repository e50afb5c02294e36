"""Reading from Kafka: a member of a consumer group, or an observer."""

import time
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from typing import Any

from kafka import KafkaConsumer, OffsetAndMetadata, TopicPartition
from kafka.errors import CorruptRecordError, KafkaError, KafkaTimeoutError, OffsetOutOfRangeError

from infra.bus.kafka.assignment import Assignment, raw_partition
from infra.bus.kafka.connection import (
    ANSWER_S,
    bus_errors,
    connection_options,
    largest_message,
    open_client,
    require_fast_checksums,
)
from infra.bus.kafka.stalls import StallWatch
from infra.bus.protocol import Extent, Partition, Record
from infra.clock import whole_milliseconds
from infra.errors import BusAwayError, PositionLostError
from infra.settings import Settings
from infra.telemetry import get_logger

_CLOSE_S = 5.0
_LOG_APPEND_TIME = 1
_UNREADABLE = (UnicodeDecodeError, CorruptRecordError)

_log = get_logger("bus")


class KafkaBusConsumer:
    """Reads from Kafka; see `infra.bus.protocol.Observer`. One thread uses it.

    With a group it shares the topic's partitions with the other members of the group. Without one it watches all
    partitions and takes none from anybody, for the ledger. It connects with the first call that needs a broker.

    Records that Kafka dropped before they were read (their retention was over) are never skipped in silence: reading goes
    on from the oldest one left, an error is logged with how many are lost, and the ledger shows the gap. It never goes on
    from the newest. A position behind the end of its partition is a `PositionLostError`.

    A record that kafka-python cannot read, such as one whose header names are not UTF-8, is handed out empty with a header
    `unreadable`, so that it is accounted for.
    """

    def __init__(
        self, settings: Settings, topic: str, group: str | None, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        """Prepare a consumer.

        Args:
            settings: Brokers, security, timeouts.
            topic: What to read.
            group: The consumer group to be a member of; None watches.
            monotonic: Clock of the watchdog, in seconds.

        Raises:
            EngineError: Checksums would be computed in Python.
            SettingsError: The security settings contradict each other.
        """
        require_fast_checksums()
        largest = largest_message(settings)
        self._options = {
            **connection_options(settings),
            "group_id": group,
            "enable_auto_commit": False,
            "auto_offset_reset": "none",
            "max_poll_records": settings.batch_frames,
            "max_partition_fetch_bytes": largest,
            "fetch_max_bytes": 2 * largest,
            "session_timeout_ms": int(settings.kafka_session_timeout_s * 1000),
            "heartbeat_interval_ms": int(settings.kafka_session_timeout_s * 1000 / 4),
            "max_poll_interval_ms": int(settings.kafka_max_poll_interval_s * 1000),
            "allow_auto_create_topics": False,
            "metrics_enabled": False,
        }
        self._topic = topic
        self._group = group
        self._monotonic = monotonic
        self._client: Any = None
        self._assignment = Assignment()
        self._watch = StallWatch(settings.kafka_stall_s, buffered_bytes=4 * largest)
        self._look_every_s = settings.kafka_stall_s / 4
        self._next_look = 0.0
        self._warned_of_clock = False

    def assigned(self) -> frozenset[Partition]:
        """Return what the group gave us; the first polls make us a member of it."""
        with bus_errors(f"ask for the partitions of {self._topic}"):
            client = self._open()
            if self._group is None:
                self._watch_all(client)
        return self._assignment.partitions

    def generation(self) -> int:
        """Count the rebalances: after each one every partition must be claimed and sought anew."""
        return self._assignment.generation

    def rejoin(self) -> bool:
        """Leave the group and join it again: another member was given a partition that we took for ours."""
        if self._group is not None:
            self._restart()
        return self._group is not None

    def stay(self) -> None:
        """Show the group that we live, while no frames are wanted."""
        with bus_errors("stay in the group"):
            client = self._open()
            flowing = set(client.assignment()) - set(client.paused())
            client.pause(*flowing)
            try:
                client.poll(timeout_ms=0, max_records=1)
            finally:
                client.resume(*flowing & set(map(raw_partition, self._assignment.sought)))

    def seek(self, partition: Partition, offset: int) -> None:
        """Read on from the first record at or behind `offset`."""
        with bus_errors("seek"):
            self._assignment.seek(self._open(), partition, max(0, offset))

    def seek_to_beginning(self, partition: Partition) -> None:
        """Read on from the oldest record that Kafka keeps."""
        with bus_errors("find the oldest record"):
            client = self._open()
            self._assignment.seek(client, partition, self._oldest(client, partition))

    def poll(self, max_records: int, timeout_s: float) -> list[Record]:
        """Return the next records; also does what the group asks of a member, such as giving partitions back."""
        with bus_errors(f"read {self._topic}"):
            client = self._open()
            try:
                found = client.poll(timeout_ms=int(timeout_s * 1000), max_records=max_records)
            except OffsetOutOfRangeError as error:
                self._go_on_from_oldest(client, error)
                return []
            except _UNREADABLE as error:
                return self._read_around(client, error)
            except KafkaError:
                self._restart()  # kafka-python does not go on from every error of a poll
                raise
            records = [self._record(raw) for batch in found.values() for raw in batch]
            self._look_for_stalls(client, records)
            return records

    def done_until(self, offsets: Mapping[Partition, int]) -> None:
        """Commit these offsets to the group, for lag displays only: never waits, never raises."""
        if self._group is None or self._client is None:
            return
        try:
            self._client.commit_async(
                {raw_partition(partition): OffsetAndMetadata(offset, "", -1) for partition, offset in offsets.items()},
                callback=_tell_commit,
            )
        except KafkaError as error:
            _tell_commit(offsets, error)

    def waiting(self, partitions: Collection[Partition]) -> int:
        """Count the records between the current positions and the ends."""
        with bus_errors("ask for the ends of the partitions"):
            client = self._open()
            positions = self._positions(client)
            ends = self._ends(client, partitions)
            return sum(
                max(0, end - (positions[p] if p in positions else self._oldest(client, p))) for p, end in ends.items()
            )

    def extent(self, partition: Partition) -> Extent:
        """Ask for the oldest offset and the end."""
        with bus_errors("ask what a partition holds"):
            client = self._open()
            return Extent(self._oldest(client, partition), self._ends(client, [partition])[partition])

    def count(self, partition: Partition, since: int, until: int) -> int:
        """Count the offsets that are kept; where a transaction left marks between the records, these count, too."""
        held = self.extent(partition)
        return max(0, min(until, held.end) - max(since, held.oldest))

    def offset_at(self, partition: Partition, time: datetime) -> int:
        """Ask Kafka's index of times."""
        with bus_errors("find a time"):
            client, raw = self._open(), raw_partition(partition)
            wanted = {raw: whole_milliseconds(time)}
            found = client.offsets_for_times(wanted, timeout_ms=int(ANSWER_S * 1000))[raw]
            return self._ends(client, [partition])[partition] if found is None else int(found.offset)

    def leave(self, partition: Partition) -> None:
        """Hold a partition.

        For good: kafka-python keeps what it has fetched of a held partition, and may never hand it out when it flows again.
        """
        with bus_errors("leave a partition"):
            self._assignment.leave(self._open(), partition)

    def close(self) -> None:
        """Leave the group, so that others get the partitions at once, and let go of the connections."""
        client, self._client = self._client, None
        if client is not None:
            try:
                client.close(autocommit=False, timeout_ms=int(_CLOSE_S * 1000))
            except (KafkaError, RuntimeError) as error:
                _log.warning("bus.closed_without_goodbye", reason=str(error))

    def _open(self) -> Any:
        if self._client is None:
            client = open_client(KafkaConsumer, self._options)
            try:
                self._join(client)
            except BaseException:
                client.close(autocommit=False, timeout_ms=0)
                raise
            self._client = client
        return self._client

    def _join(self, client: Any) -> None:
        first = TopicPartition(self._topic, 0)
        if self._group is None:
            client.assign([first])
        else:
            client.subscribe([self._topic], listener=self._assignment.listener(client))
        try:
            client.end_offsets([first], timeout_ms=int(ANSWER_S * 1000))
        except KafkaTimeoutError as error:
            raise BusAwayError(f"no broker leads the topic {self._topic}; `differline topics` makes it") from error
        if self._group is None:
            self._watch_all(client)

    def _watch_all(self, client: Any) -> None:
        known = frozenset(Partition(self._topic, number) for number in client.partitions_for_topic(self._topic))
        new = known - self._assignment.partitions
        if new:
            client.assign([raw_partition(partition) for partition in sorted(known)])
            self._assignment.add(client, [raw_partition(partition) for partition in new])

    def _restart(self) -> None:
        """Throw the client away; the next call makes a new one, which is assigned its partitions anew."""
        self.close()
        self._assignment.clear()
        self._watch.forget()

    def _positions(self, client: Any) -> dict[Partition, int]:
        """Where each sought partition is read next; also behind records that a transaction left and nobody is shown."""
        return {partition: client.position(raw_partition(partition)) for partition in self._assignment.sought}

    def _ends(self, client: Any, partitions: Collection[Partition]) -> dict[Partition, int]:
        ends = (
            client.end_offsets([raw_partition(p) for p in partitions], timeout_ms=int(ANSWER_S * 1000))
            if partitions
            else {}
        )
        return {Partition(raw.topic, raw.partition): offset for raw, offset in ends.items()}

    def _oldest(self, client: Any, partition: Partition) -> int:
        raw = raw_partition(partition)
        return int(client.beginning_offsets([raw], timeout_ms=int(ANSWER_S * 1000))[raw])

    def _look_for_stalls(self, client: Any, records: list[Record]) -> None:
        """Ask where the partitions end: after every empty poll, which so tells an idle bus from an absent one."""
        self._watch.handed_out(sum(len(record.value) for record in records))
        now = self._monotonic()
        if records and now < self._next_look:
            return
        self._next_look = now + self._look_every_s
        positions = self._positions(client)
        ends = self._ends(client, positions or [Partition(self._topic, 0)])
        stalled = self._watch.look(now, positions, ends, idle=not records)
        if stalled:
            numbers = sorted(partition.number for partition in stalled)
            _log.error("bus.client_stalled", topic=self._topic, partitions=numbers, action="restart")
            self._restart()

    def _go_on_from_oldest(self, client: Any, error: OffsetOutOfRangeError) -> None:
        for raw, wanted in error.args[0].items():
            partition = Partition(raw.topic, raw.partition)
            oldest, end = self._oldest(client, partition), self._ends(client, [partition])[partition]
            if wanted > end:
                self._restart()
                raise PositionLostError(
                    f"{partition.topic}/{partition.number} ends at {end}, before the stored position {wanted}: the topic was "
                    "made anew, or lost what it had acknowledged; nothing of it is read until a person has looked: "
                    f"`differline positions`, then `--reset {partition.topic}/{partition.number} --to oldest --why …`"
                )
            _log.error(
                "bus.records_lost_to_retention",
                topic=partition.topic,
                partition=partition.number,
                position=wanted,
                oldest=oldest,
                lost=max(0, oldest - wanted),
            )
            self._assignment.seek(client, partition, oldest)

    def _read_around(self, client: Any, error: Exception) -> list[Record]:
        """Find the record that cannot be read, step over it, and hand it out empty.

        A second client looks for it. The first one must not be polled before it stands at another position: kafka-python
        would go round for ever in the broken rest of its buffer.
        """
        _log.error("bus.record_unreadable", topic=self._topic, reason=str(error))
        found = []
        observer = open_client(KafkaConsumer, {**self._options, "group_id": None})
        try:
            for partition, position in self._positions(client).items():
                if reason := _why_unreadable(observer, partition, position):
                    client.seek(raw_partition(partition), position + 1)
                    headers = (("unreadable", reason.encode()),)
                    found.append(Record(partition, position, None, headers, b"", datetime.now(UTC)))
        finally:
            observer.close(autocommit=False)
        if not found:
            self._restart()  # it can be read after all, but not by a client that has failed once
        return found

    def _record(self, raw: Any) -> Record:
        if raw.timestamp_type != _LOG_APPEND_TIME and not self._warned_of_clock:
            self._warned_of_clock = True
            _log.warning(
                "bus.producer_clock", topic=self._topic, advice="run `differline topics`: it sets LogAppendTime"
            )
        return Record(
            partition=Partition(raw.topic, raw.partition),
            offset=raw.offset,
            key=raw.key or None,
            headers=tuple((name, value or b"") for name, value in raw.headers),
            value=raw.value or b"",
            received_at=datetime.fromtimestamp(max(0, raw.timestamp) / 1000, UTC),
        )


def _why_unreadable(observer: Any, partition: Partition, position: int) -> str | None:
    raw = raw_partition(partition)
    observer.assign([raw])
    observer.seek(raw, position)
    try:
        observer.poll(timeout_ms=int(ANSWER_S * 1000) // 5, max_records=1)
    except _UNREADABLE as reason:
        return f"{type(reason).__name__}: {reason}"
    except OffsetOutOfRangeError:
        return None  # nothing lies there yet
    return None


def _tell_commit(_offsets: object, response: object) -> None:
    if isinstance(response, Exception):  # the next batch commits again; positions live in PostgreSQL
        _log.info("bus.lag_not_shown", reason=f"{type(response).__name__}: {response}")
