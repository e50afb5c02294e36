"""What each service's role can do in PostgreSQL, as login users of the test's own; and what none of them can."""

import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

import psycopg
import pytest
import sqlalchemy as sa
import structlog

from infra.clock import utc_now
from infra.engines import Engines
from infra.errors import EngineError, OutputError
from infra.refit_due import DueRule, look_due
from infra.store import alerts as alert_store
from infra.store import line as line_now
from infra.store.alert_outcomes import Judged, judge
from infra.store.attempts import Attempt, unfinished, write_down
from infra.store.audit import newest, verify
from infra.store.camera_health import raise_trouble, silent_cameras
from infra.store.changed_frames import changed_page, looked, seen_since_registered
from infra.store.connect import open_database, transaction
from infra.store.curation import (
    NewDecision,
    decide,
    decide_as_seen,
    kept_frames,
    open_frames,
    products_of_pictures,
    products_with_decisions,
)
from infra.store.curation_queue import curation_counts, frames_as_they_stand, open_stretch, products_to_curate
from infra.store.dead_letters import raise_limit_alert
from infra.store.drift import SeenVerdict, camera_turn, drift_rows
from infra.store.drift_history import DriftMinute, drift_buckets
from infra.store.drift_standings import calibrations, drift_standings
from infra.store.gaps import raise_gap_alert, untold_gaps
from infra.store.ledger import Accounted, count, missing_frames, read_ledger
from infra.store.line_pace import camera_paces
from infra.store.model_requests import (
    QUICK,
    NewRequest,
    ask,
    beat,
    cancel,
    conclude,
    put_back,
    requests_of,
    take,
    tell_progress,
)
from infra.store.model_versions import histogram_of, newest_versions, products_of_models
from infra.store.models import known_products, models_in_force, register_in_force
from infra.store.outbox import OutboxKind, backlog
from infra.store.output_cursors import forget, forget_idle, output_states, output_turn, prune, subscribe
from infra.store.output_refusals import refusal_counts, refusals, send_again
from infra.store.position_reset import reset_position
from infra.store.positions import all_positions, claim, stored_positions
from infra.store.promotions import promote, promotions_of, rollback, set_shadow
from infra.store.results import write_batch
from infra.store.rolling import roll, waiting
from infra.store.rollups import rollup_series, rollup_sums
from infra.store.runs import report_accepted, report_ended, report_skipped
from infra.store.schema import migrate, prepare_days
from infra.store.search import Search, search_verdicts
from infra.store.second_verdicts import SecondVerdict, add_second, changed_verdicts, frames_to_replay, seen_by
from infra.store.tables import (
    AlertOutcome,
    CameraTrouble,
    DriftCause,
    DriftKind,
    FrameDecision,
    RequestKind,
    RequestOutcome,
    SecondSource,
    SkipReason,
    VerdictState,
    metadata,
)
from infra.store.traces import read_trace
from infra.store.verdicts import cameras, heatmap, neighbours, verdict
from scorer.drift import DriftAlarm
from scorer.drift_report import drift_report

from .rows import FIRST, MODEL, NOON, batch, dead, heat_of, judged, register_candidate

RUNTIME = ("ingest", "scorer", "relay", "trainer", "dashboard")
ROLLED = set(metadata.tables["verdict_rollups"].columns.keys()) - {"camera", "at", "product", "model_id"}
PASSWORD = "opensesame"
pytestmark = pytest.mark.usefixtures("line")
UserOf = Callable[[str], sa.Engine]
DONE = RequestOutcome.DONE


@pytest.fixture(scope="session")
def logins(engines: Engines) -> Iterator[dict[str, str]]:
    """A login user for each role, made as the README says; gone with the run's server."""
    url = sa.make_url(engines.database_url).set(database="postgres")  # a session in the template would be in the way
    admin = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    users = {}
    with admin.connect() as connection:
        for service in (*RUNTIME, "migrator", "nobody"):
            users[service] = f"{service}_{uuid.uuid4().hex[:8]}"
            connection.execute(sa.text(f"CREATE USER {users[service]} PASSWORD '{PASSWORD}'"))
            if service != "nobody":
                connection.execute(sa.text(f"GRANT differline_{service} TO {users[service]}"))
    yield users
    with admin.connect() as connection:
        for user in users.values():
            connection.execute(sa.text(f"DROP ROLE {user}"))
    admin.dispose()


