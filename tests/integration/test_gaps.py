"""Alerts of gaps in the ledger, on a real PostgreSQL: one a gap, whoever looks and however often."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
import structlog

from infra.store import alerts as alert_store
from infra.store.alerts import Alert, AlertFilter
from infra.store.gaps import Gap, raise_gap_alert, untold_gaps, untold_gaps_query
from infra.store.ledger import Accounted, count
from infra.store.models import RegisteredModel
from infra.store.runs import report_accepted
from infra.store.tables import AlertState
from scorer.gaps import STANDS_S, GapAlarm
from scorer.watch import LOOK_EVERY_S

from .line import RUN, Line


def account(database: sa.Engine, *sequences: int, camera: str = "cam", run: str = "run") -> None:
    with database.begin() as connection:
        count(connection, [Accounted(camera, "GOOD", "", run, sequence) for sequence in sequences])


class Looks:
    """A scorer's looks at the ledger, with the time in hand."""

    def __init__(self, database: sa.Engine) -> None:
        self.now = 1000.0
        self.alarm = GapAlarm(database, structlog.get_logger(), lambda: self.now)

    def for_s(self, seconds: float) -> None:
        """Look, and again every LOOK_EVERY_S until so many seconds are over."""
        until = self.now + seconds
        self.alarm.look()
        while self.now < until:
            self.now += LOOK_EVERY_S
            self.alarm.look()


@pytest.fixture
def looks(database: sa.Engine) -> Looks:
    return Looks(database)


def gaps_told(database: sa.Engine) -> list[tuple[str, str | None, int | None]]:
    """Camera, run and missing frames of every alert there is, oldest first."""
    return [(one.camera, one.run, one.missing) for one in reversed(alert_store.list_alerts(database))]


def acknowledge(database: sa.Engine) -> None:
    for one in alert_store.list_alerts(database, AlertFilter(AlertState.OPEN)):
        alert_store.acknowledge(database, one.id, "m.weber", "the cable")


def test_a_gap_that_stands_is_one_alert_however_often_it_is_looked_at(database: sa.Engine, looks: Looks) -> None:
    account(database, 0, 1, 4)
    looks.for_s(STANDS_S - LOOK_EVERY_S)
    assert gaps_told(database) == []
    looks.for_s(100)
    assert gaps_told(database) == [("cam", "run", 2)]


def test_the_alert_says_what_is_missing_and_is_about_no_frame(database: sa.Engine, looks: Looks) -> None:
    account(database, 0, 3)
    looks.for_s(STANDS_S)
    (alert,) = alert_store.list_alerts(database)
    with database.connect() as connection:
        heard_of = connection.scalar(sa.text("SELECT updated_at FROM camera_runs"))
    expected = Alert(
        alert.id,
        kind="ledger_gap",
        camera="cam",
        product="",
        received_at=heard_of,  # type: ignore[arg-type]
        frame_id="",
        state=AlertState.OPEN,
        opened_at=alert.opened_at,
        verdict=None,
        run="run",
        missing=2,
    )
    assert alert == expected


def test_a_gap_that_closes_before_it_has_stood_was_none(database: sa.Engine, looks: Looks) -> None:
    for sequence in range(0, 12, 2):  # old and new frames of a camera are read side by side
        account(database, sequence + 1)
        looks.for_s(LOOK_EVERY_S)
        account(database, sequence)
        looks.for_s(LOOK_EVERY_S)
    looks.for_s(100)
    assert gaps_told(database) == []


def test_only_what_was_missing_all_the_time_is_told(database: sa.Engine, looks: Looks) -> None:
    account(database, 0, 5)
    looks.for_s(LOOK_EVERY_S)
    account(database, 1, 2, 3)
    looks.for_s(LOOK_EVERY_S)
    assert gaps_told(database) == [("cam", "run", 1)]


def test_an_acknowledged_gap_is_not_raised_again(database: sa.Engine, looks: Looks) -> None:
    account(database, 0, 2)
    looks.for_s(STANDS_S)
    acknowledge(database)
    account(database, 3, 4)
    looks.for_s(100)
    Looks(database).for_s(100)  # a scorer that was started since
    assert gaps_told(database) == [("cam", "run", 1)]


def test_a_gap_that_has_grown_is_told_once_the_alert_before_it_is_acknowledged(
    database: sa.Engine, looks: Looks
) -> None:
    account(database, 0, 2)
    looks.for_s(STANDS_S)
    for sequence in (4, 6, 8):
        account(database, sequence)
        looks.for_s(50)
    assert gaps_told(database) == [("cam", "run", 1)]
    acknowledge(database)
    looks.for_s(100)
    assert gaps_told(database) == [("cam", "run", 1), ("cam", "run", 4)]


