"""Frames that kill the process: found by what was begun and never finished, and after three attempts no longer tried.

A batch is written down before it is decoded. After a crash the next owner of its partitions goes through that batch one frame
at a time, so that the guilty frame is alone when it kills again. A frame that was found unfinished three times, in a batch
or alone, becomes a dead letter without another look at it.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import sqlalchemy as sa

from infra.bus import Partition, Record
from infra.store.attempts import Attempt, unfinished, write_down
from infra.store.positions import Claim

MOST_ATTEMPTS = 3


@dataclass
class Trials:
    """What is known of frames that were begun before.

    Attributes:
        database: Where attempts are written down.
        worker: Whose attempts they are.
    """

    database: sa.Engine
    worker: str
    _suspects: dict[Partition, Attempt] = field(default_factory=dict)

    def claimed(self, mine: Claim) -> Attempt | None:
        """Look what a newly claimed partition's last owner left unfinished; None where nothing.

        Raises:
            DatabaseAwayError: PostgreSQL does not answer.
        """
        self._suspects.pop(mine.partition, None)
        found = unfinished(self.database, mine)
        if found is not None:
            self._suspects[mine.partition] = found
        return found

    def groups(self, records: Sequence[Record]) -> list[list[Record]]:
        """Divide records into those that are tried one at a time, and the rest as one batch behind them."""
        alone = [record for record in records if self._is_suspect(record)]
        rest = [record for record in records if not self._is_suspect(record)]
        return [[record] for record in alone] + ([rest] if rest else [])

    def worn_out(self, record: Record) -> bool:
        """Tell whether a frame has killed the process as often as it may."""
        return self.attempts_at(record) >= MOST_ATTEMPTS

    def attempts_at(self, record: Record) -> int:
        """Return how often a frame was begun and not finished."""
        suspect = self._suspects.get(record.partition)
        if suspect is None or not self._is_suspect(record):
            return 0
        # Of the frames behind the first only the batch is known to have been begun, and once at most.
        return suspect.attempts if record.offset == suspect.first_offset else min(1, suspect.attempts)

    def begin(self, claims: Sequence[Claim], records: Sequence[Record]) -> None:
        """Write down that these records, one group, are worked on from now on.

        Raises:
            DatabaseAwayError: PostgreSQL does not answer.
        """
        self._write(claims, records, begun=1)

    def withdraw(self, claims: Sequence[Claim], records: Sequence[Record]) -> None:
        """Write down that this attempt ended for another reason than these records.

        Raises:
            DatabaseAwayError: PostgreSQL does not answer.
        """
        self._write(claims, records, begun=0)

    def _write(self, claims: Sequence[Claim], records: Sequence[Record], begun: int) -> None:
        by_partition: dict[Partition, list[Record]] = defaultdict(list)
        for record in records:
            by_partition[record.partition].append(record)
        work = []
        for partition, group in by_partition.items():
            first = group[0]
            suspect = self._suspects.get(partition)
            until = suspect.last_offset if suspect and self._is_suspect(first) else group[-1].offset
            work.append(Attempt(partition, first.offset, until, self.attempts_at(first) + begun))
        write_down(self.database, claims, work, self.worker)

    def _is_suspect(self, record: Record) -> bool:
        suspect = self._suspects.get(record.partition)
        return suspect is not None and record.offset <= suspect.last_offset
