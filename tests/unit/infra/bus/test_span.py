from collections.abc import Collection
from datetime import UTC, datetime

import pytest

from infra.bus import Partition, Record
from infra.bus.span import Span, records_of
from infra.errors import BusAwayError

FIRST = Partition("frames", 0)
NOW = datetime(2026, 1, 2, tzinfo=UTC)


class Bus:
    """One partition with ten records; whatever else a test wants of it."""

    def __init__(self, last: int = 9, ahead: int = 0, new_client_at: int | None = None) -> None:
        self.last = last
        self.ahead = ahead
        self.new_client_at = new_client_at
        self.polls = 0
        self.position: int | None = None
        self.made = 0

    def assigned(self) -> frozenset[Partition]:
        return frozenset({FIRST})

    def generation(self) -> int:
        return self.made

    def seek(self, partition: Partition, offset: int) -> None:
        assert partition == FIRST
        self.position = offset

    def leave(self, partition: Partition) -> None:
        assert partition == FIRST
        self.position = None

    def waiting(self, partitions: Collection[Partition]) -> int:
        assert list(partitions) == [FIRST]
        return self.ahead

    def poll(self, max_records: int, timeout_s: float) -> list[Record]:
        assert timeout_s <= 1
        self.polls += 1
        if self.polls == self.new_client_at:  # as the Kafka client does after a stall
            self.made, self.position = self.made + 1, None
        if self.position is None:
            return []
        found = list(range(self.position, min(self.last + 1, self.position + max_records)))
        self.position += len(found)
        return [Record(FIRST, offset, None, (), b"", NOW) for offset in found]


def offsets(bus: Bus, span: Span, at_once: int = 4, ticks_s: float = 1.0) -> list[list[int]]:
    now = iter(range(1000))
    parts = records_of(bus, {FIRST: span}, at_once, lambda: next(now) * ticks_s)  # type: ignore[arg-type]
    return [[record.offset for record in part] for part in parts]


def test_a_stretch_begins_and_ends_where_it_should() -> None:
    bus = Bus()
    assert offsets(bus, Span(2, 9)) == [[2, 3, 4, 5], [6, 7, 8]]
    assert bus.position is None  # left: what comes later is nobody's business
    assert offsets(Bus(), Span(5, 5)) == []


def test_offsets_that_nobody_is_shown_at_the_end_of_a_partition_end_it() -> None:
    assert offsets(Bus(last=6), Span(5, 9)) == [[5, 6]]


def test_a_client_that_was_made_anew_goes_on_where_the_one_before_was() -> None:
    bus = Bus(ahead=1, new_client_at=2)
    assert offsets(bus, Span(0, 9)) == [[0, 1, 2, 3], [4, 5, 6, 7], [8]]


def test_a_bus_that_hands_out_nothing_of_what_it_has_is_away() -> None:
    with pytest.raises(BusAwayError, match="handed out nothing for 60 s"):
        offsets(Bus(last=-1, ahead=3), Span(0, 9), ticks_s=5.0)


def test_the_time_that_the_caller_takes_is_not_the_silence_of_the_bus() -> None:
    clock = [0.0]
    bus = Bus(last=7, ahead=1)
    seen = []
    for part in records_of(bus, {FIRST: Span(0, 9)}, 4, lambda: clock[0]):  # type: ignore[arg-type]
        seen.append(len(part))
        clock[0] += 100
        bus.ahead = 0 if len(seen) == 2 else 1
    assert seen == [4, 4]
