from datetime import UTC, datetime, time

import pytest

from infra.plant_time import shift_began, shift_starts, zone_named

BERLIN = zone_named("Europe/Berlin")
STARTS = (time(6), time(14), time(22))


def test_shifts_are_read_in_order() -> None:
    assert shift_starts("22:00, 06:00,14:00") == STARTS


@pytest.mark.parametrize("text", ["", "6", "25:00", "06:00,", "06:00+01:00", "six"])
def test_what_is_no_time_of_day_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"times of day|time zone"):
        shift_starts(text)


@pytest.mark.parametrize(
    ("now", "began"),
    [
        (
            datetime(2026, 3, 3, 13, 0, tzinfo=UTC),
            datetime(2026, 3, 3, 13, 0, tzinfo=UTC),
        ),  # 14:00 in Berlin: it begins
        (datetime(2026, 3, 3, 12, 59, tzinfo=UTC), datetime(2026, 3, 3, 5, 0, tzinfo=UTC)),
        (datetime(2026, 3, 3, 3, 0, tzinfo=UTC), datetime(2026, 3, 2, 21, 0, tzinfo=UTC)),  # at night: since yesterday
        (
            datetime(2026, 3, 29, 4, 0, tzinfo=UTC),
            datetime(2026, 3, 29, 4, 0, tzinfo=UTC),
        ),  # summer time: 06:00 is 04:00 UTC
    ],
)
def test_a_shift_begins_by_the_clock_of_the_plant(now: datetime, began: datetime) -> None:
    assert shift_began(now, BERLIN, STARTS) == began


def test_a_zone_that_nobody_knows_is_refused() -> None:
    with pytest.raises(ValueError, match="no time zone"):
        zone_named("Europe/Atlantis")


def test_this_machine_has_a_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "America/Lima")
    zone_named.cache_clear()
    try:
        assert f"{datetime(2026, 3, 3, 12, tzinfo=UTC).astimezone(zone_named(None)):%H:%M}" == "07:00"
    finally:
        zone_named.cache_clear()
