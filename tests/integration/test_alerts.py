"""Alerts in a real PostgreSQL."""

import threading
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from infra.store import alerts as store
from infra.store.alerts import AlertFilter
from infra.store.audit import newest, verify
from infra.store.reasons import MAX_REASON
from infra.store.tables import AlertKind, AlertState, alerts, ensure_day_partitions

from .plans import plan_nodes, rows_read

NOON = datetime(2026, 3, 3, 12, tzinfo=UTC)


def open_alert(
    database: sa.Engine,
    minute: int = 0,
    frame_id: str = "frame",
    camera: str = "cam",
    *,
    kind: str = "defect",
    product: str = "tile",
) -> int:
    at = NOON + timedelta(minutes=minute)
    row = {
        "kind": kind,
        "camera": camera,
        "product": product,
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
    assert [one.id for one in store.list_alerts(database, AlertFilter(AlertState.OPEN))] == [second]
    assert [one.id for one in store.list_alerts(database, AlertFilter(AlertState.ACKNOWLEDGED))] == [first]
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


@pytest.mark.parametrize("reason", ["", " \n\t", "x" * (MAX_REASON + 1), "a\0b"])
def test_a_reason_is_needed(database: sa.Engine, reason: str) -> None:
    alert_id = open_alert(database)
    with pytest.raises(ValueError, match="reason"):
        store.acknowledge(database, alert_id, "m.weber", reason)
    assert store.count_open(database) == 1


def test_the_longest_reason_fits(database: sa.Engine) -> None:
    assert store.acknowledge(database, open_alert(database), "m.weber", "x" * MAX_REASON)


def numbers(found: list[store.Alert]) -> list[int]:
    return [one.id for one in found]


def test_filters_narrow_each_other_and_pages_keep_to_them(database: sa.Engine) -> None:
    wanted = [open_alert(database, minute, camera="left", kind="drift") for minute in (0, 2, 4)]
    open_alert(database, 1, camera="right", kind="drift")
    open_alert(database, 3, camera="left")
    other = open_alert(database, 5, camera="left", kind="drift", product="flange")
    both = AlertFilter(kind=AlertKind.DRIFT, camera="left")
    assert numbers(store.list_alerts(database, both)) == [other, *wanted[::-1]]
    tiles = AlertFilter(AlertState.OPEN, AlertKind.DRIFT, "left", "tile")
    first = store.list_alerts(database, tiles, limit=2)
    assert numbers(first) == wanted[:0:-1]
    assert numbers(store.list_alerts(database, tiles, after=first[-1].key, limit=2)) == wanted[:1]
    assert store.list_alerts(database, AlertFilter(camera="nobody's")) == []


def test_many_are_acknowledged_at_once_each_on_record(database: sa.Engine) -> None:
    opened = [open_alert(database, minute) for minute in range(200)]
    store.acknowledge(database, opened[7], "first", "mine")
    assert store.acknowledge_many(database, [*opened, opened[3]], "m.weber", " lamp replaced ") == 199
    assert store.count_open(database) == 0
    assert [(each.who, each.reason) for each in store.actions(database, opened[7])] == [("first", "mine")]
    assert [(each.who, each.reason) for each in store.actions(database, opened[3])] == [("m.weber", "lamp replaced")]
    rows = newest(database, 199)
    assert {(row.who, row.action, row.reason) for row in rows} == {("m.weber", "acknowledge", "lamp replaced")}
    assert {row.subject for row in rows} == {f"alert {number}" for number in opened if number != opened[7]}
    with database.connect() as connection:
        pairs = connection.execute(sa.text("SELECT alert_id, id FROM alert_actions WHERE who = 'm.weber'"))
        by_subject = {f"alert {alert_id}": number for alert_id, number in pairs}
    assert {row.subject: row.detail["alert_action"] for row in rows} == by_subject
    assert verify(database).broken is None
    assert store.acknowledge_many(database, [], "m.weber", "none") == 0


@pytest.mark.parametrize("unknown", [0, -1, 4711, 2**63, 10**30])
def test_of_many_with_an_unknown_number_none_is_acknowledged(database: sa.Engine, unknown: int) -> None:
    opened = [open_alert(database, minute) for minute in range(3)]
    with pytest.raises(LookupError, match=f"there is no alert {unknown}"):
        store.acknowledge_many(database, [*opened, unknown], "m.weber", "seen")
    assert store.count_open(database) == 3
    assert newest(database, 1) == []


def test_two_people_who_acknowledge_many_at_once_share_them_without_a_deadlock(database: sa.Engine) -> None:
    opened = [open_alert(database, minute) for minute in range(60)]
    together = threading.Barrier(4)
    won: dict[str, int] = {}
    failed: list[Exception] = []

    def acknowledge(who: str, numbers: list[int]) -> None:
        together.wait(timeout=30)
        try:
            won[who] = store.acknowledge_many(database, numbers, who, "seen")
        except Exception as error:
            failed.append(error)

    def one_by_one(who: str) -> None:
        together.wait(timeout=30)
        try:
            won[who] = sum(store.acknowledge(database, number, who, "seen") for number in reversed(opened))
        except Exception as error:
            failed.append(error)

    threads = [
        threading.Thread(target=acknowledge, args=("first", opened)),
        threading.Thread(target=acknowledge, args=("second", opened[::-1])),
        threading.Thread(target=acknowledge, args=("third", opened[::2] + opened[1::2])),
        threading.Thread(target=one_by_one, args=("fourth",)),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    assert failed == []
    assert sum(won.values()) == 60
    with database.connect() as connection:
        per_alert = "SELECT count(*), count(DISTINCT alert_id) FROM alert_actions"
        assert tuple(connection.execute(sa.text(per_alert)).one()) == (60, 60)
    assert verify(database).rows == 60


def test_an_alert_is_resolved_once_also_where_nobody_acknowledged_it(database: sa.Engine) -> None:
    opened = [open_alert(database, minute) for minute in range(2)]
    store.acknowledge(database, opened[0], "first", "I look")
    for number in opened:
        assert store.resolve(database, number, "m.weber", "lamp replaced")
        assert not store.resolve(database, number, "second", "again")
        assert not store.acknowledge(database, number, "second", "too late")
        found = store.alert(database, number)
        assert found is not None
        assert (found.state, found.outcome) == (AlertState.RESOLVED, None)
        assert found.resolved_at is not None
        assert store.actions(database, number)[-1].action == "resolve"
    assert [row.action for row in newest(database, 9)] == ["resolve", "resolve", "acknowledge"]
    assert numbers(store.list_alerts(database, AlertFilter(AlertState.RESOLVED))) == opened[::-1]
    with pytest.raises(LookupError):
        store.resolve(database, 4711, "m.weber", "why")


_MANY = """
INSERT INTO alerts (kind, camera, product, received_at, frame_id, state, resolved_at, opened_at)
SELECT CASE WHEN n % 1000 = 7 THEN 'drift' ELSE 'defect' END, 'cam-' || n % 50,
       CASE WHEN n % 2000 < 2 THEN 'rare' ELSE 'tile' END,
       :noon, 'frame-' || n, state, CASE WHEN state = 'resolved' THEN now() END, :noon - n * interval '1 min'
FROM generate_series(1, 10000) AS n,
     LATERAL (SELECT CASE WHEN n % 2500 = 3 THEN 'resolved' WHEN n % 10 = 1 THEN 'open' ELSE 'acknowledged' END AS state) AS s
"""


@pytest.mark.parametrize(
    ("wanted", "page", "index"),
    [
        (AlertFilter(kind=AlertKind.DRIFT), 10, "alerts_kind"),
        (AlertFilter(product="rare"), 10, "alerts_product"),
        (AlertFilter(camera="cam-3"), 20, "alerts_camera"),
        (AlertFilter(camera="silent since ever"), 0, "alerts_camera"),
        (AlertFilter(AlertState.RESOLVED), 4, "alerts_state"),
        (AlertFilter(AlertState.ACKNOWLEDGED), 20, ""),
        (AlertFilter(AlertState.OPEN), 20, ""),
        (AlertFilter(), 20, "alerts_newest"),
        (AlertFilter(AlertState.ACKNOWLEDGED, AlertKind.DRIFT, "cam-7", "tile"), 10, ""),
    ],
)
def test_of_10000_alerts_a_page_reads_about_as_many_as_it_shows(
    database: sa.Engine, wanted: AlertFilter, page: int, index: str
) -> None:
    with database.begin() as connection:
        connection.execute(sa.text(_MANY), {"noon": NOON})
    with database.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("VACUUM ANALYZE alerts"))
    found = store.list_alerts(database, wanted, limit=20)
    assert len(found) == page
    for after in (None, found[0].key if found else None):
        query = store.list_alerts_query(wanted, after, 20)
        scans = [node for node in plan_nodes(database, query) if node.get("Relation Name") == "alerts"]
        assert scans
        assert "Seq Scan" not in {scan["Node Type"] for scan in scans}
        assert sum(map(rows_read, scans)) <= 250
    if index:
        assert index in {
            node.get("Index Name") for node in plan_nodes(database, store.list_alerts_query(wanted, None, 20))
        }
