"""What the indexes of the search cost a scorer's commits, in pairs, and how long alerts and searches take in a full database.

usage: python -m tests.bench.search [--verdicts N] [--pairs N]
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import sqlalchemy as sa

from infra.bus import Partition
from infra.clock import utc_now
from infra.engines import running_engines
from infra.settings import Settings
from infra.store.alerts import AlertFilter, acknowledge_many, list_alerts
from infra.store.connect import open_database
from infra.store.models import register_in_force
from infra.store.positions import claim
from infra.store.results import Batch, write_batch
from infra.store.schema import migrate
from infra.store.search import Search, search_verdicts
from infra.store.tables import AlertKind, AlertState, VerdictState, ensure_day_partitions
from infra.store.verdicts import neighbours
from infra.telemetry import configure_logging
from trainer.bench.machine import machine_line
from trainer.bench.tables import table
from trainer.bench.timing import in_turns, median_ratio

from .volume import MODEL, row_of

BATCH = 64
ALERTS = 10_000
ROUNDS = 30
_VERDICTS = """
INSERT INTO verdicts (received_at, frame_id, result_id, topic, partition, bus_offset, camera, product, part_id, sha256,
                      captured_at, scored_at, state, reason, model_id, score, p_value, threshold, views)
SELECT :now - n * interval '172 ms', 'f-' || md5(n::text), 'r-' || n, 'frames', n % 20, n, 'line-3-camera-' || n % 20,
       'flange', 'SN-' || n, repeat('0', 64), :now, :now, v.state, CASE v.state WHEN 'NO_VERDICT' THEN 'black' END, :model,
       1 + n % 7, 0.5, 2.5, 64
FROM generate_series(1, :verdicts) AS n,
     LATERAL (SELECT CASE WHEN n % 100 = 7 THEN 'DEFECT' WHEN n % 5000 = 8 THEN 'NO_VERDICT' ELSE 'GOOD' END AS state) AS v
"""
_ALERTS = """
INSERT INTO alerts (kind, camera, product, received_at, frame_id, state, opened_at)
SELECT CASE WHEN bus_offset % 100000 = 7 THEN 'drift' ELSE 'defect' END, camera, product, received_at, frame_id,
       CASE WHEN bus_offset % 1000 = 7 THEN 'open' ELSE 'acknowledged' END, received_at
FROM verdicts WHERE state = 'DEFECT' ORDER BY received_at DESC LIMIT :alerts
"""


def cost_table(with_them: sa.Engine, without: sa.Engine, pairs: int) -> str:
    """Milliseconds that a scorer's commit takes with the indexes and without, one after the other."""
    with without.begin() as connection:
        connection.execute(sa.text("DROP INDEX verdicts_part, verdicts_not_good"))
    partition = Partition("bench", 0)
    commits: dict[str, Callable[[int], None]] = {}
    for name, database in (("with", with_them), ("without", without)):
        model_id = register_in_force(database, MODEL).id
        mine = claim(database, partition, "bench")

        def commit(number: int, database: sa.Engine = database, mine=mine, model_id: int = model_id) -> None:  # type: ignore[no-untyped-def]
            rows = [row_of(number * BATCH + index, 0, model_id, "bench") for index in range(BATCH)]
            batch = Batch(rows, [], [], {partition: (number + 1) * BATCH})
            write_batch(database, [mine], batch, dedupe_days=7, fill_outbox=True)

        commits[name] = commit
    taken = in_turns(pairs, commits)
    ratio = median_ratio(taken["with"], taken["without"])
    return table(
        (f"a commit of {BATCH} GOOD verdicts, {pairs} pairs", "ms, median"),
        [
            ("with the indexes of part and of what is not GOOD", f"{statistics.median(taken['with']) * 1000:.1f}"),
            ("without", f"{statistics.median(taken['without']) * 1000:.1f}"),
            ("ratio of a pair, median", f"{ratio:.3f}"),
        ],
    )


def questions_table(database: sa.Engine, verdicts: int) -> str:
    """Milliseconds of what the pages ask."""
    now = utc_now()
    model_id = register_in_force(database, MODEL).id
    with database.begin() as connection:
        days = verdicts * 172 // 86_400_000 + 2
        ensure_day_partitions(connection, (now - timedelta(days=days)).date(), days + 2)
        connection.execute(sa.text(_VERDICTS), {"now": now, "model": model_id, "verdicts": verdicts})
        connection.execute(sa.text(_ALERTS), {"alerts": ALERTS})
    with database.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("VACUUM ANALYZE"))
    middle = search_verdicts(database, Search(until=now - verdicts * timedelta(milliseconds=86)), limit=1).verdicts[0]
    searches = {
        "part": Search(part_id="SN-4711"),
        "frame": Search(frame_id=middle.frame_id),
        "camera": Search(camera="line-3-camera-3"),
        "camera, no score so high": Search(camera="line-3-camera-3", least_score=99.0),
        "DEFECT": Search(state=VerdictState.DEFECT),
        "NO_VERDICT of a camera": Search(state=VerdictState.NO_VERDICT, camera="line-3-camera-8"),
        "no score so high": Search(least_score=99.0),
    }
    asked: dict[str, Callable[[], object]] = {
        f"search: {name}": lambda search=search: search_verdicts(database, search) for name, search in searches.items()
    }
    filters = {
        "open": AlertFilter(AlertState.OPEN),
        "drift, which is rare": AlertFilter(kind=AlertKind.DRIFT),
        "of a camera": AlertFilter(camera="line-3-camera-7"),
        "resolved, of which there is none": AlertFilter(AlertState.RESOLVED),
    }
    asked |= {
        f"alerts: {name}": lambda wanted=wanted: list_alerts(database, wanted, limit=21)
        for name, wanted in filters.items()
    }
    asked["frames before and after"] = lambda: neighbours(
        database, middle.camera, middle.frame_id, middle.received_at, 3
    )
    rows = []
    for name, ask in asked.items():
        taken = sorted(_timed(ask) for _ in range(ROUNDS))
        rows.append((name, f"{statistics.median(taken) * 1000:.1f}", f"{taken[int(0.95 * ROUNDS)] * 1000:.1f}"))
    several = [one.id for one in list_alerts(database, AlertFilter(AlertState.OPEN), limit=200)]
    took = _timed(lambda: acknowledge_many(database, several, "bench", "bench"))
    rows.append((f"acknowledge {len(several)} at once", f"{took * 1000:.0f}", ""))
    return table((f"{verdicts:,} verdicts, {ALERTS:,} alerts", "ms, median", "p95"), rows)


def _timed(ask: Callable[[], object]) -> float:
    began = time.perf_counter()
    ask()
    return time.perf_counter() - began


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--verdicts", type=int, default=1_000_000, help="that are searched")
    parser.add_argument("--pairs", type=int, default=300, help="commits with and without the indexes")
    arguments = parser.parse_args()
    print(f"{machine_line()}\n", flush=True)
    configure_logging("error")
    with (
        tempfile.TemporaryDirectory(prefix="differline-bench-", ignore_cleanup_errors=True) as folder,
        running_engines(Settings(data_dir=Path(folder))) as engines,
    ):
        database = open_database(engines.database_url)
        with database.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(sa.text("CREATE DATABASE without"))
        url = sa.make_url(engines.database_url).set(database="without")
        other = open_database(url.render_as_string(hide_password=False))
        migrate(other, utc_now())
        print(cost_table(database, other, arguments.pairs), flush=True)
        other.dispose()
        print("\n" + questions_table(database, arguments.verdicts))
        database.dispose()


if __name__ == "__main__":
    main()
