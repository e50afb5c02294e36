from datetime import UTC, datetime, timedelta

import structlog
from structlog.testing import capture_logs

from infra.bus import Partition, Record
from infra.clock import ClockWatch
from scorer.clocks import SetBack

NOON = datetime(2026, 3, 3, 12, tzinfo=UTC)


def record(offset: int, after_s: float, partition: int = 0) -> Record:
    return Record(Partition("frames", partition), offset, b"cam", (), b"", NOON + timedelta(seconds=after_s))


def test_the_clock_of_the_bus_is_told_once_a_jump_and_not_where_records_are_read_again() -> None:
    clocks = SetBack(structlog.get_logger(), ClockWatch())
    with capture_logs() as logs:
        clocks.saw([record(1, 0), record(2, 60), record(7, 30, partition=1)])  # another partition, another order
        clocks.saw([record(1, 0), record(2, 60)])  # again, after a rebalance
        assert logs == []
        clocks.saw([record(3, 59.5)])
        assert logs == []
        clocks.saw([record(4, -3540.5), record(5, -3540), record(6, -3539)])
    (told,) = logs
    assert told["event"] == "bus.clock_jumped_back"
    assert (told["seconds"], told["partition"], told["offset"]) == (3600, 0, 4)


def test_the_scorers_own_clock_is_told() -> None:
    wall, steady = [NOON], [0.0]
    clocks = SetBack(structlog.get_logger(), ClockWatch(lambda: wall[0], lambda: steady[0]))
    with capture_logs() as logs:
        clocks.look()
        wall[0] -= timedelta(hours=1)
        clocks.look()
        clocks.look()
    assert [(log["event"], log["seconds"]) for log in logs] == [("clock.jumped_back", 3600)]
