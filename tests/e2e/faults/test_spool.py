"""Cameras with a spool while the bus and PostgreSQL are away: nothing lost, memory flat, and the ledger knows."""

import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from infra.bus.connect import open_consumer
from infra.bus.protocol import Partition
from infra.bus.topics import create_topics
from infra.clock import utc_now
from infra.engines import Engines
from infra.errors import BusAwayError
from infra.frames import from_headers, sha256_hex
from infra.settings import Settings
from infra.store.connect import open_database
from infra.store.ledger import CameraLedger, read_ledger
from infra.store.schema import migrate
from ingest.spool import Spool
from ingest.spool.files import spool_path

from ...servers import LocalServers, ServersError
from ..commands import SOAK
from .conftest import Table
from .spooling import CAMERA

FPS, SIZE = 10.0, 1_000_000
AWAY_S = 600.0 if SOAK else 8.0
MIB = 2**20


@dataclass
class Reader:
    """What a scorer would read, in the order of the bus; what is read is dropped there."""

    settings: Settings
    engines: Engines
    frames: list[tuple[str, int, str]] = field(default_factory=list)
    damaged: int = 0
    _stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        consumer = open_consumer(self.settings, self.engines)
        known: set[Partition] = set()
        try:
            while not self._stop.is_set():
                try:
                    for partition in consumer.assigned() - known:
                        consumer.seek_to_beginning(partition)
                        known.add(partition)
                    records = consumer.poll(32, 0.5)
                    for record in records:
                        frame = from_headers(
                            record.headers, record.value, key=record.key, fallback_id="", received_at=record.received_at
                        )
                        self.damaged += frame.sha256 != sha256_hex(frame.body)
                        self.frames.append((frame.run or "", frame.sequence or 0, frame.frame_id))
                    consumer.done_until({record.partition: record.offset + 1 for record in records})
                except BusAwayError:
                    time.sleep(0.2)
        finally:
            consumer.close()

    def numbers(self) -> dict[str, list[int]]:
        """Return the sequences of each run, each frame once, in the order they came first."""
        found: dict[str, list[int]] = {}
        for run, sequence, _ in dict.fromkeys(self.frames):
            found.setdefault(run, []).append(sequence)
        return found

    @property
    def doubles(self) -> int:
        return len(self.frames) - len(set(self.frames))


@dataclass
class Plant:
    """PostgreSQL and a bus of a test's own, and the processes of one camera."""

    settings: Settings
    servers: LocalServers
    engines: Engines
    environment: dict[str, str]

    @property
    def bus(self) -> str:
        return self.settings.bus

    @contextmanager
    def reading(self) -> Iterator[Reader]:
        reader = Reader(self.settings, self.engines)
        thread = threading.Thread(target=reader.run)
        thread.start()
        try:
            yield reader
        finally:
            reader._stop.set()
            thread.join(60)

    @contextmanager
    def camera(self, fps: float, size: int, frames: int | None = None) -> Iterator["subprocess.Popen[str]"]:
        arguments = [str(fps), str(size), *([] if frames is None else [str(frames)])]
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.e2e.faults.spooling", *arguments],
            env=self.environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait(30)
            assert process.stdout is not None
            process.stdout.close()

    def spooled(self) -> int:
        with Spool(spool_path(self.settings.spool_folder, CAMERA), CAMERA, max_bytes=2**40) as spool:
            return spool.frames


_BUSES = ["redis", pytest.param("kafka", marks=pytest.mark.kafka)] if SOAK else ["redis"]


@pytest.fixture(params=_BUSES)
def plant(request: pytest.FixtureRequest) -> Iterator[Plant]:
    """PostgreSQL, Redis and the bus that is asked for, which a test takes away."""
    bus = request.param
    with ExitStack() as opened:
        folder = Path(
            opened.enter_context(tempfile.TemporaryDirectory(prefix="differline-spool-", ignore_cleanup_errors=True))
        )
        folder.chmod(0o755)  # PostgreSQL runs under an account of its own
        servers = LocalServers(folder)
        opened.callback(servers.down)
        try:
            exports = servers.up("postgres", "redis", *(["kafka"] if bus == "kafka" else []))
        except ServersError as error:
            pytest.fail(f"these tests need PostgreSQL, Redis and Kafka: {error}", pytrace=False)
        chosen = {name: exports[name] for name in ("DIFFERLINE_DATABASE_URL", "DIFFERLINE_REDIS_URL")}
        if bus == "kafka":
            chosen["DIFFERLINE_KAFKA_SERVERS"] = exports["DIFFERLINE_KAFKA_SERVERS"]
        chosen |= {"DIFFERLINE_DATA_DIR": str(folder / "data"), "DIFFERLINE_BUS": bus, "DIFFERLINE_PARTITIONS": "1"}
        settings = Settings(**{name.removeprefix("DIFFERLINE_").lower(): value for name, value in chosen.items()})  # type: ignore[arg-type]
        if bus == "kafka":
            create_topics(settings)
        database = open_database(str(settings.database_url))
        migrate(database, utc_now())
        database.dispose()
        engines = Engines(str(settings.database_url), str(settings.redis_url))
        environment = {**psutil.Process().environ(), **chosen}
        yield Plant(settings, servers, engines, environment)


