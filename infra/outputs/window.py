"""Rows of one kind on their way to a peer: of each camera one at a time, and a place that says up to where all are settled."""

from collections import deque
from collections.abc import Sequence

from infra.errors import TransientError
from infra.store.outbox import OutboxKey, OutboxRow


class Window:
    """A page of the outbox; the next one is read when all of it is settled.

    Attributes:
        end: The last row that was read.
        passed: All rows up to here are settled: acknowledged, or refused and put on record.
    """

    def __init__(self, begin: OutboxKey) -> None:
        """Begin behind a row."""
        self.end = begin
        self.passed = begin
        self._in_order: deque[OutboxRow] = deque()
        self._settled: set[OutboxKey] = set()
        self._queues: dict[str, deque[OutboxRow]] = {}
        self._held: dict[str, TransientError] = {}

    def __len__(self) -> int:
        """Rows from the first that is not settled on."""
        return len(self._in_order)

    @property
    def oldest(self) -> OutboxRow | None:
        """The first row that is not settled."""
        return self._in_order[0] if self._in_order else None

    def fill(self, rows: Sequence[OutboxRow]) -> None:
        """Add rows that follow those that were read before."""
        for row in rows:
            self._in_order.append(row)
            self._queues.setdefault(row.camera, deque()).append(row)
            self.end = row.key

    def heads(self) -> list[OutboxRow]:
        """Return the rows that may be sent now, all at the same time: one of each camera that is not held."""
        return [queue[0] for camera, queue in self._queues.items() if camera not in self._held]

    def settle(self, head: OutboxRow) -> None:
        """Note that nothing is left to do for a head, so that the next of its camera may go."""
        queue = self._queues[head.camera]
        queue.popleft()
        if not queue:
            del self._queues[head.camera]
        self._settled.add(head.key)
        while self._in_order and self._in_order[0].key in self._settled:
            self.passed = self._in_order.popleft().key
            self._settled.remove(self.passed)

    def hold(self, head: OutboxRow, error: TransientError) -> None:
        """Note why a head was not acknowledged; its camera waits until it is released, the others go on."""
        self._held[head.camera] = error

    def release(self) -> TransientError | None:
        """Let the held cameras go again; return why one of them was held, None where none was."""
        error = next(iter(self._held.values()), None)
        self._held.clear()
        return error
