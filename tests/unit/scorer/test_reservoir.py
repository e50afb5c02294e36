from datetime import UTC, datetime, timedelta

import numpy as np

from scorer.reservoir import Reservoir

NOON = datetime(2026, 3, 3, 12, tzinfo=UTC)


def kept_of(reservoir: Reservoir, count: int, camera: str = "cam", since: datetime = NOON) -> list[int]:
    step = timedelta(hours=1) / (count + 1)
    return [n for n in range(count) if reservoir.keeps(camera, f"{camera} {since} {n}", since + n * step)]


def test_the_first_frames_of_an_hour_are_kept_and_then_ever_fewer() -> None:
    kept = kept_of(Reservoir(20), 5000)
    assert kept[:20] == list(range(20))
    late = [n for n in kept if n >= 2500]
    expected = 20 * np.log(2)  # of frame n, 20 / n
    assert abs(len(late) - expected) < 4 * np.sqrt(expected)


def test_every_camera_and_hour_has_a_sample_of_its_own() -> None:
    reservoir = Reservoir(5)
    assert kept_of(reservoir, 100)[:5] == [0, 1, 2, 3, 4]
    assert kept_of(reservoir, 100, "other")[:5] == [0, 1, 2, 3, 4]
    assert kept_of(reservoir, 100, since=NOON + timedelta(hours=1))[:5] == [0, 1, 2, 3, 4]


def test_a_frame_that_comes_again_is_drawn_again_and_takes_no_place() -> None:
    reservoir = Reservoir(3)
    first = [reservoir.keeps("cam", f"frame {n}", NOON) for n in range(3)]
    assert first == [True] * 3
    assert [reservoir.keeps("cam", f"frame {n}", NOON) for n in range(3)] == first


def test_a_late_frame_of_the_hour_before_finds_its_sample() -> None:
    reservoir = Reservoir(1)
    kept_of(reservoir, 500)
    reservoir.keeps("cam", "next hour", NOON + timedelta(hours=1))
    again = [reservoir.keeps("cam", f"late {n}", NOON + timedelta(minutes=59)) for n in range(20)]
    assert (
        sum(again) <= 3
    )  # an empty sample would keep the first, and some more of twenty: 20 of 20 if it forgot each time


def test_hours_that_are_past_are_forgotten() -> None:
    reservoir = Reservoir(2)
    for hour in range(48):
        kept_of(reservoir, 10, since=NOON + timedelta(hours=hour))
    assert {len(hours) for hours in reservoir._lowest.values()} == {2}


def test_a_size_of_zero_keeps_nothing() -> None:
    assert kept_of(Reservoir(0), 50) == []