@pytest.fixture
def user_of(logins: dict[str, str], database_url: str) -> Iterator[UserOf]:
    """Connects as the user of a service."""
    opened: list[sa.Engine] = []

    def connect(service: str) -> sa.Engine:
        url = sa.make_url(database_url).set(username=logins[service], password=PASSWORD)
        opened.append(open_database(url.render_as_string(hide_password=False), pool_size=1))
        return opened[-1]

    yield connect
    for engine in opened:
        engine.dispose()


@pytest.fixture
def line(database: sa.Engine) -> sa.Engine:
    """A database with a model, a verdict, a dead letter, an alert that was acknowledged, and an outbox."""
    model = register_in_force(database, MODEL)
    report_accepted(database, "cam", "run", 2)
    good = judged("good", 0, model.id, run="run", sequence=0)
    bad = judged("bad", 1, model.id, "DEFECT", run="run", sequence=1)
    whole = batch(good, bad, dead("dead", 2), heatmaps=[heat_of(bad)])
    write_batch(database, [claim(database, FIRST, "first")], whole, 7, fill_outbox=True)
    alert_store.acknowledge(database, 1, "somebody", "seen")
    return database


def refused(engine: sa.Engine, statement: str) -> bool:
    """Whether PostgreSQL refuses a statement for want of a right; an error of another kind is none."""
    try:
        with engine.connect() as connection:
            connection.execute(sa.text(statement))
            connection.rollback()
    except sa.exc.ProgrammingError as error:
        if not isinstance(error.orig, psycopg.errors.InsufficientPrivilege):
            raise
        return True
    return False


def test_ingest_reports_what_was_accepted(line: sa.Engine, user_of: UserOf) -> None:
    ingest = user_of("ingest")
    report_accepted(ingest, "cam", "run", 5)
    report_accepted(ingest, "other", "first", 1)
    report_ended(ingest, "other", "first")
    report_accepted(ingest, "other", "first", 1, captured=3)
    for frames in (1, 2):
        report_skipped(ingest, "other", "first", {SkipReason.BUS_AWAY: frames})
    ledger = read_ledger(line, lambda _: False)
    assert [(camera.camera, camera.waiting) for camera in ledger.cameras] == [("cam", 3), ("other", 1)]
    assert (ledger.cameras[1].spooled, ledger.cameras[1].skipped) == (2, {"bus_away": 2})


def test_a_scorer_does_all_of_its_work(line: sa.Engine, user_of: UserOf) -> None:
    scorer = user_of("scorer")
    assert known_products(scorer) == {"tile"}
    model = models_in_force(scorer)["tile"]
    mine = claim(scorer, FIRST, "second")
    assert unfinished(scorer, mine) is None
    write_down(scorer, [mine], [Attempt(FIRST, 3, 5, 1)], "second")
    write_down(scorer, [mine], [Attempt(FIRST, 3, 5, 2)], "second")
    with transaction(scorer) as connection:
        prepare_days(connection, NOON + timedelta(days=365))
    bad = judged("worse", 3, model.id, "DEFECT", run="run", sequence=2)
    again = judged("good", 4, model.id, run="run", sequence=3)
    whole = batch(bad, again, dead("deader", 5), heatmaps=[heat_of(bad)])
    written = write_batch(scorer, [mine], whole, 7, dead_letters_per_minute=60, fill_outbox=True)
    assert (written.frames, written.duplicates) == (2, 1)
    assert verdict(line, "cam", "worse") is not None
    assert alert_store.count_open(line) == 1
    assert raise_limit_alert(scorer, "cam", NOON, "deader")
    with line.begin() as connection:
        count(connection, [Accounted("cam", "GOOD", "", "run", 7)])
    (gap,) = untold_gaps(scorer)
    assert raise_gap_alert(scorer, gap)
    assert untold_gaps(scorer) == []
    assert silent_cameras(scorer, timedelta(0)) != []
    assert raise_trouble(scorer, "cam", CameraTrouble.SILENT, NOON, told_since=NOON)
    assert not raise_trouble(scorer, "cam", CameraTrouble.SILENT, NOON, told_since=NOON)
    look_for_drift(scorer)
    assert all(roll(scorer, due) for due in waiting(scorer, timedelta(0), 10))
    assert roll_again(line, scorer)
    (total,) = rollup_sums(line, NOON, NOON + timedelta(hours=1))
    assert (total.frames, total.defects) == (3, 2)
    assert {(row.product, row.kind, row.parts) for row in drift_rows(line)} == {("tile", "quality", 0)}
    assert reset_position(scorer, FIRST, "m.weber", lambda _: 0).before == 6
    with line.connect() as connection:
        owner = "SELECT tableowner FROM pg_tables WHERE tablename = 'verdicts_20270303'"
        assert connection.scalar(sa.text(owner)) == "differline_migrator"


