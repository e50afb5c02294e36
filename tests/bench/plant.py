"""What one machine gives of the figures that infra/deploy/SIZING.md asks for: K, R and V.

usage: python -m tests.bench.plant [--quick]

K: frames a second that kafka-python reads through our consumer, 55 kB each. R: messages a second that the relay publishes
with a full outbox. V: verdicts a second into a PostgreSQL server with 24 and 96 connections that write batches of 64 at once.
Servers and clients share the cores of this machine; a plant's do not.
"""

import argparse
import contextlib
import os
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path
from threading import Barrier

import sqlalchemy as sa

from infra.bus import Message, Partition
from infra.bus.kafka import KafkaBusConsumer, KafkaPublisher
from infra.bus.topics import create_topics
from infra.clock import utc_now
from infra.frames import new_id
from infra.outputs.connect import open_sinks
from infra.outputs.relay import Relay
from infra.settings import Settings
from infra.store.connect import open_database
from infra.store.models import register_in_force
from infra.store.positions import claim
from infra.store.results import Batch, VerdictRow, write_batch
from infra.store.schema import migrate
from infra.telemetry import configure_logging, get_logger
from trainer.bench.machine import machine_line
from trainer.bench.tables import table

from ..kafka_server import running_kafka
from ..servers import LocalServers, ServersError
from .volume import MODEL, row_of

FRAME_BYTES = 55_819
BATCH_FRAMES = 64
CAMERAS = 1_000
CONNECTIONS = (24, 96)


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    frames: int = 4_000
    messages: int = 20_000
    verdicts: int = 60_000  # over all connections
    rounds: int = 3


QUICK = Size(frames=400, messages=2_000, verdicts=12_288, rounds=1)


