"""False alarms and real defects: the alert and what may be learned from its picture, in one step."""

import threading
from collections.abc import Callable

import pytest
import sqlalchemy as sa

from infra.store import alerts as alert_store
from infra.store.alert_outcomes import Judged, judge
from infra.store.audit import newest, verify
from infra.store.curation import NewDecision, decide, newest_decisions
from infra.store.models import register_in_force
from infra.store.positions import claim
from infra.store.results import write_batch
from infra.store.tables import AlertOutcome, AlertState, FrameDecision, alerts, decisions

from .rows import FIRST, MODEL, NOON, batch, judged

SHA = "a" * 64
OpenDefect = Callable[..., int]


@pytest.fixture
def open_defect(database: sa.Engine) -> OpenDefect:
    """Writes a DEFECT as the scorer does; returns the number of its alert."""
    model_id = register_in_force(database, MODEL).id

    def write(frame_id: str = "frame", offset: int = 1, **changes: object) -> int:
        values = {"sha256": SHA, "archive_ref": f"aa/{SHA}", "job_id": "order-3"} | changes
        row = judged(frame_id, offset, model_id, "DEFECT", **values)
        write_batch(database, [claim(database, FIRST, "test")], batch(row), 7)
        with database.connect() as connection:
            return connection.execute(sa.select(alerts.c.id).where(alerts.c.frame_id == frame_id)).scalar_one()

    return write


@pytest.mark.parametrize(
    ("outcome", "decision", "said"),
    [
        (AlertOutcome.FALSE_ALARM, FrameDecision.RELEASED, "false alarm"),
        (AlertOutcome.REAL_DEFECT, FrameDecision.REJECTED, "real defect"),
    ],
)
def test_what_an_alert_turned_out_to_be_decides_about_its_picture(
    database: sa.Engine, open_defect: OpenDefect, outcome: AlertOutcome, decision: FrameDecision, said: str
) -> None:
    number = open_defect()
    assert judge(database, number, "m.weber", " a hair ", outcome) == Judged(resolved=True, decision=decision)
    found = alert_store.alert(database, number)
    assert found is not None
    assert (found.state, found.outcome) == (AlertState.RESOLVED, outcome)
    (made,) = newest_decisions(database, "tile")
    assert (made.sha256, made.decision, made.who) == (SHA, decision, "m.weber")
    assert made.reason == f"alert {number}, {said}: a hair"
    assert (made.camera, made.frame_id, made.run, made.challenge) == ("cam", "frame", "order-3", False)
    assert [(row.who, row.action, row.subject) for row in newest(database, 2)] == [
        ("m.weber", outcome, f"alert {number}"),
        ("m.weber", decision, "product tile"),
    ]
    assert [(each.action, each.reason) for each in alert_store.actions(database, number)] == [(outcome, "a hair")]
    assert verify(database).broken is None


def test_without_a_kept_picture_only_the_alert_is_resolved(database: sa.Engine, open_defect: OpenDefect) -> None:
    number = open_defect(archive_ref=None)
    done = judge(database, number, "m.weber", "a hair", AlertOutcome.FALSE_ALARM)
    assert done == Judged(resolved=True, decision=None)
    assert newest_decisions(database, "tile") == []
    gone = open_defect("gone", 2)
    with database.begin() as connection:
        connection.execute(sa.text("DELETE FROM verdicts WHERE frame_id = 'gone'"))
    assert judge(database, gone, "m.weber", "a hair", AlertOutcome.REAL_DEFECT).decision is None


def test_who_comes_second_changes_nothing(database: sa.Engine, open_defect: OpenDefect) -> None:
    number = open_defect()
    judge(database, number, "first", "a hair", AlertOutcome.FALSE_ALARM)
    done = judge(database, number, "second", "a crack", AlertOutcome.REAL_DEFECT)
    assert done == Judged(resolved=False, decision=None)
    assert [each.decision for each in newest_decisions(database, "tile")] == [FrameDecision.RELEASED]
    assert len(newest(database, 9)) == 3  # the model, the decision, the alert


