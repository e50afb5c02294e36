"""Several outputs on a real database: each has its place, none holds up another, and what is refused is on record."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
import sqlalchemy as sa
import structlog
from prometheus_client import generate_latest

from infra.errors import OutputError, PeerAwayError, TransientError
from infra.outputs import outlet
from infra.outputs.relay import Relay, Rules
from infra.outputs.sink import NotTried, Refused, Sink, Standing
from infra.store.audit import newest
from infra.store.outbox import OutboxKind, OutboxRow, PublishedVerdict, backlog
from infra.store.output_cursors import forget, forget_idle, output_states, output_turn, prune, subscribe
from infra.store.output_refusals import refusals, send_again
from infra.store.positions import claim
from infra.store.results import DeadLetterRow, VerdictRow, write_batch

from .rows import FIRST, batch, dead, unjudged

IDLE_S = 0.5  # any other writing transaction of the server may hold the relay up for a moment
Answer = TransientError | Refused | None
Write = Callable[..., None]


@dataclass
class Taker:
    """A peer in this process that takes what `judge` lets through."""

    name: str = "webhook"
    kinds: frozenset[OutboxKind] = frozenset({OutboxKind.VERDICT})
    judge: Callable[[str], Answer] = lambda _: None
    taken: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    beats: list[Standing] = field(default_factory=list)

    def deliver(self, rows: Sequence[OutboxRow], timeout_s: float) -> list[Answer]:
        assert timeout_s > 0
        assert len({(type(row.content), row.camera) for row in rows}) == len(rows)
        return [self._answer(row) for row in rows]

    def _answer(self, row: OutboxRow) -> Answer:
        content = row.content
        name = content.result_id if isinstance(content, PublishedVerdict) else f"letter {content and content.frame_id}"
        self.asked.append(name)
        answer = self.judge(name)
        if answer is None:
            self.taken.append(name)
        return answer

    def beat(self, standing: Standing) -> None:
        self.beats.append(standing)

    def close(self) -> None:
        pass


@pytest.fixture
def write(database: sa.Engine) -> Write:
    mine = claim(database, FIRST, "test")

    def one_batch(*rows: VerdictRow | DeadLetterRow) -> None:
        write_batch(database, [mine], batch(*rows), 7, fill_outbox=True)

    return one_batch


def verdicts(numbers: Sequence[int], cameras: int = 1) -> list[VerdictRow]:
    return [unjudged(f"f{n}", n, camera=f"cam{n % cameras}", result_id=str(n)) for n in numbers]


def relay(database: sa.Engine, *sinks: Sink, **rules: object) -> Relay:
    return Relay(database, sinks, structlog.get_logger(), Rules(**rules))  # type: ignore[arg-type]


@pytest.fixture
def background() -> Iterator[Callable[[Relay], None]]:
    """Runs relays until the test ends."""
    running: list[tuple[Relay, threading.Thread]] = []

    def start(each: Relay) -> None:
        thread = threading.Thread(target=each.run)
        running.append((each, thread))
        thread.start()

    yield start
    for each, thread in running:
        each.stop.set()
        thread.join(30)
        assert not thread.is_alive()


def until(happens: Callable[[], object], patience_s: float = 30) -> None:
    deadline = time.monotonic() + patience_s
    while not happens():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def test_the_first_outputs_begin_at_what_was_put_aside_and_a_later_one_at_now(
    database: sa.Engine, write: Write
) -> None:
    write(*verdicts([0, 1]))
    first, second = Taker("first"), Taker("second")
    assert relay(database, first, second).run(IDLE_S) == 4
    write(*verdicts([2]))
    third = Taker("third")
    relay(database, third).run(IDLE_S)
    write(*verdicts([3]))
    relay(database, first, second, third).run(IDLE_S)
    assert (first.taken, second.taken, third.taken) == (list("0123"), list("0123"), list("3"))
    assert backlog(database).rows == 0


def test_an_output_that_is_away_holds_up_no_other_and_gets_everything_later(
    database: sa.Engine, write: Write, background: Callable[[Relay], None]
) -> None:
    away = True
    quick = Taker("quick")
    gone = Taker("gone", judge=lambda _: PeerAwayError("nobody there") if away else None)
    background(relay(database, quick, gone))
    write(*verdicts(range(50), cameras=3))
    until(lambda: len(quick.taken) == 50)
    waiting = {state.sink: state.waiting.rows for state in output_states(database)}
    assert (gone.taken, waiting["gone"], backlog(database).rows) == ([], 50, 50)
    away = False
    until(lambda: len(gone.taken) == 50)
    until(lambda: backlog(database).rows == 0)


def test_each_wants_its_own_kinds_and_what_nobody_wants_is_taken_out(database: sa.Engine, write: Write) -> None:
    write(*verdicts([0]), dead("dead", 1))
    both, verdicts_only = Taker("both", frozenset(OutboxKind)), Taker("verdicts")
    relay(database, verdicts_only).run(IDLE_S)
    with database.connect() as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM outbox")) == 0  # nobody has asked for the letter
    relay(database, both).run(0)
    write(*verdicts([2]), dead("dead again", 3))
    relay(database, both, verdicts_only).run(IDLE_S)
    assert (sorted(both.taken), verdicts_only.taken) == (["2", "letter dead again"], ["0", "2"])


def test_what_is_refused_is_on_record_with_the_reason_and_the_others_go_on(database: sa.Engine, write: Write) -> None:
    write(*verdicts(range(6)))
    taker = Taker(judge=lambda name: Refused("no such part\nat all") if name in "14" else None)
    each = relay(database, taker)
    assert each.run(IDLE_S) == 4
    assert taker.taken == list("0235")
    assert backlog(database).rows == 0
    found = refusals(database)
    assert [(one.frame_id, one.camera, one.sink, one.reason) for one in found] == [
        ("f4", "cam0", "webhook", "no such part at all"),
        ("f1", "cam0", "webhook", "no such part at all"),
    ]
    page = generate_latest(each.watch.metrics.registry).decode()
    assert 'differline_relay_refused_messages_total{sink="webhook"} 2.0' in page
    assert 'differline_relay_published_messages_total{sink="webhook"} 4.0' in page


def test_what_was_refused_is_sent_again_when_somebody_wants_that(database: sa.Engine, write: Write) -> None:
    write(*verdicts(range(3)))
    relay(database, Taker(judge=lambda _: Refused("unknown field"))).run(IDLE_S)
    newer, _, older = refusals(database)
    assert send_again(database, "webhook", older.number, who="eva", reason="mended") == 1
    assert send_again(database, "webhook", older.number, who="eva", reason="mended") == 0
    taker = Taker()
    relay(database, taker).run(3.0)
    assert taker.taken == ["0"]
    assert send_again(database, "webhook", None, who="eva", reason="all of them") == 2
    stubborn = Taker(judge=lambda name: Refused("still no") if name == "2" else None)
    relay(database, stubborn).run(3.0)
    assert stubborn.taken == ["1"]
    assert [(one.number, one.reason, one.again_at) for one in refusals(database)] == [(newer.number, "still no", None)]
    rows = newest(database, 10, "output webhook")
    assert [(row.who, row.action, row.detail["messages"]) for row in rows] == [
        ("eva", "send_again", 2),
        ("eva", "send_again", 1),
    ]


@pytest.mark.parametrize("restarts", [1, 3])
def test_a_peer_that_refuses_everything_is_waited_for_and_costs_few_messages(
    database: sa.Engine, write: Write, restarts: int
) -> None:
    write(*verdicts(range(30), cameras=3))
    wrong = True
    taker = Taker(judge=lambda _: Refused("no such path") if wrong else None)
    for _ in range(restarts):
        each = relay(database, taker, most_refused=5)
        working = threading.Thread(target=each.run)
        working.start()
        time.sleep(1.5)
        each.stop.set()
        working.join(30)
        with database.begin() as connection:  # also where none of them is of the last minute
            connection.execute(sa.text("UPDATE output_refusals SET refused_at = refused_at - interval '1 hour'"))
    assert (len(refusals(database)), taker.taken) == (5, [])
    wrong = False
    relay(database, taker, most_refused=5).run(IDLE_S)
    assert len(taker.taken) == 25


def test_refusals_between_messages_that_are_taken_are_bounded_by_the_minute(database: sa.Engine, write: Write) -> None:
    write(*verdicts(range(20)))
    taker = Taker(judge=lambda name: Refused("odd") if int(name) % 2 else None)
    each = relay(database, taker, most_refused=4)
    working = threading.Thread(target=each.run)
    working.start()
    time.sleep(2.0)
    each.stop.set()
    working.join(30)
    assert (len(refusals(database)), taker.taken) == (4, ["0", "2", "4", "6", "8"])


def test_a_camera_that_the_peer_does_not_take_holds_up_no_other(
    database: sa.Engine, write: Write, background: Callable[[Relay], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outlet, "_PAGE", 10)
    mended = False
    taker = Taker(judge=lambda name: PeerAwayError("500") if name == "1" and not mended else None)
    background(relay(database, taker))
    write(*verdicts(range(60), cameras=2))
    until(lambda: len(taker.taken) == 30)
    assert taker.taken == [str(n) for n in range(0, 60, 2)]
    mended = True
    until(lambda: len(taker.taken) == 60)
    assert taker.taken[30:] == [str(n) for n in range(1, 60, 2)]
    until(lambda: backlog(database).rows == 0)


def test_a_message_that_is_not_taken_for_an_hour_while_others_are_is_put_on_record(
    database: sa.Engine, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outlet, "_GIVE_UP_S", 0.3)
    write(*verdicts(range(10), cameras=2))
    taker = Taker(judge=lambda name: PeerAwayError("500 oops") if name == "1" else None)
    relay(database, taker).run(1.0)
    assert sorted(taker.taken, key=int) == [str(n) for n in range(10) if n != 1]
    (one,) = refusals(database)
    assert (one.frame_id, one.reason.endswith("in which others were: 500 oops")) == ("f1", True)


def test_a_peer_that_is_away_for_an_hour_loses_nothing(
    database: sa.Engine, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outlet, "_GIVE_UP_S", 0.3)
    write(*verdicts(range(10), cameras=2))
    back_at = time.monotonic() + 2.0
    taker = Taker(judge=lambda _: None if time.monotonic() > back_at else PeerAwayError("away"))
    relay(database, taker).run(1.0)
    assert (len(taker.taken), refusals(database)) == (10, [])


def test_a_message_that_was_not_tried_for_want_of_time_goes_with_the_next_ones(
    database: sa.Engine, write: Write
) -> None:
    write(*verdicts(range(10), cameras=10))
    left = iter([NotTried("no time")] * 7)
    taker = Taker(judge=lambda _: next(left, None))
    each = relay(database, taker)
    assert each.run(IDLE_S) == 10
    assert "differline_relay_sink_away" in generate_latest(each.watch.metrics.registry).decode()
    assert each.watch.health() is None


def test_an_output_that_is_turned_off_holds_its_rows_until_it_is_forgotten(database: sa.Engine, write: Write) -> None:
    kept, off = Taker("kept"), Taker("off")
    relay(database, kept, off).run(0)
    write(*verdicts(range(5)))
    relay(database, kept).run(IDLE_S)
    assert {state.sink: (state.waiting.rows, state.at_work) for state in output_states(database)} == {
        "kept": (0, False),
        "off": (5, False),
    }
    assert backlog(database).rows == 5
    with pytest.raises(LookupError):
        forget(database, "another", who="eva", reason="gone")
    with output_turn(database, "off"):
        (_, at_work) = output_states(database)
        assert at_work.at_work
        with pytest.raises(OutputError, match="turn it off there first"):
            forget(database, "off", who="eva", reason="gone")
    forget(database, "off", who="eva", reason="the MES is gone")
    assert backlog(database).rows == 0
    assert prune(database) == 5
    (row,) = newest(database, 1, "output off")
    assert (row.who, row.action, row.reason, row.detail) == ("eva", "forget", "the MES is gone", {"undelivered": 5})
    relay(database, kept, off).run(IDLE_S)
    assert off.taken == []


def test_an_output_that_no_relay_has_worked_for_a_week_is_forgotten_the_others_stay(
    database: sa.Engine, write: Write
) -> None:
    kept, off = Taker("kept"), Taker("off")
    relay(database, kept, off).run(0)
    write(*verdicts(range(5)))
    with database.begin() as connection:
        connection.execute(sa.text("UPDATE output_cursors SET turn_at = now() - interval '8 days' WHERE sink = 'off'"))
    assert forget_idle(database, timedelta(days=9), "relay") == []
    assert forget_idle(database, timedelta(days=7), "relay") == ["off"]
    assert [state.sink for state in output_states(database)] == ["kept"]
    (row,) = newest(database, 1, "output off")
    assert row.reason == "no relay has worked for it for 7 days"


def test_a_plant_that_stood_still_for_weeks_has_forgotten_no_output(database: sa.Engine, write: Write) -> None:
    """Its relays start one after the other."""
    first, second, off = Taker("first"), Taker("second"), Taker("off")
    relay(database, first, second, off).run(0)
    write(*verdicts(range(5)))
    with database.begin() as connection:
        connection.execute(sa.text("UPDATE output_cursors SET turn_at = now() - interval '20 days'"))
        gone = "UPDATE output_cursors SET turn_at = turn_at - interval '8 days' WHERE sink = 'off'"
        connection.execute(sa.text(gone))
    relay(database, first).run(IDLE_S)
    assert forget_idle(database, timedelta(days=7), "relay") == ["off"]
    relay(database, second).run(IDLE_S)
    assert second.taken == list("01234")


def test_an_output_that_is_away_for_weeks_is_not_forgotten_while_a_relay_tries(
    database: sa.Engine, background: Callable[[Relay], None]
) -> None:
    taker = Taker(judge=lambda _: PeerAwayError("away"))
    relay(database, taker).run(0)
    with database.begin() as connection:
        connection.execute(sa.text("UPDATE output_cursors SET turn_at = now() - interval '8 days'"))
    background(relay(database, taker))
    until(lambda: output_states(database)[0].at_work)
    assert forget_idle(database, timedelta(days=7), "relay") == []


def test_places_of_another_database_are_not_believed(database: sa.Engine, write: Write) -> None:
    """A dump that is restored elsewhere brings cursors whose transactions have not happened there yet."""
    taker = Taker()
    relay(database, taker).run(0)
    with database.begin() as connection:
        connection.execute(sa.text("UPDATE output_cursors SET txid = txid + 1000000000"))
    write(*verdicts(range(5)))
    assert prune(database) == 0
    relay(database, taker).run(IDLE_S)
    assert taker.taken == list("01234")


def test_a_relay_of_the_version_before_is_not_worked_beside(database: sa.Engine) -> None:
    """It would take out what the others have not seen."""
    subscribe(database, {"kafka": frozenset(OutboxKind)})
    with database.connect() as old:
        assert old.scalar(sa.text("SELECT pg_try_advisory_lock(5704130002)"))
        with output_turn(database, "kafka") as turn:
            assert turn is None
        old.scalar(sa.text("SELECT pg_advisory_unlock(5704130002)"))
        with output_turn(database, "kafka") as turn:
            assert turn is not None
            assert not old.scalar(sa.text("SELECT pg_try_advisory_lock(5704130002)"))


def test_a_relay_that_lost_its_turn_to_another_one_no_longer_beats(
    database: sa.Engine, background: Callable[[Relay], None]
) -> None:
    taker = Taker()
    background(relay(database, taker))
    until(lambda: taker.beats)
    cut = sa.text("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND classid = 570413")
    mine = sa.text("SELECT pg_try_advisory_lock(570413, hashtext('webhook'))")
    with database.connect().execution_options(isolation_level="AUTOCOMMIT") as another:
        while not another.scalar(mine):
            another.execute(cut)
        time.sleep(2.5)  # until it has asked for its turn
        before = len(taker.beats)
        time.sleep(2.5)
        assert len(taker.beats) == before
    until(lambda: len(taker.beats) > before)


def test_a_thread_that_fails_ends_the_relay(database: sa.Engine, write: Write) -> None:
    def fails(_: str) -> Answer:
        raise ZeroDivisionError

    write(*verdicts([0]))
    with pytest.raises(ZeroDivisionError):
        relay(database, Taker("broken", judge=fails), Taker("whole")).run()


def test_a_heart_that_fails_ends_the_relay(database: sa.Engine) -> None:
    class Heartless(Taker):
        def beat(self, standing: Standing) -> None:
            raise ZeroDivisionError(standing)

    with pytest.raises(ZeroDivisionError):
        relay(database, Heartless()).run()
