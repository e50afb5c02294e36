"""`make bench`: what this machine does, printed as Markdown. Nothing here asserts a time.

usage: python -m tests.bench.bench [--quick] [--mtd DIR]

--quick: few frames, to see that it works; DIR: pictures of defect-free tiles for the training row, else simulated parts
"""

import argparse
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import sqlalchemy as sa
import torch

from infra.bus import Partition
from infra.bus.connect import open_producer
from infra.clock import utc_now
from infra.engines import Engines, running_engines
from infra.frames import FrameMessage, new_id, sha256_hex, to_headers
from infra.pictures import decode
from infra.settings import Settings
from infra.store.connect import open_database
from infra.store.positions import claim
from infra.store.results import Batch, VerdictRow, write_batch
from infra.telemetry import configure_logging
from ingest.sources.simulator import SimulatedCamera
from scorer.__main__ import build_worker
from scorer.detector import Extractor, load_extractor
from scorer.judge import StageSeconds
from trainer.fit import FittedModel, fit
from trainer.images import drawn_pictures
from trainer.presets import COMPACT
from trainer.register import register

from .machine import machine_line

FRAMES = {1: 64, 8: 32, 64: 6}
FEW_FRAMES = {1: 8, 8: 4}
ROWS = 2_000
ROUNDS = 5


def bodies(count: int, seed: int) -> list[bytes]:
    """Encoded pictures of simulated defect-free parts."""
    pictures = SimulatedCamera("flange", seed=seed, defect_rate=0.0, frames=count)
    return [picture.body for picture in pictures]


def model(extractor: Extractor, views: int) -> FittedModel:
    """A model of the compact size; its accuracy does not matter here."""
    pictures = drawn_pictures([decode(body, 10**7) for body in bodies(20, seed=1)])
    quick = replace(COMPACT, epochs=1, bank_views=1, epoch_views=1, heatmap_views=1)
    return fit(pictures, f"flange-{views}", quick, extractor, false_alarm_rate=0.01, views=views)


def scorer_row(settings: Settings, engines: Engines, extractor: Extractor, views: int, frames: int) -> str:
    """Frames through bus, scorer and PostgreSQL, with the time by stage; heatmaps only as sampled, as in production."""
    database = open_database(engines.database_url)
    product = register(database, settings.models_folder, model(extractor, views), "bench").product
    producer = open_producer(settings, engines)
    worker = build_worker(settings, engines, threading.Event())
    worker.judge.shelf.refresh()
    for body in bodies(frames, seed=2):
        frame = FrameMessage(new_id(), f"bench-{views}", product, utc_now(), body, sha256=sha256_hex(body))
        producer.send(settings.frames_topic, b"bench", to_headers(frame), body, timeout_s=60)
    worker.judge.stages = StageSeconds()
    started = time.perf_counter()
    while worker.totals.frames < frames:
        worker.run(until_idle_s=0)
    seconds = time.perf_counter() - started
    stages = vars(worker.judge.stages)
    shares = " | ".join(f"{1000 * stages[name] / frames:.1f}" for name in stages)
    for closing in (
        producer.close,
        worker.consumer.close,
        worker.live.close,
        worker.database.dispose,
        database.dispose,
    ):
        closing()
    return f"| {views} | {frames / seconds:.2f} | {shares} |"


def training_lines(extractor: Extractor, folder: Path | None, quick: bool) -> list[str]:
    """Training time of `compact`, by stage."""
    source = folder or drawn_pictures([decode(body, 10**7) for body in bodies(20 if quick else 120, seed=3)])
    preset = replace(COMPACT, epochs=1, bank_views=1, heatmap_views=1) if quick else COMPACT
    report = fit(source, "bench", preset, extractor, false_alarm_rate=0.05).report
    what = "MTD train/good" if folder else "simulated parts"
    pictures = f"{report.n_train} + {report.n_calibration} held out"
    times = f"{report.fit_s:.1f} | {report.calibration_s:.1f}"
    return [
        "| compact on | pictures | fit s | calibration s |",
        "| --- | --- | --- | --- |",
        f"| {what} | {pictures} | {times} |",
    ]


