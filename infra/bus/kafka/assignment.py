"""Which partitions a Kafka consumer has, as its rebalance callbacks tell."""

import threading
from collections.abc import Iterable
from typing import Any

from kafka import ConsumerRebalanceListener, TopicPartition

from infra.bus.protocol import Partition


class Assignment:
    """What a consumer was given, and what of it the main loop has claimed and sought.

    Rebalance callbacks run on kafka-python's I/O loop, which also sends the heartbeats: they only write down here what
    changed, and hold new partitions (a pause at a place that is never read), so that not a record of them is handed out
    before the main loop has claimed them in the database and sought the stored position.

    Attributes:
        partitions: What is assigned now.
        sought: What of it may be read.
        generation: Grows with every change that was not our own doing.
    """

    def __init__(self) -> None:
        self.partitions: frozenset[Partition] = frozenset()
        self.sought: frozenset[Partition] = frozenset()
        self.generation = 0
        self._listener: _Listener | None = None
        self._lock = threading.Lock()

    def listener(self, client: Any) -> ConsumerRebalanceListener:
        """Return the callbacks for a client; those of an earlier client are no longer listened to."""
        self._listener = _Listener(self, client)
        return self._listener

    def add(self, client: Any, given: Iterable[Any]) -> None:
        """Write down new partitions, and hold them."""
        given = list(given)
        for raw in given:
            client.seek(raw, 0)  # any position keeps the client from asking Kafka for a committed one
            client.pause(raw)
        names = {_partition(raw) for raw in given}
        with self._lock:
            self.partitions |= names
            self.sought -= names
            self.generation += 1

    def remove(self, taken: Iterable[Any]) -> None:
        """Write down what was taken away."""
        names = {_partition(raw) for raw in taken}
        with self._lock:
            self.partitions -= names
            self.sought -= names
            self.generation += 1

    def clear(self) -> None:
        """Forget everything: the client is gone."""
        self._listener = None
        self.remove(map(raw_partition, self.partitions))

    def seek(self, client: Any, partition: Partition, offset: int) -> None:
        """Let a partition flow from an offset; one that was taken away meanwhile is left alone."""
        raw = raw_partition(partition)
        try:
            client.seek(raw, offset)
            client.resume(raw)
        except (KeyError, ValueError):
            return  # the generation tells the main loop
        with self._lock:
            self.sought |= {partition} & self.partitions

    def leave(self, client: Any, partition: Partition) -> None:
        """Hold a partition again."""
        with self._lock:
            self.sought -= {partition}
        try:
            client.pause(raw_partition(partition))
        except (KeyError, ValueError):
            return  # it was taken away meanwhile

    def hears(self, listener: "_Listener") -> bool:
        """Tell whether these callbacks are those of the client in use."""
        return listener is self._listener


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]  # kafka-python has no types
    def __init__(self, assignment: Assignment, client: Any) -> None:
        self._assignment = assignment
        self._client = client

    def on_partitions_assigned(self, assigned: Iterable[Any]) -> None:
        if self._assignment.hears(self):
            self._assignment.add(self._client, assigned)

    def on_partitions_revoked(self, revoked: Iterable[Any]) -> None:
        if self._assignment.hears(self):
            self._assignment.remove(revoked)


def raw_partition(partition: Partition) -> Any:
    """Return a partition as kafka-python names it."""
    return TopicPartition(partition.topic, partition.number)


def _partition(raw: Any) -> Partition:
    return Partition(raw.topic, raw.partition)