def roll_again(line: sa.Engine, scorer: sa.Engine) -> bool:
    """Count what has been counted before."""
    with line.begin() as connection:
        connection.execute(sa.text("INSERT INTO rollup_marks SELECT camera, at FROM verdict_rollups"))
    (due,) = waiting(scorer, timedelta(0), 10)
    return roll(scorer, due)


def look_for_drift(scorer: sa.Engine) -> None:
    """All that a scorer does about drift, an alert too."""
    DriftAlarm(scorer, structlog.get_logger(), lambda _: None, lambda: NOON).look()
    with camera_turn(scorer, "cam") as turn:
        assert turn is not None
        assert len(turn.rows()) == 1
        turn.keep_history(
            [DriftMinute("cam", "tile", DriftKind.SCORE, 1, NOON, 1, 0.5, 0.5, True, False)] * 2, utc_now()
        )
        seen = SeenVerdict(NOON, 0, "good", "tile", None, "GOOD", None, None, None, None, None)
        alert = turn.open_alert(seen, DriftCause.PRODUCT)
        turn.say_cause(alert, DriftCause.LENS_OR_LIGHT)


def test_the_relay_publishes_and_takes_out(line: sa.Engine, user_of: UserOf) -> None:
    relay = user_of("relay")
    assert backlog(relay).rows == 3
    subscribe(relay, {"kafka": frozenset(OutboxKind), "webhook": {OutboxKind.VERDICT}})
    assert [each.camera for each in camera_paces(relay)] == ["cam"]
    with output_turn(relay, "kafka") as turn:
        assert turn is not None
        for kind, at in turn.cursors().items():
            rows = turn.take(kind, at.key, 10)
            assert all(row.content is not None for row in rows)
            turn.advance(kind, rows[-1].key, 1, [(rows[-1], "no")])
        turn.keep()
        assert turn.refused_lately() == 2
        assert send_again(relay, "kafka", None, who="somebody", reason="mended") == 2
        for number, _ in turn.again():
            turn.settle_again(number, None)
    assert refusals(relay) == []
    assert [each.waiting.rows for each in output_states(relay)] == [0, 2]
    with pytest.raises(OutputError), output_turn(line, "webhook"):
        forget(relay, "webhook", who="somebody", reason="gone")
    assert forget_idle(relay, timedelta(days=1), "relay") == []
    forget(relay, "webhook", who="somebody", reason="gone")
    assert prune(relay) == 3
    assert backlog(line).rows == 0


def test_the_dashboard_sees_how_outputs_stand_and_moves_none(user_of: UserOf) -> None:
    dashboard = user_of("dashboard")
    assert (output_states(dashboard), refusals(dashboard), refusal_counts(dashboard)) == ([], [], {})
    assert backlog(dashboard).rows == 3


def test_a_trainer_registers_a_model(line: sa.Engine, user_of: UserOf) -> None:
    trainer = user_of("trainer")
    calibrated = replace(
        MODEL, calibration_quantiles=(0.5, 1.0), calibration_quality=((5.0, 6.0), (1.0, 2.0), (3.0, 4.0))
    )
    assert register_in_force(trainer, calibrated).version == 2
    assert models_in_force(line)["tile"].version == 2


