"""How a drift test went, by the minute: written with the test's state, bounded, and put together for a chart."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa

from infra.clock import utc_now
from infra.store.connect import transaction
from infra.store.drift_history import (
    HISTORY_KEPT,
    DriftMinute,
    drift_buckets,
    drift_buckets_query,
    minute_of,
    prune_history,
    write_minutes,
)
from infra.store.drift_standings import calibrations, drift_standings
from infra.store.models import CALIBRATION_LEVELS, QUALITY_LEVELS, RegisteredModel, register_in_force
from infra.store.tables import AlertState, DriftCause, DriftKind, drift_history
from trainer.fit import FittedModel
from trainer.register import register

from .drifting import Plant, plant_at
from .rows import MODEL, NOON
from .test_verdict_queries import plan_nodes, rows_read

MINUTE = timedelta(minutes=1)


@pytest.fixture
def plant(database: sa.Engine, tmp_path: Path, fitted: FittedModel) -> Plant:
    return plant_at(database, tmp_path, fitted)


@pytest.fixture
def model(plant: Plant) -> RegisteredModel:
    return plant.new_model()


def minutes(plant: Plant, kind: DriftKind = DriftKind.SCORE) -> list[DriftMinute]:
    column = drift_history.c
    with plant.database.connect() as connection:
        rows = connection.execute(sa.select(drift_history).where(column.kind == kind).order_by(column.at)).mappings()
        return [DriftMinute(**{**row, "kind": DriftKind(row["kind"])}) for row in rows]


def produce(plant: Plant, model: RegisteredModel, count: int, minute: int, shift: float = 0.0) -> None:
    """Parts that are received within one minute of the test's day."""
    rows = [plant.part(model, shift=shift) for _ in range(count)]
    plant.write([replace(row, received_at=row.received_at + minute * MINUTE) for row in rows])


def test_there_is_one_row_a_minute_however_often_it_is_looked_at(plant: Plant, model: RegisteredModel) -> None:
    for minute in (0, 1, 4):
        for _ in range(3):
            produce(plant, model, 10, minute)
            plant.look()
    found = minutes(plant)
    assert [(row.at, row.parts) for row in found] == [(NOON, 30), (NOON + MINUTE, 60), (NOON + 4 * MINUTE, 90)]
    assert [row.began for row in found] == [True, False, False]
    assert found[-1].wealth == plant.state().wealth
    assert [row.parts for row in minutes(plant, DriftKind.QUALITY)] == [30, 60, 90]


def test_a_look_at_many_minutes_writes_each_of_them(plant: Plant, model: RegisteredModel) -> None:
    for minute in range(5):
        produce(plant, model, 20, minute)
    plant.look()
    assert [(row.at - NOON, row.parts) for row in minutes(plant)] == [(n * MINUTE, 20 * (n + 1)) for n in range(5)]


def test_the_highest_of_a_minute_stays_when_the_wealth_falls_within_one_look(
    plant: Plant, model: RegisteredModel
) -> None:
    produce(plant, model, 15, 0, shift=-2.0)
    produce(plant, model, 60, 0)
    plant.look()
    (row,) = minutes(plant)
    assert row.parts == 75
    assert row.highest > row.wealth + 0.1


def test_a_minute_that_goes_on_in_the_next_look_forgets_nothing(database: sa.Engine) -> None:
    first = minute("cam", 0, wealth=2.1, highest=2.5, parts=10, began=True, alarmed=True)
    for later in (first, replace(first, wealth=1.0, highest=1.5, parts=20, began=False, alarmed=False)):
        with transaction(database) as connection:
            write_minutes(connection, [later])
    with database.connect() as connection:
        row = connection.execute(sa.select(drift_history)).one()
    assert (row.wealth, row.parts, row.highest, row.began, row.alarmed) == (1.0, 20, 2.5, True, True)


def test_the_alarm_and_the_new_beginning_are_marked(plant: Plant, model: RegisteredModel) -> None:
    produce(plant, model, 60, 0)
    produce(plant, model, 60, 1, shift=-2.0)
    produce(plant, model, 60, 2, shift=-2.0)
    plant.look()
    plant.acknowledge()
    produce(plant, model, 60, 5, shift=-2.0)
    plant.look()
    found = minutes(plant)
    assert [(row.at - NOON, row.began, row.alarmed) for row in found] == [
        (0 * MINUTE, True, False),
        (1 * MINUTE, False, True),
        (2 * MINUTE, False, False),
        (5 * MINUTE, True, False),
    ]
    assert found[1].highest >= 2
    assert (found[3].parts, found[3].wealth) == (0, 0.0)  # it takes its first parts for what it compares with
    newer = plant.new_model()
    produce(plant, newer, 10, 6)
    plant.look()
    assert (minutes(plant)[-1].began, minutes(plant)[-1].model_id) == (True, newer.id)


