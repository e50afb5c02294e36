"""How many bytes a frame leaves in PostgreSQL, its WAL and the archive; the figures of infra/deploy/SIZING.md.

Sizes hardly depend on how busy the machine is. usage: python -m tests.bench.volume
"""

import hashlib
import statistics
import tempfile
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import sqlalchemy as sa

from infra.bus import Partition
from infra.clock import utc_now
from infra.engines import running_engines
from infra.frames import new_id
from infra.heatmaps import encode_heatmap
from infra.pictures import decode
from infra.settings import Settings
from infra.store.connect import open_database
from infra.store.models import NewModel, register_in_force
from infra.store.positions import claim
from infra.store.results import Batch, VerdictRow, write_batch
from ingest.sources.simulator import SimulatedCamera
from scorer.detector import load_extractor
from trainer.fit import fit
from trainer.images import drawn_pictures
from trainer.presets import COMPACT

ROWS = 16_384
CAMERAS = 8
PICTURES = 24
MODEL = NewModel("flange", "/models/flange/1", "f" * 64, "e" * 64, "paper", 1.5, 0.01, 0.01, 64, 0.5, 200, 100, "bench")


def row_of(offset: int, partition: int, model_id: int, run: str) -> VerdictRow:
    """A verdict as the scorer writes it, with everything that a camera of a plant tells."""
    now = utc_now()
    return VerdictRow(
        received_at=now + timedelta(microseconds=offset),
        frame_id=new_id(),
        result_id=new_id(),
        topic="frames",
        partition=partition,
        bus_offset=offset,
        camera=f"line-3-camera-{partition:04}",
        product="flange",
        part_id=f"SN-{offset:010}",
        job_id="order-4711",
        run=run,
        sequence=offset,
        sha256=hashlib.sha256(str(offset).encode()).hexdigest(),
        simulated=None,
        captured_at=now,
        scored_at=now,
        state="GOOD",
        reason=None,
        model_id=model_id,
        score=1.0 + offset / ROWS,
        p_value=0.5,
        threshold=2.5,
        views=64,
        archive_ref=None,
        decode_ms=1.5,
        score_ms=12.5,
        focus=4.93,
        brightness=67.2,
        contrast=33.6,
    )


def batches(database: sa.Engine, batch_frames: int, model_id: int) -> None:
    """Write ROWS verdicts, a scorer's batch at a time, and take them out of the outbox as the relay does."""
    for number in range(CAMERAS):
        partition, run = Partition("frames", batch_frames * 100 + number), new_id()
        mine = claim(database, partition, "bench")
        for start in range(0, ROWS // CAMERAS, batch_frames):
            offsets = range(start, start + batch_frames)
            rows = [row_of(offset, partition.number, model_id, run) for offset in offsets]
            whole = Batch(rows, [], [], {partition: offsets.stop})
            write_batch(database, [mine], whole, dedupe_days=7, fill_outbox=True)
        with database.begin() as connection:
            connection.execute(sa.text("DELETE FROM outbox"))


def scalar(database: sa.Engine, query: str) -> float:
    """One number from the database."""
    with database.connect() as connection:
        return float(connection.scalar(sa.text(query)) or 0)


def table_bytes(database: sa.Engine, function: str) -> float:
    """Bytes of all day partitions of the verdicts."""
    return scalar(database, f"SELECT sum({function}(relid)) FROM pg_partition_tree('verdicts') WHERE isleaf")


def database_lines(database: sa.Engine) -> list[str]:
    """Bytes a verdict: table, indexes, WAL."""
    model_id = register_in_force(database, MODEL).id
    lines = []
    for batch_frames in (16, 64):
        database_wal = "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')"
        before = scalar(database, database_wal)
        heap, indexes = table_bytes(database, "pg_table_size"), table_bytes(database, "pg_indexes_size")
        batches(database, batch_frames, model_id)
        wal = (scalar(database, database_wal) - before) / ROWS
        heap = (table_bytes(database, "pg_table_size") - heap) / ROWS
        indexes = (table_bytes(database, "pg_indexes_size") - indexes) / ROWS
        lines.append(f"| verdict, in batches of {batch_frames} | {heap:.0f} | {indexes:.0f} | {wal:.0f} |")
    return lines


def picture_line() -> str:
    """Bytes of a picture and of its heatmap, over simulated parts of which some are defective."""
    pictures = list(SimulatedCamera("flange", seed=2, defect_rate=0.5, frames=PICTURES))
    decoded = [decode(picture.body, 10**7) for picture in pictures]
    quick = replace(COMPACT, epochs=1, bank_views=1, epoch_views=1, scoring_views=1, heatmap_views=1, local=None)
    detector = fit(drawn_pictures(decoded), "flange", quick, load_extractor("random", 0), false_alarm_rate=0.5).detector
    heatmaps = [len(encode_heatmap(heat)) for heat in detector.heatmap(decoded[:8])]
    jpeg = statistics.mean(len(picture.body) for picture in pictures)
    height, width = decoded[0].shape[:2]
    return (
        f"simulated picture, {width} x {height}: JPEG {jpeg:,.0f} bytes, heatmap {statistics.mean(heatmaps):,.0f} bytes"
    )


def main() -> None:
    """Print the tables."""
    print(picture_line() + "\n", flush=True)
    with (
        tempfile.TemporaryDirectory(prefix="differline-bench-", ignore_cleanup_errors=True) as folder,
        running_engines(Settings(data_dir=Path(folder))) as engines,
    ):
        database = open_database(engines.database_url, pool_size=1)
        print(f"PostgreSQL {scalar(database, 'SHOW server_version'):g}, {ROWS:,} verdicts each\n")
        print("| bytes of one | table | indexes | WAL |\n| --- | --- | --- | --- |")
        print("\n".join(database_lines(database)), flush=True)
        database.dispose()


if __name__ == "__main__":
    main()