def accepted(process: "subprocess.Popen[str]", counted: list[int]) -> threading.Thread:
    """Take down, in a thread, each sequence that the camera's process says was accepted."""

    def read() -> None:
        assert process.stdout is not None
        counted.extend(int(line) for line in process.stdout)

    thread = threading.Thread(target=read)
    thread.start()
    return thread


def wait_until(condition: "object", timeout_s: float, what: str) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, f"no {what} within {timeout_s:.0f} s"
        time.sleep(0.1)


def on_disk_mib(plant: Plant) -> float:
    return sum(file.stat().st_size for file in plant.settings.spool_folder.iterdir()) / MIB


def the_ledger(plant: Plant) -> CameraLedger:
    database = open_database(plant.engines.database_url)
    (camera,) = read_ledger(database, lambda _: False).cameras
    database.dispose()
    return camera


@pytest.mark.timeout(AWAY_S * 5 + 240)
def test_a_bus_that_is_away_loses_no_frame_and_costs_no_memory(plant: Plant, table: Table) -> None:
    away_s = 60.0 if SOAK and plant.bus == "kafka" else AWAY_S  # ten minutes once are enough
    counted: list[int] = []
    with plant.reading() as reader, plant.camera(FPS, SIZE) as process:
        counting = accepted(process, counted)
        wait_until(lambda: len(reader.frames) >= 10, 60, "frames before the outage")
        seen = psutil.Process(process.pid)
        before_mib = seen.memory_info().rss / MIB
        plant.servers.kill_server(plant.bus)
        plant.servers.kill_server("postgres")
        at = len(counted)
        memory_mib = []
        deadline = time.monotonic() + away_s
        while time.monotonic() < deadline:
            time.sleep(away_s / 20)
            assert process.poll() is None
            memory_mib.append(seen.memory_info().rss / MIB)
        of_outage = len(counted) - at
        assert of_outage >= 0.9 * FPS * away_s  # it went on at its pace
        plant.servers.up("postgres", "redis", *(["kafka"] if plant.bus == "kafka" else []))
        back = time.monotonic()
        wait_until(
            lambda: len(set(reader.frames)) >= len(counted) - 1, 120 + 3 * away_s, "frames of the outage and since"
        )
        drained_s = time.monotonic() - back
        memory_mib.append(seen.memory_info().rss / MIB)
        wait_until(lambda: on_disk_mib(plant) < 64, 60 + away_s, "disk space given back while it goes on")
        process.terminate()
        assert process.wait(60) == 0
        counting.join(30)
        camera = the_ledger(plant)
        wait_until(lambda: len(set(reader.frames)) >= camera.received, 60, "last frames")
    (sequences,) = reader.numbers().values()
    assert sequences == list(range(camera.received))
    assert camera.received - len(counted) in (0, 1)  # the last one was accepted and not told any more
    assert reader.damaged == 0
    assert plant.spooled() == 0
    grown_mib = max(memory_mib) - before_mib
    assert grown_mib < 60
    assert (camera.waiting, camera.spooled, camera.skipped) == (camera.received, 0, {})
    table.row(
        f"{plant.bus} and PostgreSQL away, camera with a spool",
        f"{away_s:.0f} s at {FPS:.0f} frames/s of {SIZE / 1e6:.0f} MB",
        f"{camera.received} frames, {of_outage} of them meanwhile: 0 lost, {reader.doubles} twice, in order; sent "
        f"{drained_s:.0f} s after; memory in MB: {before_mib:.0f} before, then {' '.join(f'{m:.0f}' for m in memory_mib)}; "
        f" {on_disk_mib(plant):.0f} MB of disk left in use",
    )


@pytest.mark.timeout(240)
def test_a_camera_that_is_killed_while_the_bus_is_away_sends_all_it_accepted_and_in_order(
    plant: Plant, table: Table
) -> None:
    kills = 20 if SOAK else 3
    runs: list[list[int]] = []
    plant.servers.kill_server(plant.bus)
    for kill in range(kills):
        counted: list[int] = []
        with plant.camera(1000.0, 20_000) as process:
            counting = accepted(process, counted)
            wait_until(lambda: len(counted) > 3 + 7 * kill, 60, "frames")  # noqa: B023 - called at once
            process.kill()
            counting.join(30)
        runs.append(counted)
    plant.servers.up("redis", *(["kafka"] if plant.bus == "kafka" else []))
    with plant.reading() as reader, plant.camera(20.0, 20_000) as process:
        last: list[int] = []
        counting = accepted(process, last)
        wait_until(lambda: len(reader.numbers()) == kills + 1, 120, "runs")
        wait_until(lambda: len(list(reader.numbers().values())[-1]) >= len(last) - 1 > 10, 60, "frames of the last run")
        process.terminate()
        assert process.wait(60) == 0
        counting.join(30)
        runs.append(last)
        wait_until(lambda: the_ledger(plant).received <= len(set(reader.frames)), 60, "last frames")
    found = list(reader.numbers().values())
    for told, sequences in zip(runs, found, strict=True):
        assert sequences == list(range(len(sequences)))
        assert len(sequences) - len(told) in (0, 1)  # one may be on disk and not told yet
    assert plant.spooled() == 0
    camera = the_ledger(plant)
    assert camera.received == sum(map(len, found))
    table.row(
        f"kill -9 of a camera with a spool while {plant.bus} is away",
        f"{kills} kills",
        f"{camera.received} frames accepted: 0 lost, {reader.doubles} twice, runs in order",
    )