def reading(settings: Settings, frames: int, rounds: int) -> Iterator[list[str]]:
    """K: frames that lie on the bus, read by the scorers' consumer in batches."""
    create_topics(settings)
    body = os.urandom(FRAME_BYTES)
    message = [Message(settings.frames_topic, f"camera-{number}".encode(), (), body) for number in range(200)]
    with contextlib.closing(KafkaPublisher(settings)) as publisher:
        for _ in range(frames // len(message)):
            if any(publisher.publish(message, 60)):
                raise SystemExit("the broker did not take the frames")
    for batch_frames in (16, BATCH_FRAMES):
        chosen = settings.model_copy(update={"batch_frames": batch_frames})
        rate = statistics.median(read_all(chosen, frames) for _ in range(rounds))
        what = f"kafka-python reading {FRAME_BYTES:,} B records, polls of {batch_frames}"
        yield ["K", what, f"{rate:,.0f} frames/s", f"{rate * FRAME_BYTES / 1e6:.0f} MB/s"]


def read_all(settings: Settings, frames: int) -> float:
    """Read the topic once, frames a second."""
    with contextlib.closing(KafkaBusConsumer(settings, settings.frames_topic, group=None)) as consumer:
        for partition in consumer.assigned():
            consumer.seek_to_beginning(partition)
        started, left = time.perf_counter(), frames
        while left:
            left -= len(consumer.poll(settings.batch_frames, 0.5))
        return frames / (time.perf_counter() - started)


def relaying(settings: Settings, database: sa.Engine, model_id: int, size: Size) -> Iterator[list[str]]:
    """R: a full outbox, published until it is empty."""
    for cameras in (CAMERAS, 8):
        rates = []
        for number in range(size.rounds):
            partition = Partition(f"outbox of {cameras}", number)
            rows = [
                replace(row, topic=partition.topic, camera=f"camera-{row.bus_offset % cameras:04}")
                for row in verdict_rows(partition.number, size.messages, model_id)
            ]
            write(database, partition, rows, 1_000)
            rates.append(publish_all(settings, database, size.messages))
        rate = statistics.median(rates)
        yield ["R", f"relay, outbox of {size.messages:,}, {cameras:,} cameras", f"{rate:,.0f} messages/s", ""]


def publish_all(settings: Settings, database: sa.Engine, messages: int) -> float:
    """Let a relay empty the outbox; messages a second."""
    (sink,) = open_sinks(settings)
    with contextlib.closing(sink):
        relay = Relay(database, [sink], get_logger("relay"))
        started = time.perf_counter()
        published = relay.run(until_idle_s=0)
        seconds = time.perf_counter() - started
    if published != messages:
        raise SystemExit(f"the relay published {published} messages, not {messages}")
    return messages / seconds


def writing(url: str, model_id: int, size: Size) -> Iterator[list[str]]:
    """V: so many connections at once, each with a partition of its own, as scorers have."""
    processes = os.cpu_count() or 1
    context = get_context("spawn")
    with context.Manager() as manager, ProcessPoolExecutor(processes, mp_context=context) as pool:
        for connections in CONNECTIONS:
            batches = max(1, size.verdicts // connections // BATCH_FRAMES)
            rates = []
            for number in range(size.rounds):
                shares = [range(connections)[place::processes] for place in range(processes)]
                topic, barrier = f"frames of {connections}, {number}", manager.Barrier(connections)
                work = Writing(url, topic, model_id, batches, barrier)
                times = [span for spans in pool.map(writers, repeat(work), shares) for span in spans]
                seconds = max(end for _, end in times) - min(start for start, _ in times)
                rates.append(connections * batches * BATCH_FRAMES / seconds)
            what = f"{connections} connections, batches of {BATCH_FRAMES}, with outbox, ledger and position"
            yield [
                "V",
                what,
                f"{statistics.median(rates):,.0f} verdicts/s",
                f"from {processes} processes on the same cores",
            ]


@dataclass(frozen=True)
class Writing:
    """What each connection writes, and where."""

    url: str
    topic: str
    model_id: int
    batches: int
    begin: Barrier


def writers(writing: Writing, partitions: Sequence[int]) -> list[tuple[float, float]]:
    """Write a share of the partitions, a thread and a connection each; when each began and ended."""

    def work(number: int) -> tuple[float, float]:
        partition = Partition(writing.topic, number)
        rows = verdict_rows(number, writing.batches * BATCH_FRAMES, writing.model_id)
        rows = [replace(row, topic=writing.topic) for row in rows]
        database = open_database(writing.url, pool_size=1)
        with database.connect():
            writing.begin.wait(120)
        started = time.time()
        write(database, partition, rows, BATCH_FRAMES)
        ended = time.time()
        database.dispose()
        return started, ended

    with ThreadPoolExecutor(len(partitions)) as threads:
        return list(threads.map(work, partitions))


def verdict_rows(partition: int, count: int, model_id: int) -> list[VerdictRow]:
    """Verdicts of one camera's run."""
    run = new_id()
    return [row_of(offset, partition, model_id, run) for offset in range(count)]


def write(database: sa.Engine, partition: Partition, rows: Sequence[VerdictRow], batch: int) -> None:
    """Write verdicts as a scorer does, a batch a transaction."""
    mine = claim(database, partition, "bench")
    for start in range(0, len(rows), batch):
        part = rows[start : start + batch]
        whole = Batch(part, [], [], {partition: part[-1].bus_offset + 1})
        write_batch(database, [mine], whole, dedupe_days=7, fill_outbox=True)


@contextlib.contextmanager
def running_postgres(folder: Path) -> Iterator[str]:
    """The PostgreSQL server of `make up`, which takes as many connections as a plant has; its URL."""
    folder.chmod(0o755)  # PostgreSQL runs under an account of its own
    servers = LocalServers(folder)
    try:
        yield servers.up("postgres")["DIFFERLINE_DATABASE_URL"]
    except ServersError as error:
        raise SystemExit(str(error)) from error
    finally:
        servers.down("postgres")


def main() -> None:
    """Print the table, a row as soon as it is known."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the work, once, to see that it works")
    size = QUICK if parser.parse_args().quick else Size()
    configure_logging("error")
    print(machine_line() + f"; medians of {size.rounds}\n", flush=True)
    with (
        tempfile.TemporaryDirectory(prefix="differline-bench-", ignore_cleanup_errors=True) as name,
        running_postgres(Path(name)) as url,
        running_kafka() as kafka,
    ):
        settings = Settings(data_dir=Path(name), bus="kafka", kafka_servers=kafka.address, frames_topic="bench")
        database = open_database(url, pool_size=2)
        migrate(database, utc_now())
        model_id = register_in_force(database, MODEL).id
        print(table(["figure", "of what", "value", ""], []), flush=True)
        for row in reading(settings, size.frames, size.rounds):
            print("| " + " | ".join(row) + " |", flush=True)
        for row in relaying(settings, database, model_id, size):
            print("| " + " | ".join(row) + " |", flush=True)
        for row in writing(url, model_id, size):
            print("| " + " | ".join(row) + " |", flush=True)
        database.dispose()


if __name__ == "__main__":
    main()
