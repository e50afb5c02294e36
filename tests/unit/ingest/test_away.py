import random

import pytest

from ingest.away import FramesOwed


def ten_a_second(count: int, start_s: float = 0.0) -> list[float]:
    return [start_s + number / 10 for number in range(count)]


def test_a_camera_that_is_there_owes_nothing_however_unevenly_it_sends() -> None:
    owed = FramesOwed()
    assert [owed.frame(at_s) for at_s in (0.0, 0.1, 0.9, 5.0, 60.0)] == [0] * 5


def test_a_minute_at_ten_a_second_owes_nearly_six_hundred_and_what_was_told_meanwhile_is_not_told_again() -> None:
    owed = FramesOwed()
    for at_s in ten_a_second(20):
        owed.frame(at_s)
    told = [owed.away(1.9 + away_s) for away_s in (0.0, 1.0, 30.0, 30.0)]
    assert told[0] == 1  # one at least
    assert told[3] == 0
    assert sum(told) + owed.frame(61.9) in (598, 599)


@pytest.mark.parametrize("seed", range(20))
def test_it_is_never_more_than_what_the_camera_would_have_sent(seed: int) -> None:
    dice = random.Random(seed)
    fps, away_s = dice.uniform(0.5, 60), dice.uniform(2.5, 100)
    sent = [number / fps for number in range(40)]
    gone_s = sent[-1] + dice.uniform(0, 1 / fps)
    back_s = gone_s + away_s
    owed = FramesOwed()
    for at_s in sent:
        owed.frame(at_s)
    first_s = next(number / fps for number in range(40, 10**6) if number / fps >= back_s)
    counted = owed.away(gone_s) + owed.away((gone_s + back_s) / 2) + owed.frame(first_s)
    missed = round((first_s - sent[-1]) * fps) - 1
    assert max(1, missed - 2) <= counted <= max(1, missed)


def test_a_camera_that_was_never_there_owes_nothing_that_anybody_knows() -> None:
    owed = FramesOwed()
    assert owed.away(100.0) == 0
    assert owed.frame(200.0) == 0


def test_a_camera_that_went_after_its_first_frame_owes_one_at_least() -> None:
    owed = FramesOwed()
    owed.frame(1.0)
    assert owed.away(100.0) == 1
    assert owed.away(200.0) == 0
    assert owed.frame(300.0) == 0


def test_gaps_themselves_are_no_interval_of_the_pace() -> None:
    owed = FramesOwed()
    now_s = 0.0
    for _ in range(20):  # a loose plug: two frames, and gone again
        owed.frame(now_s)
        owed.frame(now_s + 0.1)
        owed.away(now_s + 5.0)
        now_s += 100.0
    owed.frame(now_s)
    assert owed.away(now_s + 10.0) >= 95
