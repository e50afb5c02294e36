"""What is done to a scorer from inside: it dies or stands still at a named point, or one of its promises is taken out.

The points are those of a batch's life. The sabotages show that the suite can fail: each takes out one thing that the promises
rest on, and the oracle must notice.
"""

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import scorer.judge
import scorer.worker
from infra.bus import Partition
from infra.bus.kafka import KafkaBusConsumer
from infra.store import results

POINT, SIGNAL, TURN, FLAG, SABOTAGE = (
    f"DIFFERLINE_TEST_{name}" for name in ("POINT", "SIGNAL", "TURN", "FLAG", "SABOTAGE")
)
POINTS = ("fetched", "decoded", "scored", "copying", "written", "committed")
"""After the fetch of a batch, the decoding of a slice of it and the scoring of all; in the middle of COPY; before the commit
and behind it."""


@dataclass
class Trap:
    """Ends or stops this process at a point.

    Attributes:
        point: Where.
        signal: How: SIGKILL or SIGSTOP.
        turn: At which passing; 0: at none.
        flag: Where this file lies it is taken away, and the next passing counts whatever its turn.
    """

    point: str
    signal: signal.Signals
    turn: int
    flag: Path | None
    passed: int = 0

    def passing(self, point: str) -> None:
        """Spring, where this is the point and the time has come."""
        if point != self.point:
            return
        self.passed += 1
        flagged = self.flag is not None and self.flag.exists()
        if flagged and self.flag is not None:
            self.flag.unlink()
        if flagged or self.passed == self.turn:
            os.kill(os.getpid(), self.signal)


def apply(environment: dict[str, str]) -> None:
    """Break this process as its environment says."""
    if environment.get(POINT):
        flag = environment.get(FLAG)
        how = signal.Signals[environment[SIGNAL]]
        set_trap(Trap(environment[POINT], how, int(environment.get(TURN, "0")), Path(flag) if flag else None))
    if environment.get(SABOTAGE):
        SABOTAGES[environment[SABOTAGE]]()


def set_trap(trap: Trap) -> None:
    """Let the scorer pass by the trap at every point."""
    _after(scorer.worker, "collect", trap, "fetched", bool)
    _after(scorer.worker.Worker, "_decoded", trap, "decoded")
    _after(scorer.judge.Judge, "judge", trap, "scored")
    _after(results, "advance", trap, "written")
    _after(scorer.worker, "write_batch", trap, "committed")
    copy_values = results._copy_values

    def half_a_copy(connection: Any, table: str, columns: list[str], rows: list[list[Any]]) -> None:
        if table == "verdicts" and rows and trap.point == "copying":
            with (
                connection.connection.driver_connection.cursor() as cursor,
                cursor.copy(f"COPY {table} ({', '.join(columns)}) FROM STDIN") as copy,
            ):
                for index, row in enumerate(rows):
                    if index == len(rows) // 2:
                        trap.passing("copying")
                    copy.write_row(row)
            return
        copy_values(connection, table, columns, rows)

    results._copy_values = half_a_copy


def _after(owner: Any, name: str, trap: Trap, point: str, counts: Callable[[Any], bool] = lambda _: True) -> None:
    inner = getattr(owner, name)

    def wrapped(*arguments: Any, **options: Any) -> Any:
        returned = inner(*arguments, **options)
        if counts(returned):
            trap.passing(point)
        return returned

    setattr(owner, name, wrapped)


def without_fence() -> None:
    """Let every worker write, whoever has the partition."""
    lock_claims = results.lock_claims

    def unfenced(connection: Any, claims: list[Any]) -> Any:
        current = [
            type(claim)(claim.partition, epoch, claim.next_offset)
            for claim in claims
            for epoch in [_epoch_of(connection, claim.partition)]
        ]
        return lock_claims(connection, current)

    results.lock_claims = unfenced


def _epoch_of(connection: Any, partition: Partition) -> int:
    query = "SELECT epoch FROM positions WHERE topic = %s AND partition = %s"
    return int(connection.exec_driver_sql(query, (partition.topic, partition.number)).scalar())


def commit_before_write() -> None:
    """Commit the positions first and the results in a transaction of their own."""
    write_batch, advance, lock_claims = results.write_batch, results.advance, results.lock_claims

    def nothing_stored(connection: Any, claims: list[Any]) -> Any:
        return dict.fromkeys(lock_claims(connection, claims), 0)

    def in_two(engine: Any, claims: list[Any], batch: Any, *arguments: Any, **options: Any) -> Any:
        with engine.begin() as connection:
            lock_claims(connection, claims)
            advance(connection, batch.next_offsets)
        results.lock_claims = nothing_stored
        return write_batch(engine, claims, batch, *arguments, **options)

    scorer.worker.write_batch = in_two


def reset_to_latest() -> None:
    """Begin at the newest record, as `auto_offset_reset=latest` and a lost position would."""

    def newest(consumer: KafkaBusConsumer, partition: Partition, _offset: int = 0) -> None:
        client = consumer._open()
        consumer._assignment.seek(client, partition, consumer._ends(client, [partition])[partition])

    KafkaBusConsumer.seek = newest  # type: ignore[method-assign]
    KafkaBusConsumer.seek_to_beginning = newest  # type: ignore[method-assign]


SABOTAGES: dict[str, Callable[[], None]] = {
    "fence removed": without_fence,
    "commit before write": commit_before_write,
    "reset to latest": reset_to_latest,
}
