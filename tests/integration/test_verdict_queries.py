"""The questions of dashboard, scorer and relay, asked of a real PostgreSQL that holds 100,000 verdicts."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from infra.engines import Engines
from infra.store import line, rollups
from infra.store import verdicts as store
from infra.store.alerts import AlertFilter, AlertKey, list_alerts_query
from infra.store.outbox import OutboxKey, OutboxKind, page_query
from infra.store.results import known_frames_query
from infra.store.rolling import roll, waiting
from infra.store.tables import AlertState, VerdictState, ensure_day_partitions, verdicts

from .filled import filled_database
from .plans import plan_nodes, rows_read

NOW = datetime(2026, 3, 3, 18, tzinfo=UTC)
FRAMES = 100_000
CAMERAS = ["cam-0", "cam-1", "cam-2", "cam-3"]
SILENT = "a camera without a verdict"
FOREIGN = [(f"cam-{n % 4}", str(n)) for n in range(60)]  # nobody has judged these

# Four cameras over two days; one frame in 50 is a DEFECT and one in 500 has no verdict.
_FILL = """
INSERT INTO verdicts (received_at, frame_id, result_id, topic, partition, bus_offset, camera, product, sha256, captured_at,
                      scored_at, state, reason, model_id, score, p_value, threshold, views)
SELECT :now - n * interval '1.6 s', 'frame-' || n, 'result-' || n, 'frames', n % 4, n, 'cam-' || n % 4, 'tile', repeat('0', 64),
       :now, :now, v.state, CASE v.state WHEN 'NO_VERDICT' THEN 'black' END, :model,
       CASE v.state WHEN 'DEFECT' THEN 30 + n % 7 WHEN 'GOOD' THEN 10 + n % 7 ELSE 'NaN'::double precision END, 0.5, 20, 8
FROM generate_series(0, :frames - 1) AS n,
     LATERAL (SELECT CASE WHEN n % 50 = 7 THEN 'DEFECT' WHEN n % 500 = 8 THEN 'NO_VERDICT' ELSE 'GOOD' END AS state) AS v
"""
_ALERTS = """
INSERT INTO alerts (kind, camera, product, received_at, frame_id, state, opened_at)
SELECT 'defect', camera, product, received_at, frame_id, CASE WHEN bus_offset % 3 = 0 THEN 'open' ELSE 'acknowledged' END,
       received_at
