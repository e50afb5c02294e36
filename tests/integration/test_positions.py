"""Positions and the epoch fence in a real PostgreSQL."""

import threading

import pytest
import sqlalchemy as sa

from infra.bus import Partition
from infra.errors import StaleEpochError
from infra.store.attempts import Attempt, unfinished, write_down
from infra.store.position_reset import Reset, reset_position
from infra.store.positions import Claim, advance, all_positions, claim, lock_claims, stored_positions

from .rows import FIRST, SECOND


def move(database: sa.Engine, mine: Claim, offset: int) -> None:
    with database.begin() as connection:
        lock_claims(connection, [mine])
        advance(connection, {mine.partition: offset})


def test_a_first_claim_begins_at_the_beginning(database: sa.Engine) -> None:
    assert claim(database, FIRST, "a") == Claim(FIRST, epoch=1, next_offset=None)


def test_a_claim_goes_on_where_the_last_owner_stopped_with_a_higher_epoch(database: sa.Engine) -> None:
    first = claim(database, FIRST, "a")
    move(database, first, 42)
    assert claim(database, FIRST, "b") == Claim(FIRST, first.epoch + 1, 42)


def test_the_old_owner_is_fenced_off_also_where_it_is_the_same_worker(database: sa.Engine) -> None:
    old = claim(database, FIRST, "a")
    new = claim(database, FIRST, "a")
    with pytest.raises(StaleEpochError, match="frames/0 belongs to a now"):
        move(database, old, 7)
    move(database, new, 8)
    with database.connect() as connection:
        assert stored_positions(connection, "frames") == {FIRST: 8}


def test_partitions_are_claimed_apart(database: sa.Engine) -> None:
    first, second = claim(database, FIRST, "a"), claim(database, SECOND, "a")
    claim(database, SECOND, "b")
    move(database, first, 3)
    with pytest.raises(StaleEpochError), database.begin() as connection:
        lock_claims(connection, [first, second])


def test_only_what_is_stored_has_a_position(database: sa.Engine) -> None:
    move(database, claim(database, FIRST, "a"), 5)
    claim(database, SECOND, "a")
    move(database, claim(database, Partition("other", 0), "a"), 9)
    with database.connect() as connection:
        assert stored_positions(connection, "frames") == {FIRST: 5}


def test_locking_tells_the_stored_positions(database: sa.Engine) -> None:
    claims = [claim(database, FIRST, "a"), claim(database, SECOND, "a")]
    move(database, claims[1], 6)
    with database.begin() as connection:
        assert lock_claims(connection, claims) == {FIRST: None, SECOND: 6}


def test_a_reset_fences_off_the_owner_and_moves_the_position(database: sa.Engine) -> None:
    old = claim(database, FIRST, "a")
    move(database, old, 5000)
    assert reset_position(database, FIRST, "m.weber", lambda before: (before or 0) - 4000) == Reset(5000, 1000, 2)
    with pytest.raises(StaleEpochError, match=r"frames/0 belongs to m\.weber now"):
        move(database, old, 5001)
    assert claim(database, FIRST, "a") == Claim(FIRST, 3, 1000)
    (stored,) = all_positions(database)
    assert (stored.partition, stored.next_offset, stored.epoch, stored.worker) == (FIRST, 1000, 3, "a")


def test_a_reset_that_is_refused_changes_nothing(database: sa.Engine) -> None:
    old = claim(database, FIRST, "a")
    with pytest.raises(ZeroDivisionError):
        reset_position(database, FIRST, "m.weber", lambda _: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        reset_position(database, SECOND, "m.weber", lambda _: 1 // 0)
    move(database, old, 7)
    assert [(stored.partition, stored.next_offset) for stored in all_positions(database)] == [(FIRST, 7)]


def test_a_position_that_nobody_has_claimed_can_be_set(database: sa.Engine) -> None:
    assert reset_position(database, FIRST, "m.weber", lambda _: 3) == Reset(None, 3, 1)
    assert claim(database, FIRST, "a").next_offset == 3


def test_what_was_begun_before_a_reset_is_not_held_against_what_lies_there_now(database: sa.Engine) -> None:
    old = claim(database, FIRST, "a")
    move(database, old, 5000)
    write_down(database, [old], [Attempt(FIRST, 5000, 5015, 3)], "a")
    assert unfinished(database, claim(database, FIRST, "b")) is not None
    for after in (0, 5000):
        reset_position(database, FIRST, "m.weber", lambda _, after=after: after)
        assert unfinished(database, claim(database, FIRST, "c")) is None


def test_nobody_writes_while_a_reset_chooses(database: sa.Engine) -> None:
    old = claim(database, FIRST, "a")
    failed: list[Exception] = []

    def write() -> None:
        try:
            move(database, old, 9)
        except StaleEpochError as error:
            failed.append(error)

    writer = threading.Thread(target=write)

    def choose(_: int | None) -> int:
        writer.start()
        writer.join(0.3)
        assert writer.is_alive()
        return 4

    reset_position(database, FIRST, "m.weber", choose)
    writer.join(30)
    assert len(failed) == 1
    assert all_positions(database)[0].next_offset == 4


def test_a_claim_waits_for_a_write_under_way_and_sees_its_position(database: sa.Engine) -> None:
    old = claim(database, FIRST, "old")
    claimed: list[Claim] = []
    taker = threading.Thread(target=lambda: claimed.append(claim(database, FIRST, "new")))
    with database.begin() as connection:
        lock_claims(connection, [old])
        taker.start()
        taker.join(0.3)
        assert claimed == []
        advance(connection, {FIRST: 11})
    taker.join(30)
    assert claimed == [Claim(FIRST, old.epoch + 1, 11)]


def test_of_many_claims_at_once_one_is_the_last(database: sa.Engine) -> None:
    claims: list[Claim] = []
    threads = [
        threading.Thread(target=lambda name=name: claims.append(claim(database, FIRST, name))) for name in "abcdef"
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(each.epoch for each in claims) == [1, 2, 3, 4, 5, 6]
    newest = max(claims, key=lambda each: each.epoch)
    for each in claims:
        if each is newest:
            move(database, each, 1)
        else:
            with pytest.raises(StaleEpochError):
                move(database, each, 2)
