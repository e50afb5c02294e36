from collections.abc import Collection, Mapping
from datetime import UTC, datetime

import pytest

from infra.bus import Partition, Record
from infra.errors import BusAwayError
from scorer.batching import collect, portions, slices

PARTITION = Partition("frames", 0)


def record(offset: int) -> Record:
    return Record(PARTITION, offset, None, (), b"", datetime(2026, 1, 1, tzinfo=UTC))


class ScriptedConsumer:
    """Hands out what the script says, one step a poll; an exception in it is raised."""

    def __init__(self, *steps: list[Record] | Exception) -> None:
        self.steps = list(steps)
        self.asked: list[int] = []

    def poll(self, max_records: int, timeout_s: float) -> list[Record]:
        assert timeout_s >= 0
        self.asked.append(max_records)
        step = self.steps.pop(0) if self.steps else []
        if isinstance(step, Exception):
            raise step
        return step

    def assigned(self) -> frozenset[Partition]:
        return frozenset({PARTITION})

    def seek(self, partition: Partition, offset: int) -> None: ...

    def seek_to_beginning(self, partition: Partition) -> None: ...

    def done_until(self, offsets: Mapping[Partition, int]) -> None: ...

    def waiting(self, partitions: Collection[Partition]) -> int:
        return len(partitions)

    def close(self) -> None: ...


def test_a_batch_is_filled_from_several_polls_and_never_overfilled() -> None:
    consumer = ScriptedConsumer([record(0), record(1)], [record(2)])
    assert [r.offset for r in collect(consumer, 3, max_wait_s=10, poll_timeout_s=1)] == [0, 1, 2]
    assert consumer.asked == [3, 1]


def test_a_part_filled_batch_is_flushed_after_its_wait() -> None:
    consumer = ScriptedConsumer([record(0)])
    assert [r.offset for r in collect(consumer, 3, max_wait_s=0.01, poll_timeout_s=1)] == [0]


def test_nothing_in_time_is_an_empty_batch() -> None:
    assert collect(ScriptedConsumer(), 3, max_wait_s=1, poll_timeout_s=0.01) == []


def test_what_was_read_before_the_bus_went_away_is_kept() -> None:
    consumer = ScriptedConsumer([record(0)], BusAwayError("gone"))
    assert [r.offset for r in collect(consumer, 3, max_wait_s=10, poll_timeout_s=1)] == [0]


def test_a_bus_that_is_away_is_told_when_nothing_was_read() -> None:
    with pytest.raises(BusAwayError):
        collect(ScriptedConsumer(BusAwayError("gone")), 3, max_wait_s=1, poll_timeout_s=1)


@pytest.mark.parametrize(
    ("frames", "sizes"),
    [(0, []), (1, [1]), (4, [4]), (5, [4, 1]), (8, [4, 4]), (9, [5, 4]), (16, [8, 8]), (1024, [512, 512])],
)
def test_a_batch_is_cut_in_two_where_it_has_enough_frames(frames: int, sizes: list[int]) -> None:
    parts = slices(range(frames))
    assert [len(part) for part in parts] == sizes
    assert [frame for part in parts for frame in part] == list(range(frames))


@pytest.mark.parametrize(
    ("models", "most", "found"),
    [
        ("", 1, []),
        ("aab", 2, ["aab"]),
        ("abab", 1, ["a", "b", "a", "b"]),
        ("abcab", 2, ["ab", "ca", "b"]),
        ("-a-b-", 1, ["-a-", "b-"]),
        ("---", 1, ["---"]),
    ],
)
def test_a_portion_needs_no_more_models_than_are_kept_in_memory(models: str, most: int, found: list[str]) -> None:
    assert ["".join(part) for part in portions(models, lambda sign: None if sign == "-" else sign, most)] == found
