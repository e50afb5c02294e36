"""What differline asks of a frames bus; Redis Streams and Kafka keep the same contract (tests/contract).

A topic has partitions; a key always goes to the same one; a partition keeps its order. Offsets grow strictly within a
partition and are otherwise opaque. Positions do not live on the bus but in the results' transaction: a reader is told where
to begin with `seek`, and tells the bus with `done_until` what it need not keep.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, Protocol

from infra.errors import TransientError
from infra.frames import Header


class Partition(NamedTuple):
    """One ordered part of a topic."""

    topic: str
    number: int


class Extent(NamedTuple):
    """What a partition holds.

    Attributes:
        oldest: Offset of the oldest record that is kept; `end` where there is none.
        end: The offset behind the newest record that ever was; 0 where the bus knows of none.
    """

    oldest: int
    end: int


@dataclass(frozen=True, slots=True)
class Record:
    """One message as the bus hands it out.

    Attributes:
        partition: Where it lies.
        offset: Where in the partition.
        key: The message key; None where the producer set none.
        headers: Names and raw values.
        value: The body.
        received_at: When the bus received it (UTC); the same whenever it is read.
    """

    partition: Partition
    offset: int
    key: bytes | None
    headers: tuple[Header, ...]
    value: bytes
    received_at: datetime


@dataclass(frozen=True, slots=True)
class Message:
    """One message to be sent."""

    topic: str
    key: bytes
    headers: tuple[Header, ...]
    value: bytes


class Producer(Protocol):
    """Sends messages and knows that the bus has them on disk."""

    def send(self, topic: str, key: bytes, headers: tuple[Header, ...], value: bytes, timeout_s: float) -> None:
        """Send one message and return when it is acknowledged, i.e. safe from a kill -9 of the bus.

        While the partition stands at its bound this waits; it never pushes out what was not scored yet.

        Raises:
            BusFullError: No room within `timeout_s`.
            BusAwayError: The bus did not answer within `timeout_s`.
        """

    def close(self) -> None:
        """Let go of the connection."""


class Publisher(Protocol):
    """Sends many messages at the same time, for the relay."""

    def publish(self, messages: Sequence[Message], timeout_s: float) -> list[TransientError | None]:
        """Send messages in no order among each other, and return when each is acknowledged or given up.

        Returns:
            For each message None, or why it is not known to have arrived; it may have.
        """

    def close(self) -> None:
        """Let go of the connection."""


class Consumer(Protocol):
    """Reads the partitions that it was assigned, from the positions that it is told."""

    def assigned(self) -> frozenset[Partition]:
        """Return the partitions that are this reader's now; the caller compares and claims new ones."""

    def generation(self) -> int:
        """Return a number that changes whenever partitions were given to this reader or taken from it.

        A partition that was taken and given back in between had another owner: when the number has changed, nothing that
        was claimed before counts, and every assigned partition must be claimed and sought anew.
        """

    def rejoin(self) -> bool:
        """Ask the bus anew which partitions are ours, after a write was fenced off.

        Returns:
            False where the bus knows one reader only: whoever fenced it off has taken over, so it must stop.
        """

    def stay(self) -> None:
        """Tell the bus that this reader lives while it wants no records, as when the database is away.

        Raises:
            BusAwayError: The bus does not answer.
        """

    def seek(self, partition: Partition, offset: int) -> None:
        """Read on from the first record at or behind `offset`."""

    def seek_to_beginning(self, partition: Partition) -> None:
        """Read on from the oldest record that is kept."""

    def poll(self, max_records: int, timeout_s: float) -> list[Record]:
        """Return up to `max_records` next records over the partitions that were sought; none: nothing within the time.

        Raises:
            BusAwayError: The bus does not answer.
        """

    def done_until(self, offsets: Mapping[Partition, int]) -> None:
        """Say that every record before these offsets is stored; the bus may drop it and show the lag.

        Raises:
            BusAwayError: The bus does not answer, and dropping matters to it.
        """

    def waiting(self, partitions: Collection[Partition]) -> int:
        """Return how many records lie at or behind the current positions of these partitions.

        Raises:
            BusAwayError: The bus does not answer.
        """

    def close(self) -> None:
        """Let go of the connection and of the partitions."""


class Observer(Consumer, Protocol):
    """A consumer that can also tell what its partitions hold: for the person who looks after them, and to read it again."""

    def extent(self, partition: Partition) -> Extent:
        """Return where a partition begins and ends now.

        Raises:
            BusAwayError: The bus does not answer.
        """

    def count(self, partition: Partition, since: int, until: int) -> int:
        """Return how many records lie at or behind `since` and before `until`.

        Raises:
            BusAwayError: The bus does not answer.
        """

    def offset_at(self, partition: Partition, time: datetime) -> int:
        """Return where the first record lies that was received at a time or later; the end where there is none.

        Where the bus's clock jumped back, there may be records behind it that were received earlier.

        Raises:
            BusAwayError: The bus does not answer.
        """

    def leave(self, partition: Partition) -> None:
        """Read no more of a partition; it cannot be sought again."""
