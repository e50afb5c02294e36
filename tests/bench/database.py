"""Verdicts a second into PostgreSQL: our batch by COPY against one INSERT a row, in turns. Nothing here asserts a time.

usage: python -m tests.bench.database [--quick]

--quick: one round, to see that it works
"""

import argparse
import statistics
import tempfile
from pathlib import Path

import sqlalchemy as sa

from infra.bus import Partition
from infra.engines import running_engines
from infra.settings import Settings
from infra.store.connect import open_database
from infra.store.models import register_in_force
from infra.store.positions import claim
from infra.store.results import Batch, VerdictRow, write_batch
from infra.telemetry import configure_logging
from trainer.bench.machine import machine_line
from trainer.bench.tables import table
from trainer.bench.timing import in_turns, median_ratio

from .volume import MODEL, row_of

ROWS = 2_000
ROUNDS = 5


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


def main() -> None:
    """Print the table."""
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
        print(writing_table(database, 1 if arguments.quick else ROUNDS))
        database.dispose()


if __name__ == "__main__":
    main()
