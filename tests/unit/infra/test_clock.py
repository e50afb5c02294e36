from datetime import UTC, datetime, timedelta

import pytest

from infra.clock import ClockWatch, whole_milliseconds

NOON = datetime(2026, 3, 3, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("time", "expected"),
    [
        (datetime(1970, 1, 1, tzinfo=UTC), 0),
        (datetime.min.replace(tzinfo=UTC), 0),
        (datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC), 1000),
        (datetime(1970, 1, 1, 0, 0, 1, 1, tzinfo=UTC), 1001),
        (datetime(1970, 1, 1, 0, 0, 1, 999, tzinfo=UTC), 1001),
        (datetime(1970, 1, 1, 1, 0, 1, tzinfo=UTC).astimezone(), 3_601_000),
    ],
)
def test_a_time_is_its_first_whole_millisecond(time: datetime, expected: int) -> None:
    assert whole_milliseconds(time) == expected


def test_only_a_clock_that_was_set_back_is_told_and_once() -> None:
    wall, steady = [NOON], [100.0]
    watch = ClockWatch(lambda: wall[0], lambda: steady[0])

    def pass_by(wall_s: float, steady_s: float) -> float:
        wall[0] += timedelta(seconds=wall_s)
        steady[0] += steady_s
        return watch.jumped_back_s()

    assert pass_by(60, 60) == 0.0
    assert pass_by(59.5, 60) == 0.0  # steered
    assert pass_by(-3600, 5) == 3605.0
    assert pass_by(5, 5) == 0.0
    assert pass_by(3600, 5) == 0.0  # set right again, or the machine slept
