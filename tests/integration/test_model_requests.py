"""Requests of the dashboard in a real PostgreSQL: asked for once, taken by one, done once, whoever is gone when."""

import threading
from datetime import timedelta

import pytest
import sqlalchemy as sa

from infra.errors import RequestLostError
from infra.store.audit import newest, verify
from infra.store.connect import transaction
from infra.store.model_requests import (
    LEASE,
    QUICK,
    ModelRequest,
    NewRequest,
    TakenRequest,
    ask,
    beat,
    cancel,
    conclude,
    put_back,
    requests_of,
    take,
    taken_request,
    tell_progress,
)
from infra.store.tables import RequestKind, RequestOutcome

PROMOTE, ROLLBACK, SHADOW, REFIT = RequestKind.PROMOTE, RequestKind.ROLLBACK, RequestKind.SHADOW, RequestKind.REFIT
DONE, FAILED = RequestOutcome.DONE, RequestOutcome.FAILED


def asked(database: sa.Engine, what: RequestKind = PROMOTE, product: str = "tile", version: int | None = 2) -> int:
    return ask(database, NewRequest(product, what, "m.weber", " new lamp ", version), "engineer")


def taken(database: sa.Engine, worker: str = "first") -> TakenRequest:
    found = take(database, worker, QUICK)
    assert found is not None
    return found


def only(database: sa.Engine, product: str = "tile") -> ModelRequest:
    (found,) = requests_of(database, product)
    return found


def done(database: sa.Engine, of: TakenRequest, outcome: RequestOutcome = DONE, message: str = "so") -> None:
    with transaction(database) as connection:
        conclude(connection, of, outcome, message)


def release_and_conclude(database: sa.Engine, of: TakenRequest) -> None:
    effect = (
        "INSERT INTO decisions (product, sha256, decision, who, reason) VALUES ('tile', 'ab', 'released', 'slow', '')"
    )
    with transaction(database) as connection:
        connection.execute(sa.text(effect))
        conclude(connection, of, DONE, "done twice")


def silent_for_too_long(database: sa.Engine) -> None:
    with database.begin() as connection:
        connection.execute(
            sa.text("UPDATE model_requests SET beat_at = beat_at - :lease"), {"lease": LEASE + timedelta(seconds=1)}
        )


def test_a_request_is_on_record_with_who_as_what_and_why(database: sa.Engine) -> None:
    number = ask(database, NewRequest("tile", PROMOTE, "m.weber", " new lamp ", 2, force=True), "engineer")
    found = only(database)
    assert (found.id, found.what, found.version, found.force) == (number, PROMOTE, 2, True)
    assert (found.who, found.reason, found.open, found.taken_at) == ("m.weber", "new lamp", True, None)
    (row,) = newest(database, 5)
    assert (row.who, row.action, row.subject, row.reason) == ("m.weber", "ask_promote", "model tile 2", "new lamp")
    assert row.detail == {"request": number, "role": "engineer", "force": True}
    assert verify(database).broken is None


def test_the_same_is_asked_for_once_until_it_is_done(database: sa.Engine) -> None:
    asked(database)
    with pytest.raises(ValueError, match="asked for already"):
        asked(database, version=3)
    asked(database, ROLLBACK, version=1)
    asked(database, product="cap")
    assert len(newest(database, 10)) == 3  # what was refused is not on the log
    done(database, taken(database))
    asked(database)


@pytest.mark.parametrize("reason", ["", "  ", "x" * 501, "a\0b"])
def test_a_reason_is_needed(database: sa.Engine, reason: str) -> None:
    with pytest.raises(ValueError, match="a reason has 1 to 500 characters"):
        ask(database, NewRequest("tile", REFIT, "m.weber", reason), "engineer")
    assert requests_of(database, "tile") == []
    assert newest(database, 1) == []


def test_what_nobody_has_taken_can_be_cancelled_and_nothing_else(database: sa.Engine) -> None:
    number = asked(database)
    assert cancel(database, number, "a.kern", "engineer")
    assert not cancel(database, number, "a.kern", "engineer")
    assert take(database, "first", QUICK) is None
    found = only(database)
    assert (found.cancelled_by, found.open, found.outcome) == ("a.kern", False, None)
    assert [row.action for row in newest(database, 5)] == ["cancel_request", "ask_promote"]
    second = asked(database)
    mine = taken(database)
    assert not cancel(database, second, "a.kern", "engineer")
    done(database, mine)
    assert not cancel(database, second, "a.kern", "engineer")
    with pytest.raises(sa.exc.IntegrityError, match="model_requests_cancelled"), database.begin() as connection:
        connection.execute(sa.text("UPDATE model_requests SET cancelled_at = now(), cancelled_by = 'x' WHERE id = 2"))


