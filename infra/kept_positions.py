"""The kept positions beside what the bus holds, and moving one: for the person who looks after a scorer has stopped."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC

import sqlalchemy as sa
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from infra.bus.connect import open_observer
from infra.bus.protocol import Extent, Observer, Partition
from infra.engines import Engines
from infra.errors import PositionRefusedError, SettingsError
from infra.settings import Settings
from infra.store.connect import open_database
from infra.store.position_reset import reset_position
from infra.store.positions import StoredPosition, all_positions

OLDEST, NEWEST = "oldest", "newest"
BEHIND_THE_END = "BEHIND THE END"
MAX_WHY = 500
_LARGEST_OFFSET = 2**63 - 1
_WIDTH = 160


@dataclass(frozen=True, slots=True)
class KeptPosition:
    """A partition as database and bus see it.

    Attributes:
        partition: Which.
        stored: What the database has; None where no scorer has claimed it yet.
        held: What the bus holds of it; None where it is not of the frames topic in use.
        waiting: Frames at or behind the position; None where the bus is not asked.
    """

    partition: Partition
    stored: StoredPosition | None
    held: Extent | None
    waiting: int | None

    @property
    def state(self) -> str:
        """What is wrong with it, in capitals; empty where nothing is."""
        next_offset = self.stored.next_offset if self.stored else None
        lost = self.held is not None and next_offset is not None and next_offset > self.held.end
        return BEHIND_THE_END if lost else ""


@dataclass(frozen=True, slots=True)
class Moved:
    """A position that was moved.

    Attributes:
        partition: Whose.
        before: Where it stood; None where nothing was stored yet.
        after: Where it stands.
        skipped: Frames that waited and will not be judged.
        again: Frames that lie before the old position and are read again.
        epoch: The raised epoch.
    """

    partition: Partition
    before: int | None
    after: int
    skipped: int
    again: int
    epoch: int

    def __str__(self) -> str:
        """Say it in one line."""
        before = "nothing" if self.before is None else self.before
        text = f"{_name(self.partition)}: {before} became {self.after}, epoch {self.epoch}; {_frames(self.skipped)} skipped"
        return text + (
            f", {_frames(self.again)} read again: those judged before count as duplicates" if self.again else ""
        )


def kept_positions(settings: Settings, engines: Engines) -> list[KeptPosition]:
    """Return every kept position, and every partition of the frames topic, by name.

    Raises:
        TransientError: The database or the bus does not answer.
    """
    with _opened(settings, engines) as (database, bus):
        stored = {each.partition: each for each in all_positions(database)}
        held = bus.assigned()
        return [_kept(partition, stored.get(partition), bus, held) for partition in sorted(stored.keys() | held)]


def move_position(
    settings: Settings, engines: Engines, name: str, to: str, *, skip_frames: bool, why: str = ""
) -> Moved:
    """Move the position of a partition, fence off whoever reads it, and put that on record.

    Args:
        settings: Which bus, and in whose name.
        engines: Where the servers are.
        name: The partition, as TOPIC/NUMBER.
        to: `oldest`, `newest` or an offset.
        skip_frames: Whether frames that wait before the new position may be left out.
        why: The reason, for the audit log.

    Raises:
        SettingsError: There is no such partition, or `to` says no position in it.
        PositionRefusedError: Frames wait before the new position; nothing was changed.
        TransientError: The database or the bus does not answer; nothing was changed.
    """
    with _opened(settings, engines) as (database, bus):
        partition = _partition(name, bus)
        counts: list[int] = []

        def choose(before: int | None) -> int:
            held = bus.extent(partition)
            after = _target(to, held, partition)
            # Where the bus ends before the position it was made anew: none of what it holds was read.
            reading = held.oldest if before is None or before > held.end else before
            counts[:] = bus.count(partition, reading, after), bus.count(partition, after, reading)
            if counts[0] and not skip_frames:
                raise PositionRefusedError(
                    f"{_frames(counts[0])} in {_name(partition)} wait before {after} and would never be judged; "
                    "--skip-frames leaves them out, and the ledger will miss them"
                )
            return after

        done = reset_position(database, partition, f"{settings.user} (reset)", choose, why=why)
        skipped, again = counts
        return Moved(partition, done.before, done.after, skipped, again, done.epoch)


def positions_table(positions: list[KeptPosition]) -> str:
    """Return the positions as a table of text."""
    columns = ("topic/partition", "next", "epoch", "worker", "updated", "oldest", "end", "waiting", "")
    table = Table(*columns, title="positions", title_justify="left")
    for column in table.columns:
        column.overflow = "fold"  # nothing is cut off: names and offsets are copied from here
        column.no_wrap = column.header in ("next", "oldest", "end", "waiting", "")
    for each in positions:
        table.add_row(*map(escape, _cells(each)))
    text = io.StringIO()
    Console(file=text, width=_WIDTH).print(table)
    return text.getvalue().rstrip()


@contextmanager
def _opened(settings: Settings, engines: Engines) -> Iterator[tuple[sa.Engine, Observer]]:
    database = open_database(engines.database_url, pool_size=1)
    bus = open_observer(settings, engines)
    try:
        yield database, bus
    finally:
        bus.close()
        database.dispose()


def _kept(
    partition: Partition, stored: StoredPosition | None, bus: Observer, known: frozenset[Partition]
) -> KeptPosition:
    if partition not in known:
        return KeptPosition(partition, stored, None, None)
    held = bus.extent(partition)
    begin = held.oldest if stored is None or stored.next_offset is None else stored.next_offset
    return KeptPosition(partition, stored, held, bus.count(partition, begin, held.end))


def _partition(name: str, bus: Observer) -> Partition:
    topic, _, number = name.rpartition("/")
    known = bus.assigned()
    if number.isascii() and number.isdigit() and (found := Partition(topic, int(number))) in known:
        return found
    raise SettingsError(f"--reset {name!r}: the partitions of the bus are {_name(min(known))} to {_name(max(known))}")


def _target(to: str, held: Extent, partition: Partition) -> int:
    if to in (OLDEST, NEWEST):
        return held.oldest if to == OLDEST else held.end
    if not (to.isascii() and to.isdigit() and held.oldest <= int(to) <= held.end <= _LARGEST_OFFSET):
        raise SettingsError(
            f"--to {to!r}: say oldest, newest or an offset of {_name(partition)}, from {held.oldest} to {held.end}"
        )
    return int(to)


def _cells(kept: KeptPosition) -> list[str]:
    stored, held = kept.stored, kept.held
    known = (
        ["—"] * 4
        if stored is None
        else [
            "—" if stored.next_offset is None else str(stored.next_offset),
            str(stored.epoch),
            stored.worker,
            f"{stored.updated_at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC",
        ]
    )
    on_bus = ["—"] * 3 if held is None else [str(held.oldest), str(held.end), str(kept.waiting)]
    return [_name(kept.partition), *known, *on_bus, kept.state]


def _name(partition: Partition) -> str:
    return f"{partition.topic}/{partition.number}"


def _frames(number: int) -> str:
    return "1 frame" if number == 1 else f"{number:,} frames"
