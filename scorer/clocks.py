"""Clocks that were set back, the scorer's own and the bus's: people are told; no frame is lost or judged twice by it."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from structlog.typing import FilteringBoundLogger

from infra.bus import Partition, Record
from infra.clock import ClockWatch

_JITTER = timedelta(seconds=1)  # brokers that lead a partition one after the other have clocks of their own


class SetBack:
    """Logs when a clock was set back.

    Args:
        log: Where events go.
        watch: The scorer's own clock.
    """

    def __init__(self, log: FilteringBoundLogger, watch: ClockWatch) -> None:
        self._log = log
        self._watch = watch
        self._last: dict[Partition, tuple[int, datetime]] = {}

    def look(self) -> None:
        """Look at the scorer's clock."""
        if back_s := self._watch.jumped_back_s():
            self._log.warning("clock.jumped_back", seconds=round(back_s))

    def saw(self, records: Sequence[Record]) -> None:
        """Look at the bus's clock: records of a partition come in its order."""
        for record in records:
            offset, at = self._last.get(record.partition, (record.offset, record.received_at))
            if record.offset > offset and at - record.received_at > _JITTER:  # else it is read again
                back_s = round((at - record.received_at).total_seconds())
                where = {"partition": record.partition.number, "offset": record.offset}
                self._log.warning("bus.clock_jumped_back", seconds=back_s, **where)
            self._last[record.partition] = record.offset, record.received_at
