"""Kafka clients side by side: kafka-python with and without the package crc32c, and confluent-kafka.

usage: python -m tests.bench.kafka_clients [--quick]

Each client is a process of its own; they take turns, in another order each round, on one broker that this script starts.
acks=all, idempotence, checksums looked at, no compression, four partitions. What is printed are medians over the rounds.
"""

import argparse
import contextlib
import json
import random
import statistics
import subprocess
import sys
import time
import uuid
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from infra.bus.topics import create_topics
from infra.settings import Settings
from trainer.bench.machine import machine_line
from trainer.bench.tables import table

from ..kafka_server import running_kafka
from .kafka_client import Work

SIZES = {"0.1 MB": 100_000, "1 MB": 1_000_000, "4 MB": 4_000_000}
ROUNDS = 7
BUDGET_S = 210.0  # no further round begins later
MODULE = "tests.bench.kafka_client"
WITHOUT_CRC32C = f"import runpy, sys; sys.modules['crc32c'] = None; runpy.run_module('{MODULE}', run_name='__main__')"


@dataclass(frozen=True)
class Variant:
    """A client to be measured."""

    name: str
    command: tuple[str, ...]
    library: str
    megabytes: int  # how much it moves in one measurement


VARIANTS = (
    Variant("kafka-python, crc32c", ("-m", MODULE), "kafka-python", 64),
    Variant("kafka-python, checksums in Python", ("-c", WITHOUT_CRC32C), "kafka-python", 8),
    Variant("confluent-kafka", ("-m", MODULE), "confluent-kafka", 64),
)
OURS = VARIANTS[0]
Rates = dict[tuple[str, str, str], list[float]]  # by client, size and direction: bytes a second, one for each round


class Process:
    """A client's process."""

    def __init__(self, variant: Variant, servers: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, *variant.command, variant.library, servers],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        slow = "ready, with checksums in Python" if "-c" in variant.command else "ready"
        if self._answer() != slow:
            raise SystemExit(f"{variant.name} does not measure what it should")

    def seconds(self, do: str, work: Work) -> float:
        """Let it work; how long it took."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do, **asdict(work)}) + "\n")
        self._process.stdin.flush()
        return float(self._answer())

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline().strip()
        if not line:
            raise SystemExit(f"{self._process.args!r} ended")
        return line


@contextlib.contextmanager
def clients(servers: str) -> Iterator[dict[Variant, Process]]:
    """All clients, connected."""
    with contextlib.ExitStack() as opened:
        yield {variant: opened.enter_context(contextlib.closing(Process(variant, servers))) for variant in VARIANTS}


def one_round(settings: Settings, running: dict[Variant, Process], rates: Rates, share: float) -> None:
    """Each client produces and consumes each size, in an order drawn anew for each size."""
    for size, size_bytes in SIZES.items():
        for variant in random.sample(VARIANTS, len(VARIANTS)):
            topic = "bench-" + uuid.uuid4().hex
            create_topics(settings.model_copy(update={"frames_topic": topic, "verdicts_topic": topic + "-unused"}))
            count = max(settings.partitions, int(share * variant.megabytes * 1e6 / size_bytes))  # no partition is empty
            work = Work(topic, settings.partitions, size_bytes, count)
            for do in ("produce", "consume"):
                rates[variant.name, size, do].append(count * size_bytes / running[variant].seconds(do, work))


def rows(rates: Rates) -> Iterator[list[str]]:
    """The table's rows."""
    for size, size_bytes in SIZES.items():
        for variant in VARIANTS:
            cells = [variant.name, size]
            for do in ("produce", "consume"):
                own, ours = rates[variant.name, size, do], rates[OURS.name, size, do]
                rate = statistics.median(own)
                ratio = statistics.median(one / other for one, other in zip(own, ours, strict=True))
                cells += [f"{rate / 1e6:.1f}", f"{rate / size_bytes:.1f}", f"{ratio:.2f}"]
            yield cells


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one round with an eighth of the messages")
    quick = parser.parse_args().quick
    print(machine_line(), flush=True)
    rates: Rates = defaultdict(list)
    random.seed(0)
    started = time.monotonic()
    rounds = 0
    with running_kafka(lambda _: "log.segment.delete.delay.ms=1000\n") as server:
        settings = Settings(bus="kafka", kafka_servers=server.address)
        with clients(server.address) as running:
            while rounds < (1 if quick else ROUNDS) and time.monotonic() - started < BUDGET_S:
                one_round(settings, running, rates, share=1 / 8 if quick else 1)
                rounds += 1
    header = ["client", "message"]
    for do in ("produce", "consume"):
        header += [f"{do} MB/s", "messages/s", f"ratio to {OURS.name}"]
    print(f"{rounds} rounds, medians; one broker on the same cores, four partitions, acks=all, no compression\n")
    print(table(header, list(rows(rates))))


if __name__ == "__main__":
    main()
