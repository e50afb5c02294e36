"""What the line page asks of the store, on a real PostgreSQL."""

from datetime import datetime, timedelta

import pytest
import sqlalchemy as sa

from infra.store import line as store
from infra.store.line import Heard, OpenAlerts
from infra.store.positions import claim
from infra.store.results import write_batch
from infra.store.runs import report_accepted, report_ended
from infra.store.tables import alerts, camera_runs

from .rows import FIRST, NOON, batch, unjudged

MINUTE = timedelta(minutes=1)


def open_alert(database: sa.Engine, camera: str, kind: str = "defect", **changes: object) -> int:
    row = {"kind": kind, "camera": camera, "product": "tile", "received_at": NOON, "frame_id": "f"} | changes
    with database.begin() as connection:
        return int(connection.execute(sa.insert(alerts).values(row).returning(alerts.c.id)).scalar_one())


def test_a_camera_was_heard_of_when_its_newest_run_was(database: sa.Engine) -> None:
    report_accepted(database, "cam", "old", 5)
    report_ended(database, "cam", "old")
    report_accepted(database, "cam", "new", 1)
    report_accepted(database, "other", "only", 1)
    report_ended(database, "other", "only")
    report_accepted(database, "", "nobody", 1)
    heard = store.last_heard(database)
    with database.connect() as connection:
        newest = connection.scalar(sa.select(camera_runs.c.updated_at).where(camera_runs.c.run == "new"))
    assert heard.keys() == {"cam", "other"}
    assert heard["cam"] == Heard(newest, ended=False)
    assert heard["other"].ended


def test_open_alerts_are_counted_by_camera_and_the_newest_is_not_about_drift_if_it_can_be(database: sa.Engine) -> None:
    defect = open_alert(database, "cam")
    open_alert(database, "cam", "drift")
    drift = open_alert(database, "drifting", "drift")
    open_alert(database, "cam", state="acknowledged")
    stopped = open_alert(database, "", "dead_letters")
    assert store.open_alerts(database) == {
        "cam": OpenAlerts(2, 1, defect),
        "drifting": OpenAlerts(1, 1, drift),
        "": OpenAlerts(1, 0, stopped),
    }


@pytest.mark.parametrize(("received_at", "counts"), [(NOON, True), (NOON - MINUTE, False)])
def test_false_alarms_are_those_of_frames_since_then(database: sa.Engine, received_at: datetime, counts: bool) -> None:
    about = {"received_at": received_at, "opened_at": received_at, "state": "resolved", "resolved_at": NOON}
    open_alert(database, "cam", outcome="false_alarm", **about)
    open_alert(database, "cam", outcome="real_defect", **about)
    open_alert(database, "cam", **about)
    open_alert(database, "other", received_at=NOON - MINUTE, opened_at=NOON)
    assert store.false_alarms(database, NOON) == ({"cam": 1} if counts else {})


def test_a_false_alarm_that_was_opened_by_a_clock_behind_the_bus_counts(database: sa.Engine) -> None:
    about = {"opened_at": NOON - MINUTE, "state": "resolved", "resolved_at": NOON}
    open_alert(database, "cam", outcome="false_alarm", received_at=NOON, **about)
    assert store.false_alarms(database, NOON) == {"cam": 1}


def test_frames_are_counted_by_camera_since_then(database: sa.Engine) -> None:
    rows = [unjudged(str(n), n, camera="a" if n % 3 else "b", received_at=NOON + n * MINUTE) for n in range(9)]
    write_batch(database, [claim(database, FIRST, "scorer")], batch(*rows), 7)
    assert store.frames_since(database, NOON + 3 * MINUTE) == {"a": 4, "b": 2}
