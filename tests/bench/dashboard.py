"""What 20 open sessions wait for, and what they cost the scorer, with a million verdicts and ten thousand alerts.

usage: python -m tests.bench.dashboard [--quick] [--only sessions,scorer,shift]

A database is filled as a day of eight cameras fills it, with pictures of a simulated line. The real dashboard serves 20
sessions that hold its pages open and walk about (see tests/bench/sessions.py): every fragment that runs by itself runs as in
a browser, which draws elsewhere. Printed are the times of reruns, by page, where sessions begin one after the other and where
all begin at once; then what a real scorer makes in many short turns, with the sessions looking and with their clock stopped,
the scorer on a core of its own and everything else on the others: each of its batches holds the same pictures, so that turns
differ in nothing else; then the memory of the dashboard's server before and after as many reruns as a page that is open for
eight hours makes.
"""

import argparse
import itertools
import os
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import psutil
import sqlalchemy as sa

from infra.archive import open_archive
from infra.bus.connect import open_producer
from infra.children import differline
from infra.clock import utc_now
from infra.engines import Engines, running_engines
from infra.heatmaps import encode_heatmap
from infra.pictures import decode
from infra.settings import Settings
from infra.store.connect import open_database
from infra.store.rolling import roll, waiting
from infra.store.tables import ensure_day_partitions, verdicts
from infra.telemetry import configure_logging
from ingest.gateway import Camera, Gateway
from ingest.sources.simulator import SimulatedCamera
from scorer.detector import load_extractor
from trainer.bench.machine import machine_line
from trainer.bench.tables import table
from trainer.fit import fit
from trainer.images import drawn_pictures
from trainer.register import register

from ..servers import free_port
from ..small_model import SMALL
from .sessions import Rerun, Session, SessionClock, look_around, looking, rerun_often

PAGES = ("", "", "", "alerts", "alerts", "search", "drift", "curate", "models", "health")
PRODUCT = "flange"
CAMERAS = 8
PICTURES = 40
STAY_S = 20.0
SETTLE_S = 2.0
WARM_S = 20.0
PARTS = 4  # of the shift, between which the memory is read
LIVE = "line-1-live"
BATCH = 8

# A day that ended just now; one frame in 100 is a DEFECT, with its alert, and one in 1,000 has no verdict.
_VERDICTS = """
INSERT INTO verdicts (received_at, frame_id, result_id, topic, partition, bus_offset, camera, product, part_id, run,
                      sequence, sha256, captured_at, scored_at, committed_at, state, reason, model_id, score, p_value,
                      threshold, views, archive_ref, decode_ms, score_ms, focus, brightness, contrast)
SELECT at, 'frame-' || n, 'result-' || n, 'frames', n % 4, n, 'line-1-camera-' || n % :cameras, :product, 'SN-' || n / 2,
       'run-1', n / :cameras, CASE WHEN kept THEN encode(sha256(n::text::bytea), 'hex') ELSE repeat('0', 64) END,
       at, at + interval '80 ms', at + interval '95 ms', state, CASE state WHEN 'NO_VERDICT' THEN 'black' END, :model,
       CASE state WHEN 'DEFECT' THEN 30 + n % 7 WHEN 'GOOD' THEN 10 + (n::bigint * 7919) % 1000 / 100.0 END,
       CASE state WHEN 'DEFECT' THEN 0.001 WHEN 'GOOD' THEN (1 + (n::bigint * 104729) % 1000) / 1001.0 END, 25, 8,
       CASE WHEN kept THEN (CAST(:refs AS text[]))[1 + n % cardinality(CAST(:refs AS text[]))] END,
       1.5, 40, 300 + n % 50, 120, 40
FROM generate_series(0, :frames - 1) AS n,
     LATERAL (SELECT :now - (:frames - n) * (interval '24 h' / :frames) AS at,
                     CASE WHEN n % 100 = 7 THEN 'DEFECT' WHEN n % 1000 = 8 THEN 'NO_VERDICT' ELSE 'GOOD' END AS state) AS v,
     LATERAL (SELECT state <> 'GOOD' OR n % 20 = 0 AS kept) AS k
"""
_ALERTS = """
INSERT INTO alerts (kind, camera, product, received_at, frame_id, state, opened_at, outcome, resolved_at)
SELECT 'defect', camera, product, received_at, frame_id,
       CASE WHEN n % 10 = 0 THEN 'open' WHEN n % 10 < 6 THEN 'acknowledged' ELSE 'resolved' END, received_at,
       CASE WHEN n % 10 = 6 THEN 'false_alarm' WHEN n % 10 > 6 THEN 'real_defect' END,
       CASE WHEN n % 10 > 5 THEN received_at END
FROM (SELECT *, row_number() OVER (ORDER BY received_at) AS n FROM verdicts WHERE state = 'DEFECT') AS defects LIMIT :alerts
"""
_HEATMAPS = """
INSERT INTO heatmaps (received_at, camera, frame_id, png)
SELECT received_at, camera, frame_id, :png FROM verdicts WHERE state = 'DEFECT' ORDER BY received_at DESC LIMIT 2000
"""
_LEDGER = """
INSERT INTO ledger_counts SELECT camera, state, coalesce(reason, ''), count(*) FROM verdicts GROUP BY 1, 2, 3
"""
_RUNS = """
INSERT INTO camera_runs (camera, run, accepted, last_sequence, accounted)
SELECT camera, 'run-1', count(*), count(*) - 1, count(*) FROM verdicts GROUP BY camera
"""


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    frames: int = 1_000_000
    alerts: int = 10_000
    sessions: int = 20
    apart_s: float = 1.0
    look_s: float = 120.0
    turns: int = 40
    turn_s: float = 12.0
    shift_reruns: int = 8 * 3600 // 2