def test_two_trainers_at_once_take_each_request_once(database: sa.Engine) -> None:
    numbers = {asked(database, product=f"product {place}") for place in range(12)}
    together = threading.Barrier(4)
    found: list[int] = []

    def run(worker: str) -> None:
        together.wait(30)
        while (one := take(database, worker, QUICK)) is not None:
            found.append(one.id)
            done(database, one)

    threads = [threading.Thread(target=run, args=(f"worker {place}",)) for place in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    while (one := take(database, "last", QUICK)) is not None:  # one that all four stepped over at the same moment
        found.append(one.id)
        done(database, one)
    assert sorted(found) == sorted(numbers)


def test_requests_of_a_product_are_done_in_their_order_and_refits_beside_them(database: sa.Engine) -> None:
    first = asked(database, SHADOW)
    second = asked(database)
    refit = asked(database, REFIT, version=None)
    other = asked(database, product="cap")
    mine = taken(database)
    assert mine.id == first
    following = take(database, "second", QUICK)
    assert following is not None
    assert following.id == other  # the promotion of the same product waits for the shadow
    learning = take(database, "second", [REFIT])
    assert learning is not None
    assert learning.id == refit
    assert take(database, "third", QUICK) is None
    done(database, mine)
    assert taken(database).id == second


def test_a_request_whose_trainer_is_gone_is_taken_again_and_then_failed(database: sa.Engine) -> None:
    asked(database)
    lost = taken(database)
    assert take(database, "second", QUICK) is None
    silent_for_too_long(database)
    again = taken(database, "second")
    assert (again.id, again.attempts) == (lost.id, 2)
    assert taken_request(database, lost.id, "first", 1) is None
    assert taken_request(database, again.id, "second", 2) == again
    silent_for_too_long(database)
    assert take(database, "third", QUICK) is None
    found = only(database)
    assert found.outcome is FAILED
    assert "the trainer that worked on it was gone, again" in (found.message or "")


def test_one_whose_trainer_lives_is_not_taken_again(database: sa.Engine) -> None:
    asked(database)
    mine = taken(database)
    silent_for_too_long(database)
    beat(database, mine)
    assert take(database, "second", QUICK) is None


def test_a_trainer_that_lost_its_request_has_no_effect(database: sa.Engine) -> None:
    """Paused for longer than the lease, it comes back when another one has done it, or is about to."""
    asked(database)
    slow = taken(database)
    silent_for_too_long(database)
    quick = taken(database, "second")
    with pytest.raises(RequestLostError):
        release_and_conclude(database, slow)
    beat(database, slow)
    tell_progress(database, slow, "fit", 0.5)
    assert only(database).progress is None
    done(database, quick)
    with pytest.raises(RequestLostError):
        done(database, quick, message="twice")
    with database.connect() as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM decisions")) == 0
    assert only(database).message == "so"


def test_a_trainer_that_ends_in_order_puts_its_request_back(database: sa.Engine) -> None:
    asked(database)
    for _ in range(5):
        mine = taken(database)
        tell_progress(database, mine, "fit", 0.25)
        assert (only(database).stage, only(database).progress) == ("fit", 0.25)
        put_back(database, mine)
        assert (only(database).taken_at, only(database).stage) == (None, None)
    assert taken(database).attempts == 1


def test_a_message_is_one_line_without_control_characters(database: sa.Engine) -> None:
    asked(database)
    done(database, taken(database), FAILED, "bad\n\x1b[31mmodel\u202e" + "x" * 5000)
    message = only(database).message or ""
    assert message.startswith("bad\\n\\x1b[31mmodel\\u202exxx")
    assert len(message) == 1000


@pytest.mark.parametrize(
    "columns",
    [
        "what = 'delete'",
        "version = NULL",
        "what = 'refit'",
        "progress = 1.5",
        "progress = 'NaN'",
        "outcome = 'done'",
        "done_at = now()",
        "taken_at = now()",
    ],
)
def test_what_makes_no_sense_is_refused_by_the_table(database: sa.Engine, columns: str) -> None:
    asked(database)
    with pytest.raises(sa.exc.IntegrityError, match="model_requests_"), database.begin() as connection:
        connection.execute(sa.text(f"UPDATE model_requests SET {columns}"))