def test_a_gap_that_closes_raises_nothing_and_the_next_one_is_new(database: sa.Engine, looks: Looks) -> None:
    account(database, 0, 3)
    looks.for_s(STANDS_S)
    acknowledge(database)
    account(database, 1, 2)
    looks.for_s(100)
    assert gaps_told(database) == [("cam", "run", 2)]
    account(database, 5)
    looks.for_s(STANDS_S)
    assert gaps_told(database) == [("cam", "run", 2), ("cam", "run", 1)]


def test_runs_are_told_apart(database: sa.Engine, looks: Looks) -> None:
    account(database, 1)
    account(database, 2, run="other")
    account(database, 0, 1, camera="whole")
    account(database, 3, camera="")
    report_accepted(database, "on its way", "run", 9)
    looks.for_s(100)
    assert sorted(map(str, gaps_told(database))) == sorted(
        map(str, [("cam", "run", 1), ("cam", "other", 2), ("", "run", 3)])
    )


def test_of_several_scorers_that_look_at_once_one_raises_the_alert(database: sa.Engine) -> None:
    account(database, 0, 2)
    (gap,) = untold_gaps(database)
    together = threading.Barrier(6)
    raised: list[bool] = []

    def raise_it(missing: int) -> None:
        together.wait(30)
        raised.append(raise_gap_alert(database, Gap(gap.camera, gap.run, missing)))

    threads = [threading.Thread(target=raise_it, args=(gap.missing + n % 2,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(raised) == [False] * 5 + [True]
    assert gaps_told(database) == [("cam", "run", 1)]


def test_a_gap_that_closed_between_look_and_alert_is_not_raised(database: sa.Engine) -> None:
    account(database, 0, 3)
    (gap,) = untold_gaps(database)
    account(database, 1)
    assert raise_gap_alert(database, gap)
    assert gaps_told(database) == [("cam", "run", 1)]  # what is left of it
    account(database, 2)
    assert not raise_gap_alert(database, gap)


def test_a_look_reads_no_run_without_an_untold_gap(database: sa.Engine) -> None:
    with database.begin() as connection:
        fill = "INSERT INTO camera_runs (camera, run, last_sequence, accounted) SELECT 'cam-' || n, 'run', 9, 10 FROM "
        connection.execute(sa.text(fill + "generate_series(1, 20000) AS n"))
    account(database, 0, 2)
    with database.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("VACUUM ANALYZE camera_runs"))
    query = untold_gaps_query().compile(dialect=database.dialect, compile_kwargs={"render_postcompile": True})
    with database.connect() as connection:
        explained = connection.exec_driver_sql(f"EXPLAIN (ANALYZE, FORMAT JSON) {query}", query.params)
        waiting: list[dict[str, Any]] = [explained.scalar_one()[0]["Plan"]]
    scans = []
    while waiting:
        node = waiting.pop()
        waiting += node.get("Plans", [])
        scans += [node] if node.get("Relation Name") == "camera_runs" else []
    assert [(scan["Index Name"], scan["Actual Rows"]) for scan in scans] == [("camera_runs_gaps", 1)]


def test_the_row_of_a_running_camera_is_still_updated_in_place(database: sa.Engine) -> None:
    account(database, 0)
    with database.begin() as connection:
        for sequence in range(1, 6):
            count(connection, [Accounted("cam", "GOOD", "", "run", sequence)])
        updated = "SELECT pg_stat_get_xact_tuples_hot_updated('camera_runs'::regclass)"
        assert connection.scalar(sa.text(updated)) == 5


def test_a_scorer_looks_every_few_seconds_also_while_no_frame_comes(
    line: Line, put_in_force: Callable[[], RegisteredModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    put_in_force()
    frames = [line.frame() for _ in range(4)]
    line.send(frames[0], frames[3])
    worker = line.worker()
    now = 1000.0
    worker.gaps._monotonic = lambda: now  # type: ignore[method-assign]
    worker.watch._monotonic = lambda: now  # type: ignore[method-assign]
    monkeypatch.setattr("scorer.worker._POLL_S", 0.05)
    worker.run(until_idle_s=0.1)
    for _ in range(10):
        now += LOOK_EVERY_S
        worker.run(until_idle_s=0.1)
    assert gaps_told(line.database)[-1] == ("cam", RUN, 2)
    assert len([one for one in gaps_told(line.database) if one[1] is not None]) == 1
