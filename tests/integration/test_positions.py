"""Positions and the epoch fence in a real PostgreSQL."""

import threading

import pytest
import sqlalchemy as sa

from infra.bus import Partition
from infra.errors import StaleEpochError
from infra.store.positions import Claim, advance, claim, lock_claims, stored_positions

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