def test_a_look_that_fails_leaves_no_history(
    plant: Plant, model: RegisteredModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    produce(plant, model, 10, 0)
    with monkeypatch.context() as patched:
        patched.setattr("infra.store.drift.prune_history", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            plant.look()
    assert minutes(plant) == []
    plant.look()
    assert minutes(plant)[0].parts == plant.state().parts == 10


def minute(camera: str, minutes_ago: int, kind: DriftKind = DriftKind.SCORE, **changes: object) -> DriftMinute:
    at = minute_of(utc_now()) - minutes_ago * MINUTE
    row = DriftMinute(camera, "tile", kind, None, at, 10_000 - minutes_ago, 0.5, 0.5, False, False)
    return replace(row, **changes)  # type: ignore[arg-type]


def test_what_is_older_than_ninety_days_goes_and_nothing_else(database: sa.Engine) -> None:
    days = [0, 89, 91, 92, 200]
    with transaction(database) as connection:
        write_minutes(connection, [minute(camera, day * 1440) for camera in ("cam", "other") for day in days])
        assert prune_history(connection, "cam", utc_now()) == 3
        assert prune_history(connection, "cam", utc_now() + HISTORY_KEPT) == 0  # a wrong clock takes nothing more
        query = sa.select(drift_history.c.camera, sa.func.count()).group_by(drift_history.c.camera)
        assert [tuple(row) for row in connection.execute(query.order_by("camera"))] == [("cam", 2), ("other", 5)]


def test_a_turn_lets_few_rows_go_the_oldest_first(database: sa.Engine) -> None:
    with transaction(database) as connection:
        write_minutes(connection, [minute("cam", 100 * 1440 + n) for n in range(150)])
        assert prune_history(connection, "cam", utc_now()) == 100
        left = connection.scalar(sa.select(sa.func.min(drift_history.c.at)))
        assert left == minute_of(utc_now()) - timedelta(days=100, minutes=49)
        assert prune_history(connection, "cam", utc_now()) == 50


def test_buckets_have_the_last_wealth_the_highest_and_the_marks(database: sa.Engine) -> None:
    rows = [
        minute(
            "cam",
            0,
            at=NOON + n * MINUTE,
            wealth=float(n),
            highest=9.5 if n == 2 else float(n),
            parts=n,
            alarmed=n in (2, 3),
        )
        for n in range(10)
    ]
    rows[6].began = rows[4].began = True
    with transaction(database) as connection:
        write_minutes(connection, rows)
        write_minutes(connection, [minute("cam", 0, DriftKind.QUALITY, at=NOON), minute("other", 0, at=NOON)])
    quality, first, second = drift_buckets(
        database, "cam", "tile", since=NOON, until=NOON + 8 * MINUTE, step=5 * MINUTE
    )
    assert (quality.kind, quality.at) == (DriftKind.QUALITY, NOON)
    assert (first.at, first.last_at, first.wealth, first.highest, first.parts) == (NOON, NOON + 4 * MINUTE, 4.0, 9.5, 4)
    assert (first.alarmed_at, first.began_at) == (NOON + 2 * MINUTE, NOON + 4 * MINUTE)
    assert (second.at, second.last_at, second.wealth) == (NOON + 5 * MINUTE, NOON + 7 * MINUTE, 7.0)
    assert (second.alarmed_at, second.began_at) == (None, NOON + 6 * MINUTE)


def test_the_history_of_a_camera_is_a_range_of_the_key(database: sa.Engine) -> None:
    with transaction(database) as connection:
        cameras = [f"cam-{n}" for n in range(8)]
        write_minutes(connection, [minute(camera, 0, at=NOON + n * MINUTE) for camera in cameras for n in range(3000)])
    with database.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("VACUUM ANALYZE drift_history"))
    query = drift_buckets_query("cam-3", "tile", since=NOON, until=NOON + timedelta(hours=8), step=10 * MINUTE)
    scans = [node for node in plan_nodes(database, query) if "Index Name" in node]
    assert {scan["Index Name"] for scan in scans} == {"drift_history_pkey"}
    assert sum(map(rows_read, scans)) <= 2 * 480  # once for the buckets, and for the last one of each


def test_standings_say_where_tests_stand_and_what_the_alert_says(plant: Plant, model: RegisteredModel) -> None:
    produce(plant, model, 100, 0)
    produce(plant, model, 100, 1, shift=-2.0)
    plant.look()
    quality, score = drift_standings(plant.database)
    assert (score.camera, score.product, score.kind, score.parts) == ("cam", "tile", DriftKind.SCORE, 200)
    assert (score.model_id, score.model_version, score.compares_with_itself) == (model.id, model.version, False)
    assert (score.cause, score.alert_state) == (DriftCause.PRODUCT, AlertState.OPEN)
    assert score.alarmed_at == plant.state().alarmed_at is not None
    assert score.wealth == plant.state().wealth
    assert (quality.alarmed_at, quality.alert_id, quality.alert_state, quality.cause) == (None, None, None, None)
    plant.acknowledge()
    produce(plant, model, 10, 2)
    plant.look()
    assert [one.compares_with_itself for one in drift_standings(plant.database)] == [False, True]


def test_what_a_model_was_calibrated_with_is_on_record(
    database: sa.Engine, tmp_path: Path, fitted: FittedModel
) -> None:
    without = register_in_force(database, replace(MODEL, product="other"))
    model = register(database, tmp_path, fitted, "test")
    manifest = fitted.detector.manifest
    found = calibrations(database, {model.id, without.id, 4711})
    assert set(found) == {model.id, without.id}
    assert (found[without.id].scores, found[without.id].quality) == (None, None)
    calibration = found[model.id]
    assert (calibration.version, calibration.threshold) == (model.version, model.threshold)
    assert calibration.frames == len(manifest.calibration_scores)
    assert calibration.scores == pytest.approx(np.quantile(manifest.calibration_scores, CALIBRATION_LEVELS))
    assert calibration.quality is not None
    medians = np.median(manifest.calibration_quality, axis=0)
    assert [row[QUALITY_LEVELS.index(0.5)] for row in calibration.quality] == pytest.approx(medians)
    assert calibrations(database, set()) == {}