def test_a_trainer_curates_refits_promotes_and_replays(user_of: UserOf) -> None:
    trainer = user_of("trainer")
    picture = NewDecision("tile", "ab" * 32, FrameDecision.RELEASED, "m.weber", "looked at")
    assert decide(trainer, [picture]) == 1
    assert products_with_decisions(trainer) == ["tile"]
    assert kept_frames(trainer, "tile") == []
    assert open_frames(trainer, "tile") == []
    assert products_of_pictures(trainer, ["ab" * 32]) == {}
    assert alert_store.opened_since(trainer, "defect", "tile", NOON - timedelta(days=10_000)) == 1
    candidate = register_candidate(trainer, replace(MODEL, attainable_rate=MODEL.false_alarm_rate))
    set_shadow(trainer, "tile", candidate.version, "m.weber")
    promote(trainer, "tile", candidate.version, who="m.weber", reason="new lamp")
    assert rollback(trainer, "tile", who="m.weber", reason="false alarms").version == 1
    assert len(promotions_of(trainer, "tile")) == 3
    with transaction(trainer) as connection:
        assert add_second(connection, [second(candidate.id, "good")]) == 1
    assert seen_by(trainer, candidate.id).frames == 1
    assert changed_verdicts(trainer, candidate.id) == []
    assert frames_to_replay(trainer, "tile", candidate.id, NOON, NOON + timedelta(days=1)) == []


def test_a_scorer_writes_what_the_model_in_shadow_says(user_of: UserOf) -> None:
    with transaction(user_of("scorer")) as connection:
        assert add_second(connection, [second(1, "good"), second(1, "bad")]) == 2
        assert add_second(connection, [second(1, "good")]) == 0


def second(model_id: int, frame_id: str) -> SecondVerdict:
    """What a model says of a frame of the line."""
    at = NOON + timedelta(milliseconds=0 if frame_id == "good" else 1)
    found = (VerdictState.GOOD, 1.0, 0.5, 1.5, 8, NOON)
    return SecondVerdict(model_id, at, "cam", frame_id, SecondSource.SHADOW, "tile", *found)


def test_the_dashboard_reads_everything_and_acknowledges(line: sa.Engine, user_of: UserOf) -> None:
    dashboard = user_of("dashboard")
    with line.begin() as connection:
        connection.execute(sa.text("UPDATE alerts SET state = 'open'"))
    assert cameras(dashboard) == ["cam"]
    assert missing_frames(dashboard) == {}
    assert heatmap(dashboard, "cam", "bad", NOON + timedelta(milliseconds=1)) == b"png of bad"
    assert alert_store.acknowledge(dashboard, 1, "supervisor", "a scratch")
    assert [action.who for action in alert_store.actions(dashboard, 1)] == ["somebody", "supervisor"]
    assert verify(dashboard).rows == 3
    assert [row.who for row in newest(dashboard, 2)] == ["supervisor", "somebody"]
    (traced,) = read_trace(dashboard, "bad").verdicts
    assert traced.model is not None
    assert [deed.who for deed in (*traced.model.put_in_force, *traced.alerts[0].acknowledged)] == [
        "test",
        "somebody",
        "supervisor",
    ]
    (alert,) = alert_store.list_alerts(dashboard)
    assert alert.verdict is not None
    with transaction(dashboard) as connection:
        assert stored_positions(connection, "frames") == {FIRST: 3}
    assert [each.next_offset for each in all_positions(dashboard)] == [3]
    with pytest.raises(sa.exc.ProgrammingError, match="permission denied"):
        reset_position(dashboard, FIRST, "supervisor", lambda _: 0)
    assert read_ledger(dashboard, lambda _: True).accounted == 3
    assert drift_report(dashboard) == []
    assert drift_standings(dashboard) == []
    assert set(calibrations(dashboard, {1})) == {1}
    hour = timedelta(hours=1)
    assert drift_buckets(dashboard, "cam", "tile", since=NOON, until=NOON + hour, step=hour) == []
    assert line_now.last_heard(dashboard).keys() == line_now.open_alerts(dashboard).keys() | {"cam"}
    assert line_now.false_alarms(dashboard, NOON) == {}
    assert line_now.frames_since(dashboard, NOON) == {"cam": 2}
    assert rollup_sums(dashboard, NOON, NOON + timedelta(hours=1)) == []  # nobody has counted yet
    assert rollup_series(dashboard, "cam", NOON, NOON + timedelta(hours=1)).buckets == ()
    assert [found.frame_id for found in search_verdicts(dashboard, Search(camera="cam")).verdicts] == ["bad", "good"]
    assert len(neighbours(dashboard, "cam", "bad", NOON + timedelta(milliseconds=1), 3)) == 1


