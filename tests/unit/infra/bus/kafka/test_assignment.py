"""Rebalance callbacks: they write down and hold, and do nothing else."""

from typing import Any

from infra.bus import Partition
from infra.bus.kafka.assignment import Assignment, raw_partition

P0, P1 = Partition("frames", 0), Partition("frames", 1)
RAW0, RAW1 = raw_partition(P0), raw_partition(P1)


class RecordingClient:
    """A client that notes what it is told, and knows what it was given."""

    def __init__(self, *given: Any) -> None:
        self.given = set(given)
        self.flowing: dict[Any, int] = {}

    def seek(self, raw: Any, offset: int) -> None:
        if raw not in self.given:
            raise ValueError("Unassigned partition")
        self.flowing[raw] = offset

    def pause(self, raw: Any) -> None:
        self.flowing.pop(raw)

    def resume(self, raw: Any) -> None:
        if raw not in self.given:
            raise KeyError(raw)


def test_a_new_partition_is_held_until_it_is_sought() -> None:
    assignment, client = Assignment(), RecordingClient(RAW0, RAW1)
    assignment.listener(client).on_partitions_assigned([RAW0, RAW1])
    assert assignment.partitions == {P0, P1}
    assert client.flowing == {}
    assignment.seek(client, P0, 17)
    assert client.flowing == {RAW0: 17}
    assert assignment.sought == {P0}


def test_every_change_raises_the_generation() -> None:
    assignment, client = Assignment(), RecordingClient(RAW0)
    listener = assignment.listener(client)
    seen = [assignment.generation]
    for call in (listener.on_partitions_assigned, listener.on_partitions_revoked, listener.on_partitions_lost):
        call([RAW0])
        seen.append(assignment.generation)
    assert seen == sorted(set(seen))


def test_a_partition_that_comes_back_must_be_sought_again() -> None:
    assignment, client = Assignment(), RecordingClient(RAW0)
    listener = assignment.listener(client)
    listener.on_partitions_assigned([RAW0])
    assignment.seek(client, P0, 17)
    listener.on_partitions_revoked([RAW0])
    listener.on_partitions_assigned([RAW0])
    assert assignment.partitions == {P0}
    assert assignment.sought == frozenset()
    assert client.flowing == {}


def test_seeking_a_partition_that_is_gone_does_nothing() -> None:
    assignment, client = Assignment(), RecordingClient()
    assignment.seek(client, P0, 17)
    assert assignment.sought == frozenset()


def test_callbacks_of_a_client_that_was_thrown_away_are_not_heard() -> None:
    assignment, old, new = Assignment(), RecordingClient(RAW0), RecordingClient(RAW1)
    stale = assignment.listener(old)
    stale.on_partitions_assigned([RAW0])
    assignment.clear()
    assignment.listener(new).on_partitions_assigned([RAW1])
    generation = assignment.generation
    stale.on_partitions_revoked([RAW1])
    stale.on_partitions_assigned([RAW0])
    assert assignment.partitions == {P1}
    assert assignment.generation == generation
