"""Alerts in a real PostgreSQL."""

import threading
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from infra.store import alerts as store
from infra.store.tables import AlertState, alerts, ensure_day_partitions

NOON = datetime(2026, 3, 3, 12, tzinfo=UTC)


def open_alert(database: sa.Engine, minute: int = 0, frame_id: str = "frame", camera: str = "cam") -> int:
    at = NOON + timedelta(minutes=minute)
    row = {
        "kind": "defect",
        "camera": camera,
        "product": "tile",
        "received_at": at,
        "frame_id": frame_id,
        "opened_at": at,
    }
    with database.begin() as connection:
        return connection.execute(sa.insert(alerts).values(row).returning(alerts.c.id)).scalar_one()


def add_verdict(database: sa.Engine, at: datetime, frame_id: str, camera: str = "cam", part: str = "MT-7") -> None:
    with database.begin() as connection:
        ensure_day_partitions(connection, at.date(), 1)
        connection.execute(
            sa.text(
                "INSERT INTO verdicts (received_at, frame_id, result_id, topic, partition, bus_offset, camera, product, "
                "part_id, sha256, captured_at, state, reason) "
                "VALUES (:at, :frame, 'r', 'frames', 0, 1, :camera, 'tile', :part, '0', :at, 'NO_VERDICT', 'black')"
            ),
            {"at": at, "frame": frame_id, "camera": camera, "part": part},
        )


def test_pages_hold_every_alert_once_newest_first_also_where_times_are_equal(database: sa.Engine) -> None:
    opened = [open_alert(database, minute) for minute in (0, 1, 1, 1, 2)]
    seen: list[int] = []
    after = None
    while page := store.list_alerts(database, after=after, limit=2):
        seen += [one.id for one in page]
        after = page[-1].key
    assert seen == opened[::-1]


def test_an_alert_that_opens_meanwhile_does_not_shift_the_next_page(database: sa.Engine) -> None:
    opened = [open_alert(database, minute) for minute in range(4)]
    first = store.list_alerts(database, limit=2)
    open_alert(database, 9)
    second = store.list_alerts(database, after=first[-1].key, limit=2)
    assert [one.id for one in (*first, *second)] == opened[::-1]


def test_the_list_is_filtered_by_state_and_the_open_ones_are_counted(database: sa.Engine) -> None:
    first, second = open_alert(database, 0), open_alert(database, 1)
    store.acknowledge(database, first, "m.weber", "a scratch")
    assert [one.id for one in store.list_alerts(database, AlertState.OPEN)] == [second]
    assert [one.id for one in store.list_alerts(database, AlertState.ACKNOWLEDGED)] == [first]
    assert store.count_open(database) == 1


def test_an_alert_brings_the_verdict_of_its_frame(database: sa.Engine) -> None:
    alert_id = open_alert(database, 0, "frame-1")
    add_verdict(database, NOON, "frame-1")
    found = store.alert(database, alert_id)
    assert found is not None
    assert found.verdict is not None
    assert (found.verdict.part_id, found.verdict.reason, found.verdict.model_version) == ("MT-7", "black", None)
    assert store.list_alerts(database) == [found]


def test_alerts_of_two_cameras_with_one_frame_id_bring_each_its_own_verdict(database: sa.Engine) -> None:
    for camera in ("left", "right"):
        open_alert(database, camera=camera, frame_id="1")
        add_verdict(database, NOON, "1", camera, part=f"part of {camera}")
    found = store.list_alerts(database)
    assert {(one.camera, one.verdict.part_id) for one in found if one.verdict} == {
        ("left", "part of left"),
        ("right", "part of right"),
    }
    assert len(found) == 2


def test_an_alert_without_a_verdict_is_still_an_alert(database: sa.Engine) -> None:
    alert_id = open_alert(database)
    add_verdict(database, NOON, "another frame")
    found = store.alert(database, alert_id)
    assert found is not None
    assert found.verdict is None
    assert (found.frame_id, found.received_at) == ("frame", NOON)


@pytest.mark.parametrize("number", [0, -1, 4711, 2**63 - 1, 2**63, 10**30])
def test_there_is_no_alert_of_another_number(database: sa.Engine, number: int) -> None:
    assert store.alert(database, number) is None
    with pytest.raises(LookupError):
        store.acknowledge(database, number, "m.weber", "why")


def test_acknowledging_is_on_record_with_who_and_why(database: sa.Engine) -> None:
    alert_id = open_alert(database)
    assert store.acknowledge(database, alert_id, "m.weber", "  a scratch  ")
    found = store.alert(database, alert_id)
    assert found is not None
    assert found.state is AlertState.ACKNOWLEDGED
    (action,) = store.actions(database, alert_id)
    assert (action.action, action.who, action.reason) == ("acknowledge", "m.weber", "a scratch")


def test_the_second_to_acknowledge_is_told_and_writes_nothing(database: sa.Engine) -> None:
    alert_id = open_alert(database)
    assert store.acknowledge(database, alert_id, "first", "a scratch")
    assert not store.acknowledge(database, alert_id, "second", "no scratch")
    assert [action.who for action in store.actions(database, alert_id)] == ["first"]


def test_of_many_at_once_exactly_one_acknowledges(database: sa.Engine) -> None:
    alert_id = open_alert(database)
    together = threading.Barrier(6)
    won: list[str] = []

    def acknowledge(who: str) -> None:
        together.wait(timeout=30)
        if store.acknowledge(database, alert_id, who, "seen"):
            won.append(who)

    threads = [threading.Thread(target=acknowledge, args=(f"user-{n}",)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert [action.who for action in store.actions(database, alert_id)] == won
    assert len(won) == 1


@pytest.mark.parametrize("reason", ["", " \n\t", "x" * (store.MAX_REASON + 1), "a\0b"])
def test_a_reason_is_needed(database: sa.Engine, reason: str) -> None:
    alert_id = open_alert(database)
    with pytest.raises(ValueError, match="reason"):
        store.acknowledge(database, alert_id, "m.weber", reason)
    assert store.count_open(database) == 1


def test_the_longest_reason_fits(database: sa.Engine) -> None:
    assert store.acknowledge(database, open_alert(database), "m.weber", "x" * store.MAX_REASON)