def test_the_dashboard_says_what_an_alert_turned_out_to_be(line: sa.Engine, user_of: UserOf) -> None:
    kept = judged("kept", 9, 1, "DEFECT", archive_ref="aa/1", sha256="ef" * 32)
    write_batch(user_of("scorer"), [claim(line, FIRST, "second")], batch(kept), 7)
    with line.connect() as connection:
        number = connection.execute(sa.text("SELECT id FROM alerts WHERE frame_id = 'kept'")).scalar_one()
    done = judge(user_of("dashboard"), number, "supervisor", "a hair", AlertOutcome.FALSE_ALARM)
    assert done == Judged(resolved=True, decision=FrameDecision.RELEASED)


def test_a_dashboard_curates_and_says_when_a_refit_is_due(line: sa.Engine, user_of: UserOf) -> None:
    dashboard = user_of("dashboard")
    kept = judged("kept", 9, 1, archive_ref="x", sha256="cd" * 32)
    write_batch(
        user_of("scorer"), [claim(line, FIRST, "second")], batch(kept), 7
    )  # the trigger needs no right of theirs
    assert products_to_curate(dashboard) == ["tile"]
    assert open_stretch(dashboard, "tile", 0.05, quarantined=False).sha256 == ("cd" * 32,)
    picture = NewDecision("tile", "cd" * 32, FrameDecision.RELEASED, "m.weber", "looked at")
    assert list(decide_as_seen(dashboard, [picture], {"cd" * 32: None}).recorded) == ["cd" * 32]
    (stands,) = frames_as_they_stand(dashboard, "tile", ["cd" * 32])
    assert stands.decision is FrameDecision.RELEASED
    assert curation_counts(dashboard, "tile", 0.05).released == 1
    assert look_due(dashboard, "tile", DueRule(timedelta(days=30), 200), NOON).unknown == 1


def test_the_dashboard_asks_and_the_trainer_does(line: sa.Engine, user_of: UserOf) -> None:
    dashboard, trainer = user_of("dashboard"), user_of("trainer")
    register_candidate(trainer, replace(MODEL, attainable_rate=MODEL.false_alarm_rate))
    number = ask(dashboard, NewRequest("tile", RequestKind.PROMOTE, "m.weber", "new lamp", 2), "engineer")
    ask(dashboard, NewRequest("tile", RequestKind.REFIT, "m.weber", "new lamp"), "engineer")
    (refit, promotion) = requests_of(dashboard, "tile")
    assert cancel(dashboard, refit.id, "m.weber", "engineer")
    taken = take(trainer, "worker", QUICK)
    assert taken is not None
    assert taken.id == promotion.id == number
    beat(trainer, taken)
    tell_progress(trainer, taken, "fit", 0.5)
    put_back(trainer, taken)
    again = take(trainer, "worker", QUICK)
    assert again is not None
    promote(
        trainer, "tile", 2, who=again.who, reason=again.reason, along=lambda c, _: conclude(c, again, DONE, "in force")
    )
    assert requests_of(dashboard, "tile")[1].outcome is DONE
    assert models_in_force(line)["tile"].version == 2
    assert [model.version for model in newest_versions(dashboard, "tile")] == [2, 1]
    assert products_of_models(dashboard) == ["tile"]
    assert histogram_of(dashboard, 1) is None
    assert looked(dashboard, 1).frames == 0
    assert changed_page(dashboard, 1, None, None, 10) == []
    assert seen_since_registered(dashboard, 1, NOON).frames == 0