QUICK = Size(frames=20_000, alerts=200, sessions=4, look_s=25.0, turns=2, turn_s=10.0, shift_reruns=100)


def fill(database: sa.Engine, settings: Settings, size: Size, model_id: int) -> None:
    """Put a day of verdicts there, with alerts, heatmaps, pictures and books."""
    camera = SimulatedCamera(PRODUCT, seed=3, defect_rate=0.3, frames=PICTURES)
    archive = open_archive(settings.archive_location)
    refs = [archive.write(picture.body) for picture in camera]
    png = encode_heatmap(np.random.default_rng(0).random((48, 64), dtype=np.float32) * 3)
    now = utc_now()
    with database.begin() as connection:
        ensure_day_partitions(connection, (now - timedelta(days=2)).date(), 4)
        days = {"now": now, "frames": size.frames, "cameras": CAMERAS, "product": PRODUCT, "model": model_id}
        connection.execute(sa.text(_VERDICTS), {**days, "refs": refs})
        connection.execute(sa.text(_ALERTS), {"alerts": size.alerts})
        connection.execute(sa.text(_HEATMAPS), {"png": png})
        connection.execute(sa.text(_LEDGER))
        connection.execute(sa.text(_RUNS))
    for due in waiting(database, timedelta(0), 10**6):
        roll(database, due)
    with database.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("VACUUM ANALYZE"))


@dataclass(frozen=True)
class Plant:
    """Where the engines are, and which cores are whose: the scorer's own, and those of everything else."""

    settings: Settings
    engines: Engines
    own: Sequence[int]
    others: Sequence[int]

    @contextmanager
    def running(self, *arguments: str, cores: Sequence[int]) -> Iterator[int]:
        """Run one of our commands on some cores; yields its process id."""
        environment = {
            **os.environ,
            "DIFFERLINE_DATA_DIR": str(self.settings.data_dir),
            "DIFFERLINE_DATABASE_URL": self.engines.database_url,
            "DIFFERLINE_REDIS_URL": self.engines.redis_url,
            "DIFFERLINE_EXTRACTOR": "random",
            "DIFFERLINE_CPU_THREADS": "1",
            "DIFFERLINE_DECODE_THREADS": "1",
            "DIFFERLINE_EARLY_EXIT": "false",
            "DIFFERLINE_BATCH_FRAMES": str(BATCH),
        }
        command = ["taskset", "-c", ",".join(map(str, cores)), *differline(*arguments)]
        log = self.settings.data_dir / f"{arguments[0]}.log"
        with (
            log.open("w") as file,
            # in a session of its own: for the kernel, what else runs competes with each of them alike
            subprocess.Popen(command, env=environment, stdout=file, stderr=file, start_new_session=True) as process,
        ):
            try:
                yield process.pid
            finally:
                process.terminate()
                process.wait(60)


