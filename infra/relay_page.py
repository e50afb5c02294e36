"""A page of the outbox on its way out."""

from collections import deque
from collections.abc import Sequence

from infra.errors import TransientError
from infra.store.outbox import OutboxKey, OutboxRow

_Queue = tuple[type, str]


class Page:
    """Rows of the outbox; of each camera, and of verdicts and dead letters apart, one at a time may be under way.

    Attributes:
        sent: What was acknowledged.
        error: Why something was not; None while all was.
    """

    def __init__(self, rows: Sequence[OutboxRow]) -> None:
        """Begin with rows in the order of the outbox."""
        self.sent: list[OutboxKey] = []
        self.error: TransientError | None = None
        self._queues: dict[_Queue, deque[OutboxRow]] = {}
        for row in rows:
            self._queues.setdefault(_queue(row), deque()).append(row)

    def heads(self) -> list[OutboxRow]:
        """Return the rows that may be sent next, all at the same time; none once all are settled."""
        return [queue[0] for queue in self._queues.values()]

    def settle(self, head: OutboxRow, error: TransientError | None) -> None:
        """Note that a head was acknowledged, so that the next of its camera may go, or why not: then the others wait."""
        if error is not None:
            self.error = error
            del self._queues[_queue(head)]
            return
        self.sent.append(head.key)
        self._queues[_queue(head)].popleft()
        if not self._queues[_queue(head)]:
            del self._queues[_queue(head)]


def _queue(row: OutboxRow) -> _Queue:
    return type(row.content), row.camera