@pytest.mark.parametrize("service", RUNTIME)
def test_no_service_can_delete(user_of: UserOf, service: str) -> None:
    user = user_of(service)
    deletable = {name for name in (*metadata.tables, "alembic_version") if not refused(user, f"DELETE FROM {name}")}
    # What waits to be sent, or to be counted, is no record of anything.
    assert deletable == {"relay": {"outbox", "output_cursors"}, "scorer": {"rollup_marks"}}.get(service, set())
    assert all(refused(user, f"TRUNCATE {name}") for name in (*metadata.tables, "alembic_version"))


@pytest.mark.parametrize("service", RUNTIME)
def test_no_service_can_change_what_was_found_or_done(user_of: UserOf, service: str) -> None:
    user = user_of(service)
    for name in (
        "verdicts",
        "heatmaps",
        "dead_letters",
        "alert_actions",
        "audit_log",
        "curation",
        "decisions",
        "promotions",
        "role_limits",
        "second_verdicts",
        "outbox",
        "rollup_marks",
        "alembic_version",
    ):
        table = metadata.tables.get(name)
        ours = [] if table is None else [c.name for c in table.columns if c.identity is None and c.computed is None]
        columns = ours or ["version_num"]
        changeable = [column for column in columns if not refused(user, f"UPDATE {name} SET {column} = {column}")]
        assert changeable == []


@pytest.mark.parametrize(
    ("service", "changeable"),
    [
        (
            "ingest",
            {
                "camera_runs.accepted",
                "camera_runs.captured",
                "camera_runs.ended_at",
                "camera_runs.updated_at",
                "skipped_frames.frames",
                "skipped_frames.updated_at",
            },
        ),
        (
            "scorer",
            {
                "positions.next_offset",
                "positions.epoch",
                "positions.worker",
                "positions.updated_at",
                "attempts.first_offset",
                "attempts.last_offset",
                "attempts.attempts",
                "attempts.worker",
                "attempts.started_at",
                "ledger_counts.frames",
                "camera_runs.last_sequence",
                "camera_runs.accounted",
                "camera_runs.missing_alerted",
                "camera_runs.updated_at",
                "alerts.detail",
                "drift_history.alarmed",
                "drift_history.began",
                "drift_history.highest",
                "drift_history.model_id",
                "drift_history.parts",
                "drift_history.wealth",
                "drift_states.model_id",
                "drift_states.state",
                "drift_states.cursor_at",
                "drift_states.cursor_offset",
                "drift_states.parts",
                "drift_states.wealth",
                "drift_states.alarmed_at",
                "drift_states.alert_id",
                "drift_states.updated_at",
                *(f"verdict_rollups.{name}" for name in ROLLED),
            },
        ),
        (
            "relay",
            {
                "notice_cursors.after_id",
                "output_cursors.id",
                "output_cursors.moved_at",
                "output_cursors.refused_in_a_row",
                "output_cursors.turn_at",
                "output_cursors.txid",
                "output_refusals.again_at",
                "output_refusals.delivered_at",
                "output_refusals.reason",
                "output_refusals.refused_at",
            },
        ),
        (
            "trainer",
            {
                "model_requests.attempts",
                "model_requests.beat_at",
                "model_requests.done_at",
                "model_requests.message",
                "model_requests.outcome",
                "model_requests.progress",
                "model_requests.stage",
                "model_requests.taken_at",
                "model_requests.worker",
                "models.shadow",
                "models.state",
            },
        ),
        (
            "dashboard",
            {
                "alerts.outcome",
                "alerts.resolved_at",
                "alerts.state",
                "model_requests.cancelled_at",
                "model_requests.cancelled_by",
            },
        ),
    ],
)
def test_each_service_changes_its_own_columns_only(user_of: UserOf, service: str, changeable: set[str]) -> None:
    user = user_of(service)
    found = {
        f"{name}.{column.name}"
        for name, table in metadata.tables.items()
        for column in table.columns
        if column.identity is None
        and column.computed is None
        and not refused(user, f"UPDATE {name} SET {column.name} = NULL WHERE false")
    }
    assert found == changeable


