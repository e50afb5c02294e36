"""The ledger put together from store and bus, and as a table for people."""

import io

import sqlalchemy as sa
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from infra.bus.connect import open_observer
from infra.bus.protocol import Consumer
from infra.engines import Engines
from infra.settings import Settings
from infra.store.connect import open_database
from infra.store.ledger import CameraLedger, Ledger, read_ledger
from infra.store.positions import stored_positions

_WIDTH = 200


def current_ledger(settings: Settings, engines: Engines) -> Ledger:
    """Read the ledger, asking the bus whether anything still waits.

    Raises:
        TransientError: The database or the bus does not answer.
    """
    database = open_database(engines.database_url, pool_size=1)
    consumer = open_observer(settings, engines)
    try:
        return read_ledger(database, lambda connection: _nothing_waits(connection, consumer, settings.frames_topic))
    finally:
        consumer.close()
        database.dispose()


def ledger_table(ledger: Ledger) -> str:
    """Return the ledger as a table of text."""
    columns = (
        "camera",
        "received",
        "GOOD",
        "DEFECT",
        "NO_VERDICT",
        "dead-lettered",
        "waiting",
        "spooled",
        "missing",
        "duplicates",
        "skipped",
        "",
    )
    table = Table(*columns, title="ledger", title_justify="left")
    for column in table.columns[1:-1]:
        column.justify = "right"
    for camera in ledger.cameras:
        table.add_row(*_cells(camera))
    text = io.StringIO()
    console = Console(file=text, width=_WIDTH)
    console.print(table)
    console.print(
        f"{ledger.accounted} of {ledger.received} frames accounted for: " + _outcome(ledger),
        markup=False,
    )
    return text.getvalue().rstrip()


def _outcome(ledger: Ledger) -> str:
    if ledger.balanced:
        return "the ledger balances"
    missing = sum(camera.missing for camera in ledger.cameras)
    if missing:
        return f"THE LEDGER DOES NOT BALANCE, {missing} missing"
    waiting = sum(camera.waiting for camera in ledger.cameras)
    spooled = sum(camera.spooled for camera in ledger.cameras)
    in_spools = f", {spooled} in spools" if spooled else ""
    return f"{waiting} wait on the bus{in_spools}, none is missing"


def _nothing_waits(connection: sa.Connection, consumer: Consumer, topic: str) -> bool:
    stored = stored_positions(connection, topic)
    partitions = consumer.assigned()
    for partition in partitions:
        if partition in stored:
            consumer.seek(partition, stored[partition])
        else:
            consumer.seek_to_beginning(partition)
    return consumer.waiting(partitions) == 0


def _cells(camera: CameraLedger) -> list[str]:
    return [
        escape(camera.camera) or "(none named)",
        str(camera.received),
        str(camera.good),
        str(camera.defect),
        _by_reason(camera.no_verdict),
        _by_reason(camera.dead_lettered),
        str(camera.waiting),
        str(camera.spooled),
        str(camera.missing),
        str(camera.duplicates),
        _by_reason(camera.skipped),
        "balanced" if camera.balanced else "GAP" if camera.missing else "on the way",
    ]


def _by_reason(counts: dict[str, int]) -> str:
    total = sum(counts.values())
    reasons = ", ".join(f"{reason} {frames}" for reason, frames in sorted(counts.items()))
    return f"{total} ({reasons})" if counts else "0"
