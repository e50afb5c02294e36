"""The ledger: per camera, what was received and what became of it. It must balance.

A camera's frames are counted by the sequence within its runs; a foreign producer without them is counted by what was read
from its partition, which has no holes. Counts are kept in the transaction that writes the results, so reading them costs
nothing however many frames there were.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from infra.store.connect import transaction
from infra.store.tables import camera_runs, ledger_counts, skipped_frames


@dataclass(frozen=True, slots=True)
class Accounted:
    """One frame whose fate is known; `state` is a verdict's, DEAD_LETTER or DUPLICATE."""

    camera: str
    state: str
    reason: str
    run: str | None
    sequence: int | None


@dataclass
class CameraLedger:
    """One camera's account.

    Attributes:
        camera: The camera; empty for dead letters that name none.
        received: Frames that the bus or a camera's disk spool accepted.
        good: Frames judged GOOD.
        defect: Frames judged DEFECT.
        no_verdict: Frames without verdict, by reason.
        dead_lettered: Frames that could not be judged, by reason.
        waiting: Accepted, still on the bus.
        spooled: Accepted, still in the camera's spool, as of what ingest told last.
        missing: Accepted and nowhere to be found: a gap.
        duplicates: Frames that came again under a known id; they are not among `received`.
        skipped: What a camera that runs freely could not hand in, by reason; not among `received` either.
    """

    camera: str
    received: int = 0
    good: int = 0
    defect: int = 0
    no_verdict: dict[str, int] = field(default_factory=dict)
    dead_lettered: dict[str, int] = field(default_factory=dict)
    waiting: int = 0
    missing: int = 0
    duplicates: int = 0
    spooled: int = 0
    skipped: dict[str, int] = field(default_factory=dict)

    @property
    def accounted(self) -> int:
        """Frames whose fate is known."""
        return self.good + self.defect + sum(self.no_verdict.values()) + sum(self.dead_lettered.values())

    @property
    def balanced(self) -> bool:
        """Whether every received frame is accounted for, with none on the way."""
        return self.received == self.accounted and not self.missing


@dataclass(frozen=True, slots=True)
class Ledger:
    """All cameras' accounts."""

    cameras: list[CameraLedger]

    @property
    def received(self) -> int:
        """Frames that the bus or a spool accepted, over all cameras."""
        return sum(camera.received for camera in self.cameras)

    @property
    def accounted(self) -> int:
        """Frames whose fate is known, over all cameras."""
        return sum(camera.accounted for camera in self.cameras)

    @property
    def balanced(self) -> bool:
        """Whether each camera's account balances."""
        return all(camera.balanced for camera in self.cameras)

    def as_json(self) -> dict[str, object]:
        """Return the ledger as JSON-ready data."""
        cameras = [{**asdict(c), "accounted": c.accounted, "balanced": c.balanced} for c in self.cameras]
        return {
            "received": self.received,
            "accounted": self.accounted,
            "missing": sum(c.missing for c in self.cameras),
            "waiting": sum(c.waiting for c in self.cameras),
            "spooled": sum(c.spooled for c in self.cameras),
            "skipped": sum(sum(c.skipped.values()) for c in self.cameras),
            "balanced": self.balanced,
            "cameras": cameras,
        }


@dataclass(frozen=True, slots=True)
class _Run:
    accepted: int
    last_sequence: int
    accounted: int
    captured: int


def count(connection: sa.Connection, frames: Sequence[Accounted]) -> None:
    """Add frames to the ledger; call it in the transaction that writes their results."""
    by_state = Counter((frame.camera, frame.state, frame.reason) for frame in frames)
    for (camera, state, reason), number in sorted(by_state.items()):  # sorted, so that two writers do not deadlock
        row = insert(ledger_counts).values(camera=camera, state=state, reason=reason, frames=number)
        connection.execute(
            row.on_conflict_do_update(
                index_elements=list(ledger_counts.primary_key),
                set_={"frames": ledger_counts.c.frames + row.excluded.frames},
            )
        )
    by_run: dict[tuple[str, str], list[int]] = defaultdict(list)
    for frame in frames:
        if frame.run is not None and frame.sequence is not None:
            by_run[frame.camera, frame.run].append(frame.sequence)
    for (camera, run), sequences in sorted(by_run.items()):
        row = insert(camera_runs).values(camera=camera, run=run, last_sequence=max(sequences), accounted=len(sequences))
        last_sequence = sa.func.greatest(camera_runs.c.last_sequence, row.excluded.last_sequence)
        accounted = camera_runs.c.accounted + row.excluded.accounted
        missing = sa.func.greatest(last_sequence + 1 - accounted, 0)
        connection.execute(
            row.on_conflict_do_update(
                index_elements=list(camera_runs.primary_key),
                set_={
                    "last_sequence": last_sequence,
                    "accounted": accounted,
                    # What has closed was not told any more: the next gap is a new one.
                    "missing_alerted": sa.func.least(camera_runs.c.missing_alerted, missing),
                    "updated_at": sa.func.clock_timestamp(),
                },
            )
        )


