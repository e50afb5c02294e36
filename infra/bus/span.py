"""A stretch of a topic read again: beside the scorers, whose positions and groups know nothing of it."""

import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import NamedTuple

from infra.bus.protocol import Observer, Partition, Record
from infra.errors import BusAwayError

_POLL_S = 0.5
_SILENT_S = 60.0


class Span(NamedTuple):
    """A stretch of a partition: what lies at or behind `first` and before `end`."""

    first: int
    end: int


def spans_of(bus: Observer, since: datetime, until: datetime, known: Mapping[Partition, int]) -> dict[Partition, Span]:
    """Find where a window of time lies in each partition, as far as it is kept.

    Args:
        bus: The bus.
        since: What was received then or later.
        until: What was received before.
        known: Offsets behind the last record known to be of the window: where the bus's clock jumped back it lies behind
            records that were received after the window.

    Raises:
        BusAwayError: The bus does not answer.
    """
    spans = {}
    for partition in bus.assigned():
        last = max(bus.offset_at(partition, until), known.get(partition, 0))
        spans[partition] = Span(bus.offset_at(partition, since), min(last, bus.extent(partition).end))
    return spans


def records_of(
    bus: Observer,
    spans: Mapping[Partition, Span],
    at_once: int,
    monotonic: Callable[[], float] = time.monotonic,
) -> Iterator[list[Record]]:
    """Read stretches of partitions, `at_once` records at most in hand; what the bus dropped meanwhile is left out.

    Raises:
        BusAwayError: The bus does not answer, or hands out nothing for a minute though something lies there.
    """
    ahead = {partition: span.first for partition, span in spans.items() if span.first < span.end}
    generation: int | None = None
    heard = monotonic()
    while ahead:
        assigned = bus.assigned()
        if bus.generation() != generation:  # also where the client was made anew
            generation = bus.generation()
            for partition in ahead.keys() & assigned:
                bus.seek(partition, ahead[partition])
        records = bus.poll(at_once, _POLL_S)
        if not records and monotonic() - heard > _SILENT_S:
            raise BusAwayError(f"the bus has handed out nothing for {_SILENT_S:.0f} s, though frames lie there")
        wanted = []
        for record in records:
            if record.partition in ahead:  # a client may still hand out what it had fetched of one that is over
                ahead[record.partition] = record.offset + 1
                wanted += [record] if record.offset < spans[record.partition].end else []
        for partition in list(ahead):
            if ahead[partition] >= spans[partition].end or not (records or bus.waiting([partition])):
                bus.leave(partition)
                del ahead[partition]
        if wanted:
            yield wanted
        if records:
            heard = monotonic()  # the caller took its time, the bus did not