def reruns_table(reruns: list[Rerun]) -> str:
    """Return the times of reruns, by page, as Markdown."""
    rows = []
    pages = [*sorted({rerun.page for rerun in reruns}), "all pages"]
    for page in pages:
        for fragment, what in ((False, "whole page"), (True, "by itself")):
            of = [
                rerun.seconds * 1000
                for rerun in reruns
                if page in (rerun.page, "all pages") and rerun.fragment is fragment
            ]
            if of:
                rows.append(
                    [
                        page or "line",
                        what,
                        f"{len(of):,}",
                        *(f"{np.quantile(of, share):.0f}" for share in (0.5, 0.95, 1.0)),
                    ]
                )
    return table(["page", "rerun", "reruns", "median ms", "p95 ms", "longest ms"], rows)


@contextmanager
def live_camera(plant: Plant) -> Iterator[None]:
    """Send the pictures of one batch again and again, as fast as the bus takes them; drawing them anew would cost more."""
    settings = plant.settings
    pictures = list(SimulatedCamera(PRODUCT, seed=3, defect_rate=0.0, frames=BATCH))
    taken = (replace(picture, captured_at=utc_now()) for picture in itertools.cycle(pictures))
    camera = Camera(LIVE, PRODUCT, settings.frames_topic, settings.max_frame_bytes, settings.bus_send_timeout_s)
    stop = threading.Event()
    with ThreadPoolExecutor(1) as thread, closing(open_producer(settings, plant.engines)) as producer:
        sent = thread.submit(Gateway(producer, camera, stop=stop).send_all, taken)
        try:
            yield
        finally:
            stop.set()
            sent.result()


@dataclass(frozen=True)
class Turn:
    """A stretch of time in which sessions look, or do not."""

    looking: bool
    began: datetime
    ended: datetime


def frames_a_second(stored: Sequence[datetime], turn: Turn) -> float:
    """Return the rate between the first batch that was stored in a turn and the last: whole batches only."""
    within = [at for at in stored if turn.began <= at <= turn.ended]
    return (len(within) - BATCH) / (within[-1] - within[0]).total_seconds()


def stored_frames(database: sa.Engine) -> list[datetime]:
    """Return when each frame of the live camera was stored."""
    query = sa.select(verdicts.c.committed_at).where(verdicts.c.camera == LIVE).order_by(verdicts.c.committed_at)
    with database.connect() as connection:
        return list(connection.scalars(query))


