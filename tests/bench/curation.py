"""How long the curate page's questions take with 1,000,000 verdicts, of which 100,000 are kept and half are decided.

usage: python -m tests.bench.curation
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import sqlalchemy as sa

from infra.clock import utc_now
from infra.engines import running_engines
from infra.refit_due import DueRule, look_due
from infra.settings import Settings
from infra.store.connect import open_database
from infra.store.curation import NewDecision, decide_as_seen
from infra.store.curation_queue import curation_counts, frames_as_they_stand, open_stretch, products_to_curate
from infra.store.models import NewModel, register_in_force
from infra.store.schema import migrate
from infra.store.tables import FrameDecision, ensure_day_partitions

VERDICTS, KEPT, DAYS, TIMES = 1_000_000, 100_000, 30, 40
MODEL = NewModel("tile", "/models/tile/1", "f" * 64, "e" * 64, "paper", 1.5, 0.01, 0.01, 64, 0.5, 200, 100, "bench")
_FILL = """
INSERT INTO verdicts (received_at, frame_id, result_id, topic, partition, bus_offset, camera, product, job_id, sha256,
                      captured_at, scored_at, state, model_id, score, p_value, threshold, views, archive_ref)
SELECT :now - n * (:days * interval '1 day') / :verdicts, 'frame-' || n, 'result-' || n, 'frames', n % 8, n, 'cam-' || n % 8,
       'tile', 'order-' || n / 10000, encode(sha256(n::text::bytea), 'hex'), :now, :now,
       CASE WHEN n % 1000 < 5 THEN 'DEFECT' ELSE 'GOOD' END, :model, 1,
       CASE WHEN n % 1000 < 5 THEN 0.005 ELSE (10 + n % 990) / 1000.0 END, 1.5, 8,
       CASE WHEN n % 10 = 5 OR n % 1000 < 5 THEN 'x' END
FROM generate_series(:first, :last) AS n
"""
_DECIDE = """
INSERT INTO decisions (product, sha256, decision, who, reason)
SELECT product, sha256, CASE WHEN standing < 0.1 THEN 'rejected' ELSE 'released' END, 'm.weber', 'looked at'
FROM curation WHERE standing BETWEEN 0.05 AND 0.55
"""


def fill(database: sa.Engine) -> float:
    """Fill the store; returns how long the verdicts took, in seconds."""
    now = utc_now()
    model = register_in_force(database, MODEL).id
    with database.begin() as connection:
        ensure_day_partitions(connection, (now - timedelta(days=DAYS + 1)).date(), DAYS + 3)
    began = time.perf_counter()
    step = VERDICTS // 20
    for first in range(1, VERDICTS + 1, step):
        values = {"now": now, "days": DAYS, "verdicts": VERDICTS, "model": model, "first": first}
        with database.begin() as connection:
            connection.execute(sa.text(_FILL), {**values, "last": first + step - 1})
    filled_s = time.perf_counter() - began
    with database.begin() as connection:
        connection.execute(sa.text(_DECIDE))
    with database.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("VACUUM ANALYZE curation"))
        connection.execute(sa.text("VACUUM ANALYZE decisions"))
    return filled_s


def timed(name: str, work: Callable[[], object]) -> None:
    """Print the median and the 95th percentile of some runs, in milliseconds."""
    taken = []
    for _ in range(TIMES):
        began = time.perf_counter()
        work()
        taken.append(1000 * (time.perf_counter() - began))
    print(f"| {name} | {statistics.median(taken):.1f} | {statistics.quantiles(taken, n=20)[-1]:.1f} |", flush=True)


def main() -> None:
    """Print the table."""
    with (
        tempfile.TemporaryDirectory(prefix="differline-bench-", ignore_cleanup_errors=True) as folder,
        running_engines(Settings(data_dir=Path(folder))) as engines,
    ):
        database = open_database(engines.database_url, pool_size=1)
        migrate(database, utc_now())
        print(f"{VERDICTS:,} verdicts in {fill(database):.0f} s")
        print(curation_counts(database, "tile", 0.05), "\n\n| question | median, ms | p95, ms |\n| --- | --- | --- |")
        for quarantined in (False, True):
            name = "quarantine" if quarantined else "open frames"
            timed(f"a stretch of {name}", lambda q=quarantined: open_stretch(database, "tile", 0.05, quarantined=q))
        queue = iter(open_stretch(database, "tile", 0.05, quarantined=False).sha256)
        shown = open_stretch(database, "tile", 0.05, quarantined=False).sha256[-20:]
        timed("20 frames as they stand", lambda: frames_as_they_stand(database, "tile", shown))
        timed("counts", lambda: curation_counts(database, "tile", 0.05))
        timed("products", lambda: products_to_curate(database))
        timed("due", lambda: look_due(database, "tile", DueRule(timedelta(days=30), 200), utc_now()))

        def decide() -> None:
            made = NewDecision("tile", next(queue), FrameDecision.RELEASED, "m.weber", "light as usual")
            decide_as_seen(database, [made], {made.sha256: None})

        timed("a decision", decide)
        database.dispose()


if __name__ == "__main__":
    main()
