"""Latency from a camera's shutter (captured_at) to the committed verdict, over Kafka, under loads that do not give way.

usage: python -m tests.bench.latency [--quick]

For 1, 2 and 4 scorers that share the cores: the capacity, from a backlog; then Poisson arrivals at 50, 80 and 95 % of it.
Arrival times are drawn beforehand, a frame is sent at its time whatever became of those before it, and `captured_at` is that
time even if the sender was late: a slow line cannot slow the load down (no coordinated omission). Everything runs on the same
cores: sender, broker, PostgreSQL and scorers. The model is small and looks at one view, so that the run is bounded.
"""

import argparse
import contextlib
import itertools
import os
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa
from kafka import KafkaProducer
from kafka.partitioner.default import murmur2

from infra.bus.kafka.producer import producer_options
from infra.bus.topics import create_topics
from infra.children import differline
from infra.clock import utc_now
from infra.engines import running_engines
from infra.frames import FrameMessage, new_id, sha256_hex, to_headers
from infra.pictures import decode
from infra.settings import Settings
from infra.store.connect import open_database
from infra.store.tables import positions, verdicts
from ingest.sources.simulator import SimulatedCamera
from scorer.detector import load_extractor
from scorer.threads import cores_here, thread_count
from trainer.bench.machine import machine_line
from trainer.bench.tables import table
from trainer.fit import fit
from trainer.images import drawn_pictures
from trainer.register import register

from ..kafka_server import running_kafka
from ..small_model import SMALL

PRODUCT = "flange"
PARTITIONS = 4
CAMERAS_A_PARTITION = 2
PICTURES = 30
SEED = 7
PATIENCE_S = 150.0
BUDGET_S = 390.0  # no further scorers are started later, and no further load begins
PASSED_ON = ("data_dir", "database_url", "redis_url", "bus", "kafka_servers", "frames_topic", "kafka_group", "outbox")
PASSED_ON += ("heatmap_sample", "archive_per_hour", "log_level")

HEADER = ["scorers", "threads each", "capacity frames/s", "of one scorer's", "load", "offered frames/s", "frames"]
HEADER += ["p50 ms", "p95 ms", "p99 ms", "DEFECT", "sender late, at most ms"]
CONDITIONS = (
    "512 x 384 JPEG; a small model ({small.blocks} blocks of {small.hidden}) with 1 view; captured_at to committed_at, "
    "{size.measured_s:.0f} s each after {size.warm_up_s:.0f} s of warm-up. All on the same cores: several scorers share what "
    "one has to itself, so 1.00 of one scorer's capacity is neither gain nor loss. What the sender was late counts as latency"
)


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    workers: tuple[int, ...] = (1, 2, 4)
    loads: tuple[float, ...] = (0.5, 0.8, 0.95)
    backlog: int = 240
    warm_up_s: float = 4.0
    measured_s: float = 22.0


QUICK = Size(workers=(1, 2), loads=(0.5, 0.8), backlog=48, warm_up_s=1.0, measured_s=6.0)


