"""A plant to break: real servers, a line of a scenario's own, scorers and a producer that are processes of their own."""

import contextlib
import itertools
import json
import os
import queue
import random
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil
import psycopg
import sqlalchemy as sa

from infra.bus import Partition
from infra.bus.kafka import KafkaBusConsumer
from infra.bus.topics import create_topics
from infra.clock import utc_now
from infra.frames import new_id
from infra.pictures import encode_jpeg
from infra.settings import Settings
from infra.store.connect import open_database
from infra.store.schema import migrate
from trainer.fit import FittedModel
from trainer.register import register

from ...servers import LocalServers
from ...small_model import PRODUCT, part_picture
from .nursery import LOG
from .oracle import Judgement, judge, sent

HERE = Path(__file__).parent
CAMERAS = 8
PICTURES = 100
STOP_S = 30.0  # a scorer that is told to stop ends within this
_STARTED_S = 30.0
_TEMPLATE = "line_template"


@dataclass
class Scorer:
    """One scorer process."""

    pid: int
    log: Path
    _ended: "dict[int, int]"

    @property
    def exit_code(self) -> int | None:
        """How it ended, as `subprocess` counts; None while it runs."""
        return self._ended.get(self.pid)

    @property
    def process(self) -> psutil.Process:
        """The process."""
        return psutil.Process(self.pid)

    def signal(self, number: int) -> None:
        """Send it a signal, if it still runs."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def wait(self, timeout_s: float) -> int:
        """Return how it ended.

        Raises:
            AssertionError: It did not.
        """
        wait_until(lambda: self.exit_code is not None, timeout_s, f"scorer {self.pid} does not end, see {self.log}")
        return self._ended[self.pid]

    def events(self, name: str) -> int:
        """Count the events of a name in its log."""
        return self.log.read_text(errors="replace").count(f'"event": "{name}"')


class Nursery:
    """Starts scorers as forks of a process that has imported them."""

    def __init__(self) -> None:
        self._ended: dict[int, int] = {}
        self._pids: queue.Queue[int] = queue.Queue()
        self._asking = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "nursery.py")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        threading.Thread(target=self._listen, daemon=True).start()

    def start(self, environment: dict[str, str], log: Path) -> Scorer:
        """Start a scorer."""
        assert self._process.stdin is not None
        with self._asking:
            self._process.stdin.write(json.dumps({**environment, LOG: str(log)}) + "\n")
            self._process.stdin.flush()
            return Scorer(self._pids.get(timeout=_STARTED_S), log, self._ended)

    def close(self) -> None:
        """End it, and all scorers that still run."""
        self._process.kill()
        self._process.wait(10)

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            told = json.loads(line)
            if "ended" in told:
                self._ended[told["pid"]] = told["ended"]
            else:
                self._pids.put(told["pid"])


@dataclass
class Plant:
    """Servers, a model and pictures; scenarios take lines of their own on it."""

    folder: Path
    servers: LocalServers
    exports: dict[str, str]
    fitted: FittedModel
    nursery: Nursery
    pictures: dict[str, list[Path]] = field(default_factory=dict)
    scores: dict[str, float] = field(default_factory=dict)

    def draw_pictures(self) -> None:
        """Write the pictures that producers send, by the fate that an undisturbed line gives them."""
        folder = self.folder / "pictures"
        folder.mkdir()
        bodies = {
            "scored": [encode_jpeg(part_picture(100 + seed)) for seed in range(PICTURES)],
            "no_verdict": [cv2.imencode(".png", np.zeros((60 + n, 80, 3), np.uint8))[1].tobytes() for n in range(3)],
            "dead": [encode_jpeg(part_picture(7))[:300], b"not a picture", b""],
        }
        for fate, group in bodies.items():
            self.pictures[fate] = [folder / f"{fate}-{index}" for index in range(len(group))]
            for path, body in zip(self.pictures[fate], group, strict=True):
                path.write_bytes(body)

    def make_template(self) -> None:
        """Make the database that each line's is copied from: migrated, with the model in force."""
        with self._admin() as admin:
            admin.execute(f'CREATE DATABASE "{_TEMPLATE}"')
        database = open_database(self._url(_TEMPLATE))
        migrate(database, utc_now())
        register(database, self.folder / "models", self.fitted, "test")
        database.dispose()

    def _admin(self) -> "psycopg.Connection[Any]":
        return psycopg.connect(self.exports["DIFFERLINE_DATABASE_URL"], autocommit=True)

    def _url(self, database: str) -> str:
        whole = sa.make_url(self.exports["DIFFERLINE_DATABASE_URL"])
        return whole.set(database=database).render_as_string(hide_password=False)

    @contextlib.contextmanager
    def line(self, partitions: int = 4, **settings: object) -> Iterator["Line"]:
        """A line with a database, topics and a consumer group of its own."""
        name = "line_" + uuid.uuid4().hex[:12]
        with self._admin() as admin:
            admin.execute(f'CREATE DATABASE "{name}" TEMPLATE "{_TEMPLATE}"')
        chosen = Settings(
            data_dir=self.folder / name,
            models_dir=self.folder / "models",
            database_url=self._url(name),
            redis_url=self.exports["DIFFERLINE_REDIS_URL"],
            bus="kafka",
            kafka_servers=self.exports["DIFFERLINE_KAFKA_SERVERS"],
            frames_topic=f"{name}.frames",
            verdicts_topic=f"{name}.verdicts",
            kafka_group=name,
            partitions=partitions,
            **{  # type: ignore[arg-type]
                "kafka_session_timeout_s": 3.0,
                "dead_letters_per_minute": 1_000_000,
                "batch_frames": 8,
                "cpu_threads": 1,
                "frozen_after": 0,  # few pictures are sent many times
                **settings,
            },
        )
        chosen.data_dir.mkdir()
        database = open_database(str(chosen.database_url))
        create_topics(chosen)
        line = Line(self, chosen, database)
        try:
            yield line
        finally:
            line.close()
            database.dispose()