def row_of(offset: int, model_id: int) -> VerdictRow:
    """A verdict as the scorer writes it."""
    now = utc_now()
    return VerdictRow(
        received_at=now + timedelta(microseconds=offset),
        frame_id=new_id(),
        result_id=new_id(),
        topic="bench",
        partition=0,
        bus_offset=offset,
        camera=f"cam{offset % 8}",
        product="bench",
        part_id=str(offset),
        job_id=None,
        run=None,
        sequence=None,
        sha256="0" * 64,
        simulated=None,
        captured_at=now,
        scored_at=now,
        state="GOOD",
        reason=None,
        model_id=model_id,
        score=1.0,
        p_value=0.5,
        threshold=2.0,
        views=8,
        archive_ref=None,
        decode_ms=1.0,
        score_ms=1.0,
    )


def writing_lines(engines: Engines, rounds: int) -> list[str]:
    """Rows a second into PostgreSQL: our batch by COPY against one INSERT a row, in turns."""
    database = open_database(engines.database_url)
    with database.connect() as connection:
        model_id = connection.scalar(sa.text("SELECT min(id) FROM models"))
    partition = Partition("bench", 0)
    mine = claim(database, partition, "bench")
    offsets = iter(range(0, 10**9, ROWS))

    def by_copy() -> None:
        start = next(offsets)
        rows = [row_of(start + index, model_id) for index in range(ROWS)]
        write_batch(database, [mine], Batch(rows, [], [], {partition: start + ROWS}), dedupe_days=7)

    def by_insert() -> None:
        start = next(offsets)
        columns = list(VerdictRow.__dataclass_fields__)
        statement = sa.text(
            f"INSERT INTO verdicts ({', '.join(columns)}) VALUES ({', '.join(':' + c for c in columns)})"
        )
        with database.begin() as connection:
            for index in range(ROWS):
                row = row_of(start + index, model_id)
                connection.execute(statement, {column: getattr(row, column) for column in columns})

    copied, inserted = zip(*((seconds(by_copy), seconds(by_insert)) for _ in range(rounds)), strict=True)
    database.dispose()
    fast, slow = ROWS / statistics.median(copied), ROWS / statistics.median(inserted)
    return [
        "| into PostgreSQL, batches of 2,000 | verdicts/s |",
        "| --- | --- |",
        f"| COPY, with fence, duplicates, ledger and position | {fast:,.0f} |",
        f"| one INSERT a row, in one transaction, nothing else | {slow:,.0f} |",
        f"| ratio | {fast / slow:.1f} |",
    ]


def seconds(work: Callable[[], None]) -> float:
    """How long some work takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mtd", type=Path, default=None, help="folder of defect-free tiles")
    parser.add_argument("--quick", action="store_true", help="few frames, to see that it works")
    arguments = parser.parse_args()
    print(f"{machine_line()}, {torch.get_num_threads()} threads, torch {torch.__version__}\n", flush=True)
    configure_logging("error")
    extractor = load_extractor("random", 0)
    with tempfile.TemporaryDirectory(prefix="differline-bench-", ignore_cleanup_errors=True) as folder:
        settings = Settings(data_dir=Path(folder), heatmap_sample=10**9, archive_sample=10**9)
        with running_engines(settings) as engines:
            print("| views | frames/s | decode ms | views ms | features ms | flow ms | heatmap ms | write ms |")
            print("| --- | --- | --- | --- | --- | --- | --- | --- |")
            for views, frames in (FEW_FRAMES if arguments.quick else FRAMES).items():
                print(scorer_row(settings, engines, extractor, views, frames), flush=True)
            print()
            print("\n".join(writing_lines(engines, 1 if arguments.quick else ROUNDS)), flush=True)
    print()
    print("\n".join(training_lines(extractor, arguments.mtd, arguments.quick)))


if __name__ == "__main__":
    main()