@dataclass
class Plant:
    """One topic with its scorers, seen from the sender."""

    settings: Settings
    database: sa.Engine
    bodies: Sequence[bytes]
    late_s: float = 0.0  # the most that a frame was sent behind its time
    _sent: Iterator[int] = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        """Connect, and choose cameras so that each partition has as many."""
        self._client: Any = KafkaProducer(**producer_options(self.settings))
        self._client.partitions_for(self.settings.frames_topic)
        self._cameras = cameras()

    def send(self, job: str, captured_at: datetime) -> Any:
        """Send the next frame without waiting; cameras take turns."""
        number = next(self._sent)
        body, camera = self.bodies[number % len(self.bodies)], self._cameras[number % len(self._cameras)]
        frame = FrameMessage(new_id(), camera, PRODUCT, captured_at, body, sha256=sha256_hex(body), job_id=job)
        return self._client.send(
            self.settings.frames_topic, value=body, key=camera.encode(), headers=list(to_headers(frame))
        )

    def send_at_once(self, count: int) -> list[sa.Row[Any]]:
        """Send a backlog and wait for its verdicts."""
        job = uuid.uuid4().hex
        return self._finish(job, [self.send(job, utc_now()) for _ in range(count)])

    def send_on_time(self, began: datetime, offsets_s: Sequence[float]) -> list[sa.Row[Any]]:
        """Send frames at their times and wait for their verdicts."""
        job, started = uuid.uuid4().hex, time.monotonic()
        waiting = []
        for offset_s in offsets_s:
            time.sleep(max(0.0, offset_s - (time.monotonic() - started)))
            waiting.append(self.send(job, began + timedelta(seconds=offset_s)))
            self.late_s = max(self.late_s, time.monotonic() - started - offset_s)
        return self._finish(job, waiting)

    def verdicts(self, job: str) -> list[sa.Row[Any]]:
        """What a job's frames left with, in the order of their verdicts."""
        columns = (verdicts.c.captured_at, verdicts.c.committed_at, verdicts.c.state)
        query = sa.select(*columns).where(verdicts.c.job_id == job).order_by(verdicts.c.committed_at)
        with self.database.connect() as connection:
            return list(connection.execute(query))

    def scorers(self) -> set[str]:
        """Who has claimed the partitions; empty until all of them are claimed."""
        query = sa.select(positions.c.worker).where(positions.c.topic == self.settings.frames_topic)
        with self.database.connect() as connection:
            found = list(connection.scalars(query))
        return set(found) if len(found) == PARTITIONS else set()

    def close(self) -> None:
        """Let go of the connection."""
        self._client.close()

    def _finish(self, job: str, waiting: Sequence[Any]) -> list[sa.Row[Any]]:
        for sent in waiting:
            sent.get(30)
        until(lambda: len(self.verdicts(job)) == len(waiting), f"{len(waiting)} verdicts")
        return self.verdicts(job)


def until(happens: Callable[[], bool], what: str) -> None:
    """Wait for something, not for ever."""
    deadline = time.monotonic() + PATIENCE_S
    while not happens():
        if time.monotonic() > deadline:
            raise SystemExit(f"{what} did not come within {PATIENCE_S:.0f} s")
        time.sleep(0.2)


def cameras() -> list[str]:
    """Names of cameras, as many in each partition, the partitions in turns."""
    found: dict[int, list[str]] = {number: [] for number in range(PARTITIONS)}
    for number in itertools.count():
        name = f"camera-{number}"
        found[(murmur2(name.encode()) & 0x7FFFFFFF) % PARTITIONS].append(name)
        if all(len(names) >= CAMERAS_A_PARTITION for names in found.values()):
            return [names[place] for place in range(CAMERAS_A_PARTITION) for names in found.values()]
    raise AssertionError


@contextlib.contextmanager
def scorers(settings: Settings, count: int) -> Iterator[None]:
    """So many real scorers under `differline score --workers`."""
    chosen = {f"DIFFERLINE_{name.upper()}": str(getattr(settings, name)) for name in PASSED_ON}
    with subprocess.Popen(differline("score", "--workers", str(count)), env=os.environ | chosen) as fleet:
        try:
            yield
        finally:
            fleet.terminate()
            if fleet.wait(60):
                raise SystemExit(f"the scorers ended with exit code {fleet.returncode}")


def capacity(plant: Plant, backlog: int) -> float:
    """Frames a second while a backlog is worked off: between its first and its last tenth."""
    times = [row.committed_at for row in plant.send_at_once(backlog)]
    first, last = backlog // 10, backlog - 1 - backlog // 10
    return (last - first) / (times[last] - times[first]).total_seconds()


