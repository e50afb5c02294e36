"""What the peer of an output knows by now: the newest verdict of each camera, and whether it came in time."""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from infra.store.outbox import OutboxRow, PublishedVerdict


@dataclass(frozen=True, slots=True)
class LastVerdict:
    """The newest verdict of a camera that the peer has acknowledged.

    Attributes:
        state: GOOD, DEFECT or NO_VERDICT.
        result_id: Its result.
        committed_at: When it was committed (UTC).
        late: Whether the peer had it later than the deadline allows.
        heard_at: When the peer acknowledged it, by a clock that only grows, in seconds.
    """

    state: str
    result_id: str
    committed_at: datetime
    late: bool
    heard_at: float


class Delivered:
    """Written by the thread that delivers, read by the one that beats.

    How late a verdict is, is counted from the frame's receipt by the bus: up to its reading by the database's clock, from there
    by one that only grows. This machine's clock counts for nothing.
    """

    def __init__(self, deadline_s: float, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Begin with nothing delivered.

        Args:
            deadline_s: A verdict that is acknowledged later is late, in seconds.
            monotonic: A clock that only grows, in seconds.
        """
        self._deadline_s = deadline_s
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._last: dict[str, LastVerdict] = {}
        self._oldest_since: float | None = None  # when the bus received the frame of the oldest row that waits

    def read_at(self) -> float:
        """Return the time at which rows are read; what follows from their ages counts from here."""
        return self._monotonic()

    def acknowledged(self, row: OutboxRow, read_at: float) -> bool:
        """Note that the peer has a row; return whether it is a verdict that came too late."""
        if not isinstance(row.content, PublishedVerdict):
            return False
        now = self._monotonic()
        late = row.age_s + (now - read_at) > self._deadline_s
        verdict = row.content.verdict
        last = LastVerdict(verdict.state.value, row.content.result_id, verdict.committed_at, late, now)
        with self._lock:
            self._last[verdict.camera] = last
        return late

    def waits(self, oldest: OutboxRow | None, read_at: float) -> None:
        """Note the oldest verdict that the peer does not have yet; None where it has all."""
        self._oldest_since = None if oldest is None else read_at - oldest.age_s

    def behind(self) -> bool:
        """Return whether a verdict that the peer does not have yet is late already."""
        since = self._oldest_since
        return since is not None and self._monotonic() - since > self._deadline_s

    def last(self) -> Mapping[str, LastVerdict]:
        """Return the newest verdict of each camera that the peer has."""
        with self._lock:
            return dict(self._last)
