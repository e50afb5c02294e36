"""What 20 open sessions wait for, and what they cost the scorer, with a million verdicts and ten thousand alerts.

usage: python -m tests.bench.dashboard [--quick] [--only sessions,scorer,shift]

A database is filled as a day of eight cameras fills it, with pictures of a simulated line. The real dashboard serves 20
sessions that hold its pages open and walk about (see tests/bench/sessions.py): every fragment that runs by itself runs as in
a browser, which draws elsewhere. Printed are the times of reruns, by page; then frames a second of a real scorer, in turns
with and without the sessions, the scorer on a core of its own and everything else on the others; then the memory of the
dashboard's server before and after as many reruns as a page that is open for eight hours makes.
"""

import argparse
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import numpy as np
import psutil
import sqlalchemy as sa

from infra.archive import open_archive
from infra.children import differline
from infra.clock import utc_now
from infra.engines import Engines, running_engines
from infra.heatmaps import encode_heatmap
from infra.pictures import decode
from infra.settings import Settings
from infra.store.connect import open_database
from infra.store.rolling import roll, waiting
from infra.store.tables import ensure_day_partitions, verdicts
from ingest.sources.simulator import SimulatedCamera
from scorer.detector import load_extractor
from trainer.bench.machine import machine_line
from trainer.bench.tables import table
from trainer.fit import fit
from trainer.images import drawn_pictures
from trainer.register import register

from ..servers import free_port
from ..small_model import SMALL
from .sessions import Rerun, Session, look_around, rerun_often

PAGES = ("", "", "", "alerts", "alerts", "search", "drift", "curate", "models", "health")
PRODUCT = "flange"
CAMERAS = 8
PICTURES = 40
STAY_S = 20.0
SETTLE_S = 12.0
PARTS = 4  # of the shift, between which the memory is read
LIVE = "line-1-live"

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
    look_s: float = 120.0
    turns: int = 4
    turn_s: float = 40.0
    shift_reruns: int = 8 * 3600 // 2


QUICK = Size(frames=20_000, alerts=200, sessions=4, look_s=25.0, turns=1, turn_s=10.0, shift_reruns=100)


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
        }
        command = ["taskset", "-c", ",".join(map(str, cores)), *differline(*arguments)]
        log = self.settings.data_dir / f"{arguments[0]}.log"
        with log.open("w") as file, subprocess.Popen(command, env=environment, stdout=file, stderr=file) as process:
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


def judged(database: sa.Engine, seconds: float) -> float:
    """Count the verdicts of the live camera for a while; returns how many there were a second."""
    newest = sa.select(sa.func.count()).select_from(verdicts).where(verdicts.c.camera == LIVE)
    with database.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        before, began = connection.scalar(newest) or 0, time.monotonic()
        time.sleep(seconds)
        after = connection.scalar(newest) or 0
        return float((after - before) / (time.monotonic() - began))


def main() -> None:
    """Fill, look, score, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a try, of a minute or two")
    parser.add_argument("--only", default="sessions,scorer,shift", help="which of the three are measured")
    given = parser.parse_args()
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
        sessions = [Session(url, PAGES, STAY_S, seed) for seed in range(size.sessions)]
        if "sessions" in wanted:
            reruns = look_around(sessions, size.look_s)
            print(f"\n{size.sessions} sessions for {size.look_s:.0f} s, no scorer\n\n{reruns_table(reruns)}")
            print(f"failed reruns: {sum(rerun.failed for rerun in reruns)}", flush=True)
        if "scorer" in wanted:
            beside_a_scorer(plant, database, sessions, size)
        if "shift" in wanted:
            a_shift(url, pid, size)


def beside_a_scorer(plant: Plant, database: sa.Engine, sessions: list[Session], size: Size) -> None:
    """Frames a second of a scorer, in turns with and without the sessions; it never waits for frames."""
    alone: list[float] = []
    beside: list[float] = []
    reruns: list[Rerun] = []
    camera = ("ingest", "simulate", "--camera", LIVE, "--product", PRODUCT)
    with plant.running("score", cores=plant.own), plant.running(*camera, cores=plant.others):
        judged(database, min(30.0, size.turn_s))  # warm
        for _ in range(size.turns):
            alone.append(judged(database, size.turn_s))
            with ThreadPoolExecutor(1) as looking:
                seen = looking.submit(look_around, sessions, size.turn_s + 2 * SETTLE_S)
                time.sleep(SETTLE_S)
                beside.append(judged(database, size.turn_s))
                reruns += seen.result()
    ratio = statistics.median(with_ / without for with_, without in zip(beside, alone, strict=True))
    print(f"\nbeside a scorer on a core of its own\n\n{reruns_table(reruns)}")
    turns = enumerate(zip(alone, beside, strict=True), start=1)
    rows = [[str(turn), f"{without:.2f}", f"{with_:.2f}", f"{with_ / without:.3f}"] for turn, (without, with_) in turns]
    print("\n" + table(["turn", "frames/s without sessions", "with sessions", "ratio"], rows))
    print(f"median ratio {ratio:.3f}; failed reruns: {sum(rerun.failed for rerun in reruns)}", flush=True)


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