def test_two_at_once_leave_the_alert_and_the_picture_of_one_mind(database: sa.Engine, open_defect: OpenDefect) -> None:
    numbers = [open_defect(f"frame-{n}", n, sha256=f"{n:064}", archive_ref=f"aa/{n:064}") for n in range(1, 21)]
    together = threading.Barrier(3)
    failed: list[Exception] = []

    def work(who: str, outcome: AlertOutcome | None) -> None:
        together.wait(timeout=30)
        try:
            for number in numbers if who == "first" else reversed(numbers):
                if outcome:
                    judge(database, number, who, "sure", outcome)
                else:
                    alert_store.acknowledge_many(database, numbers, who, "I look")
        except Exception as error:
            failed.append(error)

    people = [("first", AlertOutcome.FALSE_ALARM), ("second", AlertOutcome.REAL_DEFECT), ("third", None)]
    threads = [threading.Thread(target=work, args=person) for person in people]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    assert failed == []
    decided = {each.frame_id: each.decision for each in newest_decisions(database, "tile")}
    assert len(decided) == 20
    for number in numbers:
        found = alert_store.alert(database, number)
        assert found is not None
        released = decided[found.frame_id] is FrameDecision.RELEASED
        assert found.outcome is (AlertOutcome.FALSE_ALARM if released else AlertOutcome.REAL_DEFECT)
    with database.connect() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(decisions)) == 20


def test_a_picture_that_each_candidate_is_shown_stays_a_challenge_part(
    database: sa.Engine, open_defect: OpenDefect
) -> None:
    number = open_defect()
    decide(database, [NewDecision("tile", SHA, FrameDecision.REJECTED, "a", "known defect", challenge=True)])
    done = judge(database, number, "m.weber", "a crack", AlertOutcome.REAL_DEFECT)
    assert done.decision is FrameDecision.REJECTED
    (still,) = newest_decisions(database, "tile")
    assert (still.challenge, still.who) == (True, "a")


def test_a_newer_word_on_a_picture_counts(database: sa.Engine, open_defect: OpenDefect) -> None:
    number = open_defect()
    decide(database, [NewDecision("tile", SHA, FrameDecision.REJECTED, "a", "dented", challenge=True)])
    judge(database, number, "m.weber", "a hair", AlertOutcome.FALSE_ALARM)
    assert [each.decision for each in newest_decisions(database, "tile")] == [FrameDecision.RELEASED]


def test_only_a_defect_can_be_a_false_alarm(database: sa.Engine) -> None:
    row = {"kind": "drift", "camera": "cam", "product": "tile", "received_at": NOON, "frame_id": "frame"}
    with database.begin() as connection:
        number = connection.execute(sa.insert(alerts).values(row).returning(alerts.c.id)).scalar_one()
    with pytest.raises(ValueError, match="about a defect"):
        judge(database, number, "m.weber", "a hair", AlertOutcome.FALSE_ALARM)
    with pytest.raises(LookupError):
        judge(database, number + 1, "m.weber", "a hair", AlertOutcome.FALSE_ALARM)
    assert newest(database, 1) == []


@pytest.mark.parametrize("reason", ["", " ", "x" * 501, "a\0b"])
def test_it_needs_a_reason(database: sa.Engine, open_defect: OpenDefect, reason: str) -> None:
    number = open_defect()
    with pytest.raises(ValueError, match="reason"):
        judge(database, number, "m.weber", reason, AlertOutcome.FALSE_ALARM)
    found = alert_store.alert(database, number)
    assert found is not None
    assert found.state is AlertState.OPEN


def test_what_fails_on_the_way_leaves_nothing(
    database: sa.Engine, open_defect: OpenDefect, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = open_defect()

    def dies(*_: object) -> None:
        raise RuntimeError("killed")

    monkeypatch.setattr("infra.store.alert_outcomes.put_on_record", dies)
    with pytest.raises(RuntimeError):
        judge(database, number, "m.weber", "a hair", AlertOutcome.FALSE_ALARM)
    found = alert_store.alert(database, number)
    assert found is not None
    assert found.state is AlertState.OPEN
    assert newest_decisions(database, "tile") == []