def main() -> None:
    """Fill, look, score, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a try, of a minute or two")
    parser.add_argument("--only", default="sessions,scorer,shift", help="which of the three are measured")
    given = parser.parse_args()
    configure_logging("WARNING")
    size, wanted = QUICK if given.quick else Size(), given.only.split(",")
    cores = sorted(os.sched_getaffinity(0))
    own, others = cores[:1], cores[1:] or cores
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)  # PostgreSQL may run under an account of its own
        os.sched_setaffinity(0, others)  # the engines inherit it
        settings = Settings(data_dir=Path(folder), extractor="random")
        with running_engines(settings) as engines:
            print(machine_line(), flush=True)
            database = open_database(engines.database_url, pool_size=2)
            began = time.monotonic()
            fill(database, settings, size, trained(database, settings))
            print(f"filled with {size.frames:,} verdicts in {time.monotonic() - began:.0f} s", flush=True)
            measure(Plant(settings, engines, own, others), database, size, wanted)
            database.dispose()


def trained(database: sa.Engine, settings: Settings) -> int:
    """Put a small model in force; returns its number."""
    camera = SimulatedCamera(PRODUCT, seed=1, defect_rate=0.0, frames=24)
    pictures = drawn_pictures([decode(picture.body, settings.max_pixels) for picture in camera])
    fitted = fit(pictures, PRODUCT, SMALL, load_extractor("random", 0), false_alarm_rate=0.2)
    return register(database, settings.models_folder, fitted, "bench").id


def measure(plant: Plant, database: sa.Engine, size: Size, wanted: Sequence[str]) -> None:
    """Let sessions look at the filled database, and beside a scorer that works."""
    port = free_port()
    url = f"ws://127.0.0.1:{port}"
    with plant.running("dashboard", "--port", str(port), cores=plant.others) as pid:
        wait_until_up(port)
        look_around([Session(url, (page,), 1.0, 0) for page in sorted(set(PAGES))], 10.0)  # everything is imported
        if "sessions" in wanted:
            for apart_s, how in (
                (size.apart_s, f"one after the other, {size.apart_s:.0f} s apart"),
                (0.0, "all at once"),
            ):
                sessions = [Session(url, PAGES, STAY_S, seed) for seed in range(size.sessions)]
                reruns = look_around(sessions, size.look_s, apart_s)
                print(f"\n{size.sessions} sessions for {size.look_s:.0f} s, no scorer; they begin {how}\n")
                print(reruns_table(reruns))
                print(f"failed reruns: {sum(rerun.failed for rerun in reruns)}", flush=True)
        if "scorer" in wanted:
            beside_a_scorer(plant, database, url, size)
        if "shift" in wanted:
            a_shift(url, pid, size)


def beside_a_scorer(plant: Plant, database: sa.Engine, url: str, size: Size) -> None:
    """Frames a second of a scorer, in turns with and without the sessions; it never waits for frames."""
    clock = SessionClock()
    sessions = [Session(url, PAGES, STAY_S, seed, clock) for seed in range(size.sessions)]
    look_s = size.sessions * size.apart_s + size.turns * (size.turn_s + SETTLE_S)
    turns: list[Turn] = []
    with plant.running("score", cores=plant.own), live_camera(plant):
        time.sleep(WARM_S)
        with looking(sessions, look_s, size.apart_s):
            time.sleep(size.sessions * size.apart_s)
            for pair in range(size.turns):
                for look in (True, False) if pair % 2 else (False, True):
                    (clock.go_on if look else clock.stop)()
                    time.sleep(SETTLE_S)
                    began = utc_now()
                    time.sleep(size.turn_s)
                    turns.append(Turn(look, began, utc_now()))
            clock.go_on()
    stored = stored_frames(database)
    with_ = [frames_a_second(stored, turn) for turn in turns if turn.looking]
    without = [frames_a_second(stored, turn) for turn in turns if not turn.looking]
    reruns = [rerun for session in sessions for rerun in session.reruns]
    print(
        f"\nbeside a scorer on a core of its own; sessions begin {size.apart_s:.0f} s apart\n\n{reruns_table(reruns)}"
    )
    print(f"failed reruns: {sum(rerun.failed for rerun in reruns)}\n")
    print(kept_table(with_, without), flush=True)


def kept_table(with_: Sequence[float], without: Sequence[float]) -> str:
    """Return what a scorer keeps of its throughput, with an interval that holds it in 95 of 100 such benches."""
    ratios = [a / b for a, b in zip(with_, without, strict=True)]
    chance = np.random.default_rng(0)
    drawn = np.median(chance.choice(ratios, (10_000, len(ratios))), axis=1)
    low, high = np.quantile(drawn, (0.025, 0.975))
    header = [
        "pairs of turns",
        "frames/s without sessions",
        "with sessions",
        "kept, median of the pairs",
        "95 % interval",
    ]
    rates = [f"{statistics.median(rates):.2f}" for rates in (without, with_)]
    return table(header, [[str(len(ratios)), *rates, f"{statistics.median(ratios):.3f}", f"{low:.3f} to {high:.3f}"]])


def a_shift(url: str, pid: int, size: Size) -> None:
    """Memory of the server, while one session makes the reruns of eight hours as fast as they go."""
    server = next(
        child for child in psutil.Process(pid).children(recursive=True) if "streamlit" in " ".join(child.cmdline())
    )
    rows = []
    done = 0
    for part in range(PARTS + 1):
        rows.append([f"{done:,}", f"{server.memory_info().rss / 2**20:.0f}"])
        if part < PARTS:
            done += rerun_often(url, "", size.shift_reruns // PARTS)
    print("\n" + table(["reruns of the line page", "memory of the server, MiB"], rows), flush=True)


def wait_until_up(port: int) -> None:
    """Wait for the dashboard's server."""
    from dashboard.server import answers  # noqa: PLC0415 - Streamlit need not be loaded before

    deadline = time.monotonic() + 120
    while not answers("127.0.0.1", port):
        if time.monotonic() > deadline:
            raise TimeoutError("the dashboard did not start")
        time.sleep(0.2)


if __name__ == "__main__":
    main()
