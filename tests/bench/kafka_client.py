"""One Kafka client library in a process of its own, driven by `kafka_clients.py`.

usage: python -m tests.bench.kafka_client kafka-python|confluent-kafka SERVERS

Each line of standard input is a JSON object (`do`: produce or consume; topic, partitions, size_bytes, count); each line of
output is how long it took, in seconds. Producing ends with the last acknowledgement, consuming with the last message.
"""

import json
import os
import sys
import time
from dataclasses import dataclass
from typing import Any, Protocol

import confluent_kafka
import kafka
from kafka.record import util as checksums

from infra.bus.kafka import producer
from infra.bus.kafka.connection import connection_options, largest_message
from infra.settings import Settings

PATIENCE_S = 120.0
SETTLE_S = 0.6  # longer than a fetch of the last topic may wait at the broker (0.5 s), where it holds up the next one


@dataclass(frozen=True)
class Work:
    topic: str
    partitions: int
    size_bytes: int
    count: int


class Client(Protocol):
    def produce(self, work: Work) -> float: ...

    def consume(self, work: Work) -> float: ...


class KafkaPython:
    """With the options of our own producer and consumer."""

    def __init__(self, settings: Settings) -> None:
        patient = {"max_block_ms": int(PATIENCE_S * 1000), "delivery_timeout_ms": int(PATIENCE_S * 1000)}
        self._producer = kafka.KafkaProducer(**producer.producer_options(settings) | patient)
        self._consumer = kafka.KafkaConsumer(
            **connection_options(settings),
            group_id=None,
            auto_offset_reset="none",
            max_partition_fetch_bytes=largest_message(settings),
            fetch_max_bytes=2 * largest_message(settings),
            metrics_enabled=False,
        )

    def produce(self, work: Work) -> float:
        body = os.urandom(work.size_bytes)
        self._producer.send(work.topic, body, partition=0).get(PATIENCE_S)  # connected, and the topic is known
        started = time.perf_counter()
        waiting = [
            self._producer.send(work.topic, body, partition=number % work.partitions) for number in range(work.count)
        ]
        for sent in waiting:
            sent.get(PATIENCE_S)
        return time.perf_counter() - started

    def consume(self, work: Work) -> float:
        parts = [kafka.TopicPartition(work.topic, number) for number in range(work.partitions)]
        self._consumer.end_offsets(parts)  # connected, and the topic is known
        time.sleep(SETTLE_S)
        started = time.perf_counter()
        self._consumer.assign(parts)
        for part in parts:
            self._consumer.seek(part, 0)
        left = work.count
        while left > 0:
            left -= sum(map(len, self._consumer.poll(timeout_ms=1000).values()))
        seconds = time.perf_counter() - started
        self._consumer.unsubscribe()
        return seconds


class Confluent:
    """The same promises (acks, idempotence, checksums looked at, no linger); what else there is as librdkafka has it."""

    def __init__(self, settings: Settings) -> None:
        servers = {"bootstrap.servers": settings.kafka_servers}
        largest = largest_message(settings)
        self._producer = confluent_kafka.Producer(
            servers | {"acks": "all", "enable.idempotence": True, "linger.ms": 0, "message.max.bytes": largest}
        )
        self._consumer = confluent_kafka.Consumer(
            servers
            | {
                "group.id": "bench",
                "enable.auto.commit": False,
                "check.crcs": True,
                "max.partition.fetch.bytes": largest,
                "fetch.max.bytes": 2 * largest,
            }
        )

    def produce(self, work: Work) -> float:
        body = os.urandom(work.size_bytes)
        self._send(work, body, 1)
        started = time.perf_counter()
        self._send(work, body, work.count)
        return time.perf_counter() - started

    def _send(self, work: Work, body: bytes, count: int) -> None:
        refused: list[Any] = []

        def answered(error: Any, _message: Any) -> None:
            if error is not None:
                refused.append(error)

        for number in range(count):
            self._producer.produce(work.topic, body, partition=number % work.partitions, on_delivery=answered)
            self._producer.poll(0)
        if self._producer.flush(PATIENCE_S) or refused:
            raise SystemExit(f"confluent-kafka did not send everything: {refused[:1]}")

    def consume(self, work: Work) -> float:
        parts = [confluent_kafka.TopicPartition(work.topic, number, 0) for number in range(work.partitions)]
        for part in parts:
            self._consumer.get_watermark_offsets(part, timeout=PATIENCE_S)  # connected, and the topic is known
        time.sleep(SETTLE_S)
        started = time.perf_counter()
        self._consumer.assign(parts)
        left = work.count
        while left > 0:
            for message in self._consumer.consume(num_messages=min(500, left), timeout=1):
                if message.error():
                    raise SystemExit(str(message.error()))
                left -= 1
        seconds = time.perf_counter() - started
        self._consumer.unassign()
        return seconds


def main(library: str, servers: str) -> None:
    """Do what the lines of standard input say."""
    settings = Settings(bus="kafka", kafka_servers=servers)
    if checksums.crc32c_c is None:
        producer.require_fast_checksums = lambda: None  # the very thing to be measured
    client: Client = KafkaPython(settings) if library == "kafka-python" else Confluent(settings)
    print("ready" if checksums.crc32c_c else "ready, with checksums in Python", flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        do = getattr(client, request.pop("do"))
        print(do(Work(**request)), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