@pytest.mark.parametrize(
    ("service", "tables"),
    [
        ("ingest", {"camera_runs", "skipped_frames"}),
        (
            "scorer",
            {
                "alerts",
                "attempts",
                "audit_log",
                "camera_runs",
                "dead_letters",
                "drift_history",
                "drift_states",
                "heatmaps",
                "ledger_counts",
                "outbox",
                "positions",
                "second_verdicts",
                "verdict_rollups",
                "verdicts",
            },
        ),
        ("relay", {"alert_notices", "audit_log", "notice_cursors", "output_cursors", "output_refusals"}),
        ("trainer", {"audit_log", "decisions", "models", "promotions", "second_verdicts"}),
        ("dashboard", {"alert_actions", "audit_log", "decisions", "model_requests", "role_limits"}),
    ],
)
def test_each_service_adds_to_its_own_tables_only(
    line: sa.Engine, logins: dict[str, str], service: str, tables: set[str]
) -> None:
    with line.connect() as connection:
        query = sa.text("SELECT has_any_column_privilege(:user, :name, 'INSERT')")
        found = {n for n in metadata.tables if connection.scalar(query, {"user": logins[service], "name": n})}
    assert found == tables


@pytest.mark.parametrize(
    ("service", "statement"),
    [
        ("scorer", "INSERT INTO verdicts (committed_at) SELECT now() WHERE false"),
        ("scorer", "INSERT INTO dead_letters (committed_at) SELECT now() WHERE false"),
        ("scorer", "INSERT INTO alerts (state) SELECT 'acknowledged' WHERE false"),
        ("scorer", "INSERT INTO outbox (txid) SELECT 1 WHERE false"),
        ("scorer", "SELECT job_id FROM verdicts"),
        ("scorer", "SELECT camera FROM heatmaps"),
        ("scorer", "SELECT who FROM alert_actions"),
        ("scorer", "SELECT frame_id FROM alerts"),
        ("dashboard", "INSERT INTO alert_actions (done_at) SELECT now() WHERE false"),
        *(
            (service, f"INSERT INTO audit_log ({column}) OVERRIDING SYSTEM VALUE SELECT NULL WHERE false")
            for service in ("scorer", "relay", "trainer", "dashboard")
            for column in ("id", "at", "previous", "hash")
        ),
        ("scorer", "SELECT who FROM audit_log"),
        ("trainer", "SELECT who FROM audit_log"),
        ("relay", "SELECT who FROM audit_log"),
        ("relay", "INSERT INTO output_refusals (refused_at) SELECT now() WHERE false"),
        ("scorer", "SELECT sink FROM output_cursors"),
        ("scorer", "SELECT target FROM alert_notices"),
        ("relay", "INSERT INTO alert_notices (told_at) SELECT now() WHERE false"),
        ("ingest", "SELECT id FROM audit_log"),
        ("trainer", "INSERT INTO models (registered_at) SELECT now() WHERE false"),
        ("ingest", "SELECT * FROM verdicts"),
        ("ingest", "SELECT accounted FROM camera_runs"),
        ("ingest", "SELECT * FROM models"),
        ("relay", "SELECT * FROM heatmaps"),
        ("trainer", "SELECT * FROM alert_actions"),
        ("trainer", "INSERT INTO model_requests (product) SELECT 'tile' WHERE false"),
        ("scorer", "SELECT id FROM model_requests"),
        *(
            ("dashboard", f"INSERT INTO model_requests ({column}) SELECT NULL WHERE false")
            for column in ("asked_at", "cancelled_at", "taken_at", "worker", "outcome", "message")
        ),
        ("dashboard", "SELECT ensure_day_partitions(current_date, 1)"),
        ("ingest", "SELECT ensure_day_partitions(current_date, 1)"),
        ("dashboard", "SELECT prune_drift_history('cam', now(), 1)"),
        ("trainer", "SELECT prune_drift_history('cam', now(), 1)"),
    ],
)
def test_what_is_nobodys_business_is_refused(user_of: UserOf, service: str, statement: str) -> None:
    assert refused(user_of(service), statement)