FROM verdicts WHERE state = 'DEFECT'
"""
_OUTBOX = """
INSERT INTO outbox (kind, received_at, camera, frame_id)
SELECT 'verdict', received_at, CASE WHEN bus_offset % 2 = 0 THEN camera END, frame_id FROM verdicts WHERE bus_offset < 1000
"""
_LEDGER = """
INSERT INTO ledger_counts SELECT camera, state, coalesce(reason, ''), count(*) FROM verdicts GROUP BY 1, 2, 3
UNION ALL SELECT '', 'DEAD_LETTER', 'missing_camera', 1
"""


def add_model(connection: sa.Connection) -> int:
    """A model row, for verdicts to point at."""
    return connection.execute(
        sa.text(
            "INSERT INTO models (product, version, state, folder, flow_sha256, manifest_sha256, preset, threshold, "
            "false_alarm_rate, attainable_rate, views, heat_scale, training_frames, calibration_frames, registered_by) "
            "VALUES ('tile', 4, 'in_force', 'f', 'a', 'b', 'compact', 20, 0.01, 0.01, 8, 1, 100, 100, 'test') RETURNING id"
        )
    ).scalar_one()


def fill(database: sa.Engine, frames: int) -> None:
    with database.begin() as connection:
        ensure_day_partitions(connection, (NOW - timedelta(days=6)).date(), 9)
        connection.execute(sa.text(_FILL), {"now": NOW, "model": add_model(connection), "frames": frames})
        connection.execute(sa.text(_ALERTS))
        connection.execute(sa.text(_LEDGER))
        connection.execute(sa.text(_OUTBOX))
    with database.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("VACUUM ANALYZE verdicts"))
        connection.execute(sa.text("VACUUM ANALYZE alerts"))


@pytest.fixture(scope="module")
def filled(engines: Engines, template_database: str) -> Iterator[sa.Engine]:
    """A database with 100,000 verdicts, filled once; tests only read it."""
    with filled_database(
        engines, template_database, "test_verdict_queries", NOW, lambda database: fill(database, FRAMES)
    ) as database:
        yield database


@pytest.fixture(scope="module")
def rolled(filled: sa.Engine) -> sa.Engine:
    """The same, with its rollups."""
    for due in waiting(filled, timedelta(0), 10_000):
        roll(filled, due)
    with filled.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("VACUUM ANALYZE verdict_rollups"))
    return filled


def test_no_question_reads_through_the_verdicts_or_the_alerts(filled: sa.Engine) -> None:
    with filled.connect() as connection:
        middle = connection.execute(sa.text("SELECT opened_at, id FROM alerts ORDER BY id LIMIT 1 OFFSET 900")).one()
    after = AlertKey(middle.opened_at, middle.id)
    questions = {
        "latest": store.latest_verdicts_query([*CAMERAS, SILENT]),
        "series of 1 h": store.score_series_query("cam-1", NOW - timedelta(hours=1), NOW),
        "series of 8 h": store.score_series_query("cam-1", NOW - timedelta(hours=8), NOW),
        "by frame": store.verdict_query("cam-0", "frame-500", None),
        "by frame and time": store.verdict_query("cam-0", "frame-500", NOW - timedelta(seconds=800)),
        "known frames": known_frames_query(verdicts, [("cam-0", "frame-500"), *FOREIGN], NOW - timedelta(days=7)),
        "to be published": page_query(OutboxKind.VERDICT, OutboxKey(0, 0), 20),
        "heatmap": store.heatmap_query("cam-0", "frame-500", NOW),
        "frames of the last minute": line.frames_since_query(NOW - timedelta(minutes=1)),
        "false alarms of the shift": line.false_alarms_query(NOW - timedelta(hours=8)),
        "open alerts": list_alerts_query(AlertFilter(AlertState.OPEN), after, 20),
        "all alerts": list_alerts_query(AlertFilter(), after, 20),
    }
    for name, query in questions.items():
        scans = [
            node
            for node in plan_nodes(filled, query)
            if node.get("Relation Name", "").startswith(("verdicts", "alerts", "heatmaps"))
        ]
        assert scans, name
        read_through = [scan["Relation Name"] for scan in scans if scan["Node Type"] == "Seq Scan" and rows_read(scan)]
        assert not read_through, f"{name} reads through {read_through}"


def test_what_is_shown_is_all_that_is_read(filled: sa.Engine) -> None:
    latest = store.latest_verdicts_query([*CAMERAS, SILENT])
    assert sum(rows_read(node) for node in plan_nodes(filled, latest) if "Index Name" in node) <= 10 * len(CAMERAS)
    by_frame = store.verdict_query("cam-0", "frame-50000", None)  # of the day before
    assert sum(rows_read(node) for node in plan_nodes(filled, by_frame) if "Index Name" in node) <= 2
    known = known_frames_query(
        verdicts, [("cam-0", "frame-500"), ("cam-1", "frame-500"), *FOREIGN], NOW - timedelta(days=7)
    )
    # One; a plan tells the mean over its steps, which PostgreSQL before 18 rounds to whole rows: here to none.
    assert sum(rows_read(node) for node in plan_nodes(filled, known) if "Index Name" in node) < 1.5
    with filled.connect() as connection:
        assert len(list(connection.execute(known))) == 1
    page = [
        node
        for node in plan_nodes(filled, page_query(OutboxKind.VERDICT, OutboxKey(0, 0), 20))
        if node.get("Relation Name", "").startswith("verdicts")
    ]
    assert 0 < sum(map(rows_read, page)) < 1.5 * 20
    first = list_alerts_query(AlertFilter(AlertState.OPEN), None, 20)
    assert sum(rows_read(node) for node in plan_nodes(filled, first) if "Index Name" in node) <= 3 * 20


def test_days_and_months_are_read_from_rollups_of_the_time_and_camera_that_are_shown(rolled: sa.Engine) -> None:
    day = timedelta(days=1)
    questions = {
        "series": (rollups.series_query("cam-1", NOW - day / 4, NOW, None, None), 37),
        "series of a product": (rollups.series_query("cam-1", NOW - day / 4, NOW, "tile", 1), 37),
        "sums": (rollups.sums_query(NOW - day / 4, NOW, None, None), 4 * 37),
        "sums of a camera": (rollups.sums_query(NOW - day / 4, NOW, "cam-1", None), 37),
    }
    for name, (query, shown) in questions.items():
        scans = [node for node in plan_nodes(rolled, query) if "scan" in node["Node Type"].lower()]
        read = [(scan["Node Type"], rows_read(scan)) for scan in scans]
        # With and without a model's verdict: two rows each.
        assert sum(rows for _, rows in read) <= 2 * 2 * shown, (name, read)


def test_cameras_are_those_of_the_ledger_by_name(database: sa.Engine) -> None:
    fill(database, 100)
    with database.begin() as connection:
        connection.execute(sa.text("INSERT INTO camera_runs (camera, run) VALUES ('a new one', 'r'), ('cam-2', 'r')"))
    assert store.cameras(database) == ["a new one", *CAMERAS]


def test_the_latest_verdict_of_each_camera(filled: sa.Engine) -> None:
    latest = store.latest_verdicts(filled, [*CAMERAS, "unheard of"])
    assert {camera: verdict.frame_id for camera, verdict in latest.items()} == {
        "cam-0": "frame-0",
        "cam-1": "frame-1",
        "cam-2": "frame-2",
        "cam-3": "frame-3",
    }
    assert latest["cam-0"].model_version == 4
    assert latest["cam-0"].received_at == NOW
    assert store.latest_verdicts(filled, []) == {}


@pytest.mark.parametrize("hours", [0.25, 1, 8, 48])
def test_a_series_is_thin_and_keeps_every_peak_and_every_count(filled: sa.Engine, hours: float) -> None:
    since = NOW - timedelta(hours=hours)
    series = store.score_series(filled, "cam-3", since, NOW)
    with filled.connect() as connection:
        truth = connection.execute(
            sa.text(
                "SELECT count(*) AS frames, count(*) FILTER (WHERE state = 'DEFECT') AS defects, "
                "min(score) FILTER (WHERE state <> 'NO_VERDICT') AS lowest, "
                "max(score) FILTER (WHERE state <> 'NO_VERDICT') AS highest "
                "FROM verdicts WHERE camera = 'cam-3' AND received_at > :since"
            ),
            {"since": since},
        ).one()
    assert len(series.buckets) <= store.SERIES_BUCKETS + 1
    assert (series.frames, series.defects) == (truth.frames, truth.defects)
    assert min(bucket.lowest for bucket in series.buckets if bucket.lowest is not None) == truth.lowest
    assert max(bucket.highest for bucket in series.buckets if bucket.highest is not None) == truth.highest
    assert [bucket.at for bucket in series.buckets] == sorted(bucket.at for bucket in series.buckets)


def test_a_frame_without_a_verdict_has_no_place_among_the_scores(filled: sa.Engine) -> None:
    """Frame 8 of camera 0 has NaN for a score."""
    at = NOW - timedelta(seconds=8 * 1.6)
    series = store.score_series(filled, "cam-0", at - timedelta(seconds=0.1), at)
    (alone,) = series.buckets
    assert (alone.at, alone.lowest, alone.highest, alone.threshold) == (at, None, None, None)
    assert (series.frames, series.defects, series.no_verdicts) == (1, 0, 1)


def test_a_bucket_keeps_its_frames_while_the_window_moves(filled: sa.Engine) -> None:
    window = timedelta(hours=1)
    before = store.score_series(filled, "cam-1", NOW - window - timedelta(seconds=2), NOW - timedelta(seconds=2))
    after = store.score_series(filled, "cam-1", NOW - window, NOW)
    inner = set(before.buckets[2:-1])  # the window's ends cut through a bucket
    assert inner
    assert inner <= set(after.buckets)


def test_a_verdict_by_its_frame(filled: sa.Engine) -> None:
    found = store.verdict(filled, "cam-1", "frame-57")
    assert found is not None
    assert (found.state, found.camera, found.score, found.model_version) == (VerdictState.DEFECT, "cam-1", 31.0, 4)
    assert store.verdict(filled, "cam-1", "frame-57", found.received_at) == found
    assert store.verdict(filled, "cam-1", "frame-57", found.received_at + timedelta(days=1)) is None
    assert store.verdict(filled, "cam-1", "no such frame") is None
    assert store.verdict(filled, "cam-2", "frame-57") is None


def test_of_a_frame_id_that_was_used_again_the_newest_counts(database: sa.Engine) -> None:
    fill(database, 100)
    with database.begin() as connection:
        again = "UPDATE verdicts SET frame_id = 'frame-9' WHERE frame_id IN ('frame-89', 'frame-4')"  # cam-1, cam-0
        connection.execute(sa.text(again))
    found = store.verdict(database, "cam-1", "frame-9")
    assert found is not None
    assert found.received_at == NOW - timedelta(seconds=9 * 1.6)


def test_a_heatmap_belongs_to_one_frame_at_one_time(database: sa.Engine) -> None:
    with database.begin() as connection:
        ensure_day_partitions(connection, NOW.date(), 1)
        into = "INSERT INTO heatmaps (received_at, camera, frame_id, png) VALUES (:at, :camera, 'frame-1', :png)"
        for camera, png in (("a", b"png of a"), ("b", b"png of b")):
            connection.execute(sa.text(into), {"at": NOW, "camera": camera, "png": png})
    assert store.heatmap(database, "a", "frame-1", NOW) == b"png of a"
    assert store.heatmap(database, "b", "frame-1", NOW) == b"png of b"
    assert store.heatmap(database, "c", "frame-1", NOW) is None
    assert store.heatmap(database, "a", "frame-1", NOW + timedelta(seconds=1)) is None


def test_a_heatmap_of_a_scorer_of_the_release_before_is_found_until_there_is_a_better_one(database: sa.Engine) -> None:
    with database.begin() as connection:
        connection.execute(
            sa.text("INSERT INTO heatmaps (received_at, frame_id, png) VALUES (:at, 'f', 'old')"), {"at": NOW}
        )
    assert store.heatmap(database, "cam", "f", NOW) == b"old"
    with database.begin() as connection:
        into = "INSERT INTO heatmaps (received_at, camera, frame_id, png) VALUES (:at, 'cam', 'f', 'own')"
        connection.execute(sa.text(into), {"at": NOW})
    assert store.heatmap(database, "cam", "f", NOW) == b"own"