@dataclass
class Line:
    """One line: what was sent, who scores, what became of it."""

    plant: Plant
    settings: Settings
    database: sa.Engine
    scorers: list[Scorer] = field(default_factory=list)
    senders: "list[subprocess.Popen[bytes]]" = field(default_factory=list)
    _numbers: Iterator[int] = field(default_factory=itertools.count)
    _sequences: dict[str, int] = field(default_factory=dict)
    _observer: KafkaBusConsumer | None = None

    @property
    def book(self) -> Path:
        """Where the producer writes down what was acknowledged."""
        return self.settings.data_dir / "acknowledged"

    def environment(self, **more: str) -> dict[str, str]:
        """The line's settings as a process is given them."""
        plain = {name: value for name, value in os.environ.items() if not name.startswith("DIFFERLINE_")}
        given = {
            f"DIFFERLINE_{name.upper()}": str(getattr(self.settings, name)) for name in self.settings.model_fields_set
        }
        return {**plain, **given, **more}

    def plan(self, frames: int, seed: int = 0) -> Path:
        """Plan frames: half are scored, four in ten have no verdict, one in ten is dead-lettered; from all cameras."""
        drawn = random.Random(seed)
        planned = [self._planned(drawn, camera=f"camera {number % CAMERAS}") for number in range(frames)]
        return self.write_plan(planned)

    def scored_plan(self, frames: int) -> Path:
        """Plan frames that are all scored."""
        pictures = self.plant.pictures["scored"]
        planned = [
            self.planned(f"camera {number % CAMERAS}", PRODUCT, pictures[number % len(pictures)], "scored")
            for number in range(frames)
        ]
        return self.write_plan(planned)

    def write_plan(self, planned: list[dict[str, object]]) -> Path:
        """Write a plan for the producer."""
        path = self.settings.data_dir / f"plan-{next(self._numbers)}"
        path.write_text("".join(json.dumps(frame) + "\n" for frame in planned))
        return path

    def planned(self, camera: str, product: str, picture: Path, fate: str) -> dict[str, object]:
        """Plan one frame, the next of its camera."""
        sequence = self._sequences.get(camera, -1) + 1
        self._sequences[camera] = sequence
        return {
            "frame_id": new_id(),
            "camera": camera,
            "product": product,
            "picture": str(picture),
            "run": "run-" + camera,
            "sequence": sequence,
            "fate": fate,
        }

    def _planned(self, drawn: random.Random, camera: str) -> dict[str, object]:
        fate = drawn.choices(["scored", "unknown", "no_verdict", "dead"], [5, 3, 1, 1])[0]
        if fate == "unknown":
            picture = drawn.choice(self.plant.pictures["scored"])
            return self.planned(camera, "unheard-of", picture, "no_verdict")
        return self.planned(camera, PRODUCT, drawn.choice(self.plant.pictures[fate]), fate)

    def send(self, plan: Path, per_second: float | None = None) -> "subprocess.Popen[bytes]":
        """Start a producer."""
        pace = [] if per_second is None else [str(per_second)]
        sender = subprocess.Popen(
            [sys.executable, str(HERE / "sending.py"), str(plan), str(self.book), *pace],
            env=self.environment(),
            stdin=subprocess.DEVNULL,
        )
        self.senders.append(sender)
        return sender

    def start(self, **more: str) -> Scorer:
        """Start a scorer; `more` goes into its environment."""
        log = self.settings.data_dir / f"scorer-{next(self._numbers)}.log"
        scorer = self.plant.nursery.start(self.environment(**more), log)
        self.scorers.append(scorer)
        return scorer

    @property
    def running(self) -> list[Scorer]:
        """Scorers that have not ended."""
        return [scorer for scorer in self.scorers if scorer.exit_code is None]

    def wait_for_scorer(self, timeout_s: float) -> None:
        """Wait until the scorer that was started last has claimed its partitions."""

        def claimed() -> bool:
            return (
                bool(self.scorers)
                and self.scorers[-1].log.exists()
                and self.scorers[-1].events("partition.claimed") > 0
            )

        wait_until(claimed, timeout_s, "no scorer claims a partition")

    def accounted(self) -> int:
        """Count what has a verdict or lies in the dead letters; -1 while the database is away."""
        query = "SELECT (SELECT count(*) FROM verdicts) + (SELECT count(*) FROM dead_letters)"
        try:
            with self.database.connect() as connection:
                return int(connection.exec_driver_sql(query).scalar() or 0)
        except sa.exc.DBAPIError:
            return -1

    def wait_for(self, frames: int, timeout_s: float) -> None:
        """Wait until so many frames are accounted for."""
        wait_until(lambda: self.accounted() >= frames, timeout_s, lambda: f"{self.accounted()} of {frames} frames")

    def settle(self, frames: int, patience_s: float) -> None:
        """Wait until so many frames are accounted for, or nothing has moved for `patience_s`."""
        moved, last = time.monotonic(), self.accounted()
        while last < frames and time.monotonic() - moved < patience_s:
            time.sleep(0.2)
            if (now := self.accounted()) > last:
                moved, last = time.monotonic(), now

    def stop_scorers(self) -> list[int]:
        """Tell all scorers to stop; each must end within STOP_S.

        Returns:
            Their exit codes.
        """
        stopping = self.running
        for scorer in stopping:
            scorer.signal(15)
        return [scorer.wait(STOP_S) for scorer in stopping]

    def positions(self) -> dict[Partition, int]:
        """Return the stored positions."""
        with self.database.connect() as connection:
            rows = connection.exec_driver_sql("SELECT topic, partition, coalesce(next_offset, 0) FROM positions")
            return {Partition(topic, number): offset for topic, number, offset in rows}

    def ends(self) -> dict[Partition, int]:
        """Return the end of each partition."""
        if self._observer is None:
            self._observer = KafkaBusConsumer(self.settings, self.settings.frames_topic, group=None)
        return self._observer._ends(self._observer._open(), self._observer.assigned())

    def wait_for_lag(self, records: int, timeout_s: float) -> None:
        """Wait until no more than so many records lie behind the stored positions."""

        def lag() -> int:
            stored = self.positions()
            return sum(end - stored.get(partition, 0) for partition, end in self.ends().items())

        wait_until(lambda: lag() <= records, timeout_s, lambda: f"{lag()} records wait")

    def judge(self, *, resent: bool = False, any_score: bool = False) -> Judgement:
        """Ask the oracle; `any_score` is for pictures that the undisturbed run has not seen."""
        return judge(self.database, sent(self.book), None if any_score else self.plant.scores, resent=resent)

    def close(self) -> None:
        """End what still runs."""
        for sender in self.senders:
            sender.kill()
            sender.wait(10)
        for scorer in self.running:
            scorer.signal(9)
        if self._observer is not None:
            self._observer.close()


def wait_until(happens: Callable[[], Any], timeout_s: float, otherwise: str | Callable[[], str]) -> None:
    """Wait for something.

    Raises:
        AssertionError: It did not happen in time.
    """
    deadline = time.monotonic() + timeout_s
    while not happens():
        if time.monotonic() > deadline:
            raise AssertionError(otherwise if isinstance(otherwise, str) else otherwise())
        time.sleep(0.05)