@pytest.mark.parametrize("service", RUNTIME)
def test_no_service_can_change_the_schema_or_go_round_it(
    line: sa.Engine, user_of: UserOf, service: str, logins: dict[str, str]
) -> None:
    user = user_of(service)
    with line.begin() as connection:
        connection.execute(sa.text("SELECT ensure_day_partitions('2026-03-05', 1)"))
    for statement in (
        "CREATE TABLE loot (id integer)",
        "DROP TABLE verdicts",
        "ALTER TABLE verdicts DISABLE TRIGGER ALL",
        "ALTER TABLE audit_log DISABLE TRIGGER ALL",
        "DROP TRIGGER audit_log_refuse ON audit_log",
        "DELETE FROM verdicts_20260305",
        "UPDATE verdicts_20260305 SET state = 'GOOD'",
        "SELECT * FROM verdicts_20260305",
        "INSERT INTO verdicts_other SELECT * FROM verdicts WHERE false",
        "SET ROLE differline_migrator",
        f"SET SESSION AUTHORIZATION {line.url.username}",
        "SET session_replication_role TO replica",
        f"GRANT differline_migrator TO {logins[service]}",
        "COPY verdicts TO PROGRAM 'cat'",
        "CREATE OR REPLACE FUNCTION ensure_day_partitions(first date, days integer) RETURNS void LANGUAGE sql AS ''",
    ):
        assert refused(user, statement), statement
    with suppress(sa.exc.ProgrammingError), user.begin() as connection:
        connection.execute(sa.text("GRANT DELETE ON verdicts TO PUBLIC"))  # PostgreSQL may only warn, and grant nothing
    assert refused(user_of("nobody"), "DELETE FROM verdicts")


def test_a_table_of_a_scorers_own_cannot_take_the_place_of_ours(user_of: UserOf) -> None:
    """The function that makes the days runs with its owner's rights, and must not look where its caller can write."""
    with user_of("scorer").connect() as connection:
        for statement in (
            "CREATE TEMPORARY TABLE verdicts (received_at timestamptz) PARTITION BY RANGE (received_at)",
            "SET search_path TO pg_temp, public",
            "SELECT ensure_day_partitions('2030-01-01', 1)",
        ):
            connection.execute(sa.text(statement))
        query = (
            "SELECT inhparent = 'public.verdicts'::regclass FROM pg_inherits "
            "WHERE inhrelid = to_regclass('public.verdicts_20300101')"
        )
        found = connection.scalar(sa.text(query))
        connection.rollback()
    assert found is True


@pytest.mark.parametrize("service", ["scorer", "trainer", "dashboard"])
def test_a_log_of_a_services_own_cannot_take_the_place_of_ours(line: sa.Engine, user_of: UserOf, service: str) -> None:
    """The trigger reads the newest row with its owner's rights, and must not look where its caller can write."""
    before = verify(line)
    with user_of(service).begin() as connection:
        for statement in (
            "CREATE TEMPORARY TABLE audit_log (id bigint, hash text)",
            "INSERT INTO audit_log VALUES (1, repeat('1', 64))",
            "SET LOCAL search_path TO pg_temp, public",
            "INSERT INTO public.audit_log (who, action, subject) VALUES ('x', 'look', 'f')",
        ):
            connection.execute(sa.text(statement))
    after = verify(line)
    assert (after.rows, after.broken) == (before.rows + 1, None)


def test_a_user_without_a_role_can_do_nothing(user_of: UserOf) -> None:
    nobody = user_of("nobody")
    assert all(refused(nobody, f"SELECT FROM {name}") for name in metadata.tables)
    assert refused(nobody, "SELECT ensure_day_partitions(current_date, 1)")


def test_the_migrator_migrates_and_what_it_makes_belongs_to_the_role(line: sa.Engine, user_of: UserOf) -> None:
    migrate(user_of("migrator"), NOON + timedelta(days=500))
    with line.connect() as connection:
        query = "SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'"
        assert list(connection.scalars(sa.text(query))) == ["differline_migrator"]


@pytest.mark.parametrize("service", [*RUNTIME, "nobody"])
def test_nobody_else_migrates(user_of: UserOf, logins: dict[str, str], service: str) -> None:
    with pytest.raises(EngineError, match=f"GRANT differline_migrator TO {logins[service]}"):
        migrate(user_of(service), NOON)


def test_the_roles_cannot_log_in_themselves(line: sa.Engine) -> None:
    query = "SELECT count(*) FROM pg_roles WHERE rolname LIKE 'differline\\_%' AND rolcanlogin"
    with line.connect() as connection:
        assert connection.scalar(sa.text(query)) == 0
