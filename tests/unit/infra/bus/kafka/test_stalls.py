"""The watchdog: who stands still with records waiting, and who is merely waiting for a turn."""

from infra.bus import Partition
from infra.bus.kafka.stalls import StallWatch

A, B = Partition("frames", 0), Partition("frames", 1)
ENDS = {A: 100, B: 100}


def watch() -> StallWatch:
    return StallWatch(after_s=60, buffered_bytes=1000)


def test_a_position_that_stands_with_records_waiting_is_a_stall() -> None:
    dog = watch()
    assert dog.look(0, {A: 5}, ENDS, idle=True) == []
    assert dog.look(59, {A: 5}, ENDS, idle=True) == []
    assert dog.look(60, {A: 5}, ENDS, idle=True) == [A]


def test_a_position_that_moves_is_no_stall() -> None:
    dog = watch()
    for second in range(0, 200, 20):
        assert dog.look(second, {A: second}, {A: 1000}, idle=True) == []


def test_nothing_waiting_is_no_stall() -> None:
    dog = watch()
    dog.look(0, {A: 100}, ENDS, idle=True)
    assert dog.look(600, {A: 100}, ENDS, idle=True) == []
    assert dog.look(601, {A: 100}, {A: 101}, idle=True) == []  # something has just come


def test_only_the_partition_that_stands_is_told() -> None:
    dog = watch()
    dog.look(0, {A: 5, B: 5}, ENDS, idle=True)
    assert dog.look(60, {A: 5, B: 6}, ENDS, idle=True) == [A]


def test_a_partition_that_waits_for_its_turn_is_no_stall_until_the_buffer_must_have_come_round() -> None:
    dog = watch()
    dog.look(0, {A: 5, B: 5}, ENDS, idle=False)
    dog.handed_out(1000)
    assert dog.look(300, {A: 5, B: 6}, ENDS, idle=False) == []
    dog.handed_out(1)
    assert dog.look(301, {A: 5, B: 7}, ENDS, idle=False) == [A]


def test_a_partition_that_was_taken_away_meanwhile_starts_anew() -> None:
    dog = watch()
    dog.look(0, {A: 5}, ENDS, idle=True)
    dog.look(30, {}, ENDS, idle=True)
    assert dog.look(60, {A: 5}, ENDS, idle=True) == []


def test_after_a_restart_the_time_counts_anew() -> None:
    dog = watch()
    dog.look(0, {A: 5}, ENDS, idle=True)
    dog.forget()
    assert dog.look(60, {A: 5}, ENDS, idle=True) == []
    assert dog.look(120, {A: 5}, ENDS, idle=True) == [A]