def read_ledger(engine: sa.Engine, bus_is_empty: Callable[[sa.Connection], bool]) -> Ledger:
    """Return the ledger as of now.

    What was accepted and lies behind the last known sequence waits on the bus. Where the bus is empty it is missing instead;
    for that the bus is asked between two readings of the store, so that frames under way are not called missing.

    Args:
        engine: The database.
        bus_is_empty: Whether nothing waits at or behind the stored positions.

    Raises:
        DatabaseAwayError: PostgreSQL does not answer.
    """
    with transaction(engine) as connection:
        accepted = {key: run.accepted for key, run in _runs(connection).items()}
    with transaction(engine) as connection:
        drained = bus_is_empty(connection)
    with transaction(engine) as connection:
        connection.execute(sa.text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))  # runs and counts of one moment
        runs = _runs(connection)
        counts = list(connection.execute(sa.select(ledger_counts)))
        skipped = list(connection.execute(_SKIPPED))
    cameras = _cameras(counts, runs, accepted if drained else {})
    for row in skipped:
        cameras.setdefault(row.camera, CameraLedger(row.camera)).skipped[row.reason] = int(row.frames)
    return Ledger([cameras[name] for name in sorted(cameras)])


_SKIPPED = sa.select(
    skipped_frames.c.camera, skipped_frames.c.reason, sa.func.sum(skipped_frames.c.frames).label("frames")
).group_by(skipped_frames.c.camera, skipped_frames.c.reason)


def _runs(connection: sa.Connection) -> dict[tuple[str, str], _Run]:
    return {
        (row.camera, row.run): _Run(row.accepted, row.last_sequence, row.accounted, row.captured)
        for row in connection.execute(sa.select(camera_runs))
    }


def _cameras(
    counts: Sequence[sa.Row[tuple[str, str, str, int]]],
    runs: dict[tuple[str, str], _Run],
    surely_taken: dict[tuple[str, str], int],
) -> dict[str, CameraLedger]:
    """Put the accounts together; `surely_taken` has, for an empty bus, how many frames of a run must be known by now."""
    cameras: dict[str, CameraLedger] = {}
    for row in counts:
        _add(cameras.setdefault(row.camera, CameraLedger(row.camera)), row.state, row.reason, row.frames)
    sequenced: Counter[str] = Counter()
    for key, run in runs.items():
        account = cameras.setdefault(key[0], CameraLedger(key[0]))
        reached = run.last_sequence + 1
        tail = max(0, run.accepted - reached)
        lost_tail = min(tail, max(0, surely_taken.get(key, 0) - reached))
        spooled = max(0, run.captured - reached - tail)
        account.received += reached + tail + spooled
        account.spooled += spooled
        account.missing += reached - run.accounted + lost_tail
        account.waiting += tail - lost_tail
        sequenced[key[0]] += run.accounted
    for camera, account in cameras.items():
        account.received += account.accounted - sequenced[camera]  # those of foreign producers, without a sequence
    return cameras


def _add(account: CameraLedger, state: str, reason: str, frames: int) -> None:
    match state:
        case "GOOD":
            account.good += frames
        case "DEFECT":
            account.defect += frames
        case "NO_VERDICT":
            account.no_verdict[reason] = frames
        case "DEAD_LETTER":
            account.dead_lettered[reason] = frames
        case "DUPLICATE":
            account.duplicates += frames
        case _:
            raise ValueError(f"the ledger knows no state {state!r}")


def missing_frames(engine: sa.Engine) -> dict[str, int]:
    """Return, per camera, the gaps below its last sequence: frames that are surely missing, without asking the bus.

    Raises:
        DatabaseAwayError: PostgreSQL does not answer.
    """
    gap = sa.func.sum(camera_runs.c.last_sequence + 1 - camera_runs.c.accounted)
    query = sa.select(camera_runs.c.camera, gap).group_by(camera_runs.c.camera).having(gap > 0)
    with transaction(engine) as connection:
        return {camera: int(missing) for camera, missing in connection.execute(query)}
