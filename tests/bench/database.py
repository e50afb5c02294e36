"""Verdicts a second into PostgreSQL: our batch by COPY against one INSERT a row; what the mark of the rollups costs a commit,
and how long it takes to count what is marked. In turns; nothing here asserts a time.

usage: python -m tests.bench.database [--quick]

--quick: one round, to see that it works
"""

import argparse
import statistics
import tempfile
import time
from datetime import timedelta
from pathlib import Path

import sqlalchemy as sa

from infra.bus import Partition
from infra.engines import running_engines
from infra.settings import Settings
from infra.store.connect import open_database
from infra.store.models import register_in_force
from infra.store.positions import claim
from infra.store.results import Batch, VerdictRow, write_batch
from infra.store.rolling import roll, waiting
from infra.telemetry import configure_logging
from trainer.bench.machine import machine_line
from trainer.bench.tables import table
from trainer.bench.timing import in_turns, median_ratio, seconds

from .volume import MODEL, row_of

ROWS = 2_000
ROUNDS = 5
MARK_ROUNDS = 100  # of small batches, as a scorer's are: what is looked for is little beside their spread
MARK_ROWS = 16


def writing_table(database: sa.Engine, rounds: int) -> str:
    """Rows a second of both ways."""
    model_id = register_in_force(database, MODEL).id
    partition = Partition("bench", 0)
    mine = claim(database, partition, "bench")
    batches = [
        [row_of(start + index, partition.number, model_id, "bench") for index in range(ROWS)]
        for start in range(0, 2 * rounds * ROWS, ROWS)
    ]

    def by_copy(number: int) -> None:
        rows = batches[2 * number]
        write_batch(database, [mine], Batch(rows, [], [], {partition: rows[-1].bus_offset + 1}), dedupe_days=7)

    def by_insert(number: int) -> None:
        columns = list(VerdictRow.__dataclass_fields__)
        statement = sa.text(
            f"INSERT INTO verdicts ({', '.join(columns)}) VALUES ({', '.join(':' + c for c in columns)})"
        )
        with database.begin() as connection:
            for row in batches[2 * number + 1]:
                connection.execute(statement, {column: getattr(row, column) for column in columns})

    taken = in_turns(rounds, {"copy": by_copy, "insert": by_insert})
    fast, slow = (ROWS / statistics.median(taken[name]) for name in ("copy", "insert"))
    return table(
        ("into PostgreSQL, batches of 2,000", "verdicts/s"),
        [
            ("COPY, with fence, duplicates, ledger and position", f"{fast:,.0f}"),
            ("one INSERT a row, in one transaction, nothing else", f"{slow:,.0f}"),
            ("ratio", f"{median_ratio(taken['insert'], taken['copy']):.1f}"),
        ],
    )


def marking_table(database: sa.Engine, rounds: int) -> str:
    """What the mark costs a scorer's commit, and what it costs to count the ten minutes."""
    model_id = register_in_force(database, MODEL).id
    partition = Partition("bench", 1)
    mine = claim(database, partition, "bench")
    batches = iter(
        [row_of(start + index, partition.number, model_id, "marks") for index in range(MARK_ROWS)]
        for start in range(0, 4 * rounds * MARK_ROWS, MARK_ROWS)
    )

    def write() -> None:
        rows = next(batches)
        whole = Batch(rows, [], [], {partition: rows[-1].bus_offset + 1})
        write_batch(database, [mine], whole, dedupe_days=7, fill_outbox=True)

    def mark(word: str) -> None:
        with database.begin() as connection:
            connection.execute(sa.text(f"ALTER TABLE verdicts {word} TRIGGER verdicts_mark_rollups"))

    taken: dict[str, list[float]] = {"with": [], "without": []}
    for number in range(rounds):
        for name, word in (("with", "ENABLE"), ("without", "DISABLE"))[:: 1 if number % 2 == 0 else -1]:
            mark(word)
            write()  # the first one pays for what PostgreSQL reads anew of the table
            taken[name].append(seconds(write))
    mark("ENABLE")
    with_mark, plain = (1000 * statistics.median(taken[name]) for name in ("with", "without"))
    return table(
        (f"a scorer's commit of {MARK_ROWS} verdicts, median of {rounds} pairs", "ms"),
        [
            ("with the mark of the rollups", f"{with_mark:.2f}"),
            ("without it", f"{plain:.2f}"),
            ("ratio, median of the pairs", f"{median_ratio(taken['with'], taken['without']):.3f}"),
        ],
    )


def counting_line(database: sa.Engine) -> str:
    """How long it takes to count what was marked so far."""
    with database.connect() as connection:
        rows = connection.scalar(sa.text("SELECT count(*) FROM verdicts")) or 0
    started = time.perf_counter()
    counted = sum(roll(database, due) for due in waiting(database, timedelta(0), 1_000))
    took = time.perf_counter() - started
    return f"counting {counted} times ten minutes anew, {rows:,} verdicts: {1e6 * took / rows:.1f} us a verdict"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one round, to see that it works")
    arguments = parser.parse_args()
    print(f"{machine_line()}\n", flush=True)
    configure_logging("error")
    with (
        tempfile.TemporaryDirectory(prefix="differline-bench-", ignore_cleanup_errors=True) as folder,
        running_engines(Settings(data_dir=Path(folder))) as engines,
    ):
        database = open_database(engines.database_url)
        print(writing_table(database, 1 if arguments.quick else ROUNDS), flush=True)
        print("\n" + marking_table(database, 2 if arguments.quick else MARK_ROUNDS), flush=True)
        print("\n" + counting_line(database))
        database.dispose()


if __name__ == "__main__":
    main()