def latency_cells(plant: Plant, frames_a_second: float, size: Size, random: np.random.Generator) -> list[str]:
    """Offered load, how many frames were measured, percentiles, and what share was DEFECT and paid for a heatmap."""
    length_s = size.warm_up_s + size.measured_s
    gaps = random.exponential(1 / frames_a_second, size=int(2 * length_s * frames_a_second) + 10)
    offsets = [offset for offset in np.cumsum(gaps) if offset < length_s]
    began = utc_now()
    counted_from = began + timedelta(seconds=size.warm_up_s)
    rows = [row for row in plant.send_on_time(began, offsets) if row.captured_at >= counted_from]
    latencies_ms = [1000 * (row.committed_at - row.captured_at).total_seconds() for row in rows]
    percentiles = [f"{value:,.0f}" for value in np.percentile(latencies_ms, (50, 95, 99))]
    defects = np.mean([row.state == "DEFECT" for row in rows])
    return [f"{frames_a_second:.1f}", str(len(rows)), *percentiles, f"{100 * defects:.0f} %"]


def put_model_in_force(settings: Settings, database: sa.Engine, bodies: Sequence[bytes]) -> None:
    """A small model that has seen the very pictures that are sent, so that few are DEFECT."""
    pictures = drawn_pictures([decode(body, 10**7) for body in bodies])
    register(
        database,
        settings.models_folder,
        fit(pictures, PRODUCT, SMALL, load_extractor("random", 0), false_alarm_rate=0.01),
        "bench",
    )


def measure(settings: Settings, database: sa.Engine, bodies: Sequence[bytes], size: Size) -> Iterator[list[str]]:
    """The table's rows, as they come; what there was no time for is named."""
    deadline = time.monotonic() + BUDGET_S
    alone = 0.0
    for count in size.workers:
        if time.monotonic() > deadline:
            yield [str(count), *["not measured: out of time"] * (len(HEADER) - 1)]
            continue
        names = {"frames_topic": f"frames-{count}", "kafka_group": f"scorers-{count}"}
        chosen = settings.model_copy(update=names)
        create_topics(chosen)
        random = np.random.default_rng(SEED)
        with contextlib.closing(Plant(chosen, database, bodies)) as plant, scorers(chosen, count):
            until(lambda plant=plant, count=count: len(plant.scorers()) == count, f"{count} scorers")  # type: ignore[misc]
            plant.send_at_once(8 * PARTITIONS)
            possible = capacity(plant, size.backlog)
            alone = alone or possible
            threads = thread_count(chosen.model_copy(update={"cpu_share": 1 / count}), cores_here()) or cores_here()
            known = [str(count), str(threads), f"{possible:.1f}", f"{possible / alone:.2f}"]
            for load in size.loads:
                if time.monotonic() > deadline:
                    yield [*known, f"{load:.0%}", *["not measured: out of time"] * (len(HEADER) - len(known) - 1)]
                    continue
                plant.late_s = 0.0
                cells = latency_cells(plant, load * possible, size, random)
                yield [*known, f"{load:.0%}", *cells, f"{1000 * plant.late_s:.0f}"]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two loads, seconds each, to see that it works")
    size = QUICK if parser.parse_args().quick else Size()
    print(machine_line(), flush=True)
    bodies = [picture.body for picture in SimulatedCamera(PRODUCT, seed=1, defect_rate=0.0, frames=PICTURES)]
    with (
        tempfile.TemporaryDirectory(prefix="differline-bench-", ignore_cleanup_errors=True) as folder,
        running_kafka() as kafka,
        running_engines(Settings(data_dir=Path(folder))) as engines,
    ):
        settings = Settings(
            data_dir=Path(folder),
            database_url=engines.database_url,
            redis_url=engines.redis_url,
            bus="kafka",
            kafka_servers=kafka.address,
            partitions=PARTITIONS,
            outbox="off",
            heatmap_sample=10**9,
            archive_per_hour=0,
            log_level="error",
        )
        database = open_database(engines.database_url, pool_size=1)
        put_model_in_force(settings, database, bodies)
        print(CONDITIONS.format(size=size, small=SMALL) + "\n\n" + table(HEADER, []), flush=True)
        for row in measure(settings, database, bodies, size):
            print("| " + " | ".join(row) + " |", flush=True)
        database.dispose()


if __name__ == "__main__":
    main()
