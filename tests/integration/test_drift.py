"""Drift, on a real PostgreSQL: each verdict is tested once, whoever looks; one alert an alarm, which says where to look."""

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
import structlog
from prometheus_client import generate_latest
from typer.testing import CliRunner

from infra.settings import Settings
from infra.store import alerts as alert_store
from infra.store.drift import camera_turn, drift_rows
from infra.store.models import RegisteredModel
from infra.store.positions import claim
from infra.store.results import write_batch
from infra.store.tables import AlertState, DriftCause, DriftKind, verdicts
from scorer.__main__ import drift_app
from scorer.detector import MANIFEST_FILE, calibrate, calibrate_cameras
from scorer.drift import LOOK_EVERY_S, DriftAlarm
from scorer.drift_report import drift_report
from trainer.fit import FittedModel

from .drifting import SHARP, Plant, plant_at
from .line import Line
from .rows import NOON, SECOND, batch, unjudged


@pytest.fixture
def plant(database: sa.Engine, tmp_path: Path, fitted: FittedModel) -> Plant:
    return plant_at(database, tmp_path, fitted)


@pytest.fixture
def model(plant: Plant) -> RegisteredModel:
    return plant.new_model()


def test_every_verdict_is_tested_once_however_often_and_by_whom_it_is_looked_at(
    plant: Plant, model: RegisteredModel
) -> None:
    first, second = plant.scorer(), plant.scorer()
    plant.parts(30, model)
    plant.look(first)
    plant.look(second)
    plant.parts(20, model)
    plant.look(second, times=3)
    plant.look(first, times=3)
    assert (plant.state().parts, plant.state("quality").parts) == (50, 50)
    assert (plant.shown[-1].product, plant.shown[-1].parts) == ("tile", 50)


def test_scorers_that_look_at_once_count_each_verdict_once_and_open_one_alert(
    plant: Plant, model: RegisteredModel
) -> None:
    together, errors = threading.Barrier(4), []

    def look() -> None:
        scorer = DriftAlarm(plant.database, structlog.get_logger(), lambda _: None, lambda: NOON, Ticks())
        together.wait(30)
        try:
            for _ in range(40):
                scorer.look()
                scorer.saw(["cam"])
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=look) for _ in range(4)]
    plant.parts(200, model)
    for thread in threads:
        thread.start()
    for shift in (0.0, 0.0, -2.0, -2.0):
        plant.parts(100, model, shift=shift)
    for thread in threads:
        thread.join(120)
    plant.look(times=3)
    assert errors == []
    assert plant.state().parts == 600
    assert plant.alerts() == [DriftCause.PRODUCT]


class Ticks:
    """A clock on which every look is due."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += LOOK_EVERY_S / 50
        return self.now


def test_the_state_is_the_same_whatever_the_restarts(plant: Plant, model: RegisteredModel) -> None:
    values = [plant.part(model) for _ in range(120)]
    for row in values:
        plant.write([row])
        plant.look()  # a new scorer each time
    other = [replace(row, camera="other", partition=1) for row in values]
    write_batch(plant.database, [claim(plant.database, SECOND, "scorer")], batch(*other), 7)
    plant.look(times=2)
    one, whole = [row for row in drift_rows(plant.database) if row.kind == "score"]
    assert (one.parts, whole.parts) == (120, 120)
    counts = [row.state["tests"]["score"]["counts"] for row in (one, whole)]
    assert counts[0] == counts[1]


def test_a_look_that_fails_has_not_happened(
    plant: Plant, model: RegisteredModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant.parts(100, model)
    plant.parts(100, model, blur=4.0)
    with monkeypatch.context() as patched:
        patched.setattr("infra.store.drift.CameraTurn.save", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            plant.look()
    assert (drift_rows(plant.database), plant.alerts(), plant.shown) == ([], [], [])
    plant.look()
    assert plant.state().parts == 200
    assert plant.alerts() == [DriftCause.LENS_OR_LIGHT]


def test_more_verdicts_than_one_look_takes_are_tested_by_the_next_ones(plant: Plant, model: RegisteredModel) -> None:
    plant.parts(1100, model)
    scorer = plant.scorer()
    plant.look(scorer)
    assert plant.state().parts == 500
    plant.look(scorer, times=3)
    assert plant.state().parts == 1100


def test_frames_of_one_millisecond_are_told_apart(plant: Plant, model: RegisteredModel) -> None:
    rows = [replace(plant.part(model), received_at=NOON) for _ in range(6)]
    for some in (rows[:2], rows[2:3], rows[3:]):
        plant.write(some)
        plant.look()
    assert plant.state().parts == 6


def test_a_stable_line_raises_nothing_and_defects_are_no_drift(plant: Plant, model: RegisteredModel) -> None:
    plant.parts(500, model)
    plant.write([plant.part(model, shift=9.0 if n % 8 == 0 else 0.0) for n in range(500)])
    plant.look(times=4)
    assert plant.alerts() == []


def test_scores_that_shift_are_one_alert_that_says_product(plant: Plant, model: RegisteredModel) -> None:
    plant.parts(200, model)
    plant.parts(100, model, shift=-1.5)
    scorer = plant.scorer()
    plant.look(scorer)
    plant.parts(300, model, shift=-1.5)
    plant.look(scorer, times=3)
    plant.look(times=2)
    assert plant.alerts() == [DriftCause.PRODUCT]
    alert = next(one for one in alert_store.list_alerts(plant.database, limit=500) if one.kind == "drift")
    assert (alert.camera, alert.product, alert.state) == ("cam", "tile", AlertState.OPEN)
    assert alert.verdict is not None
    assert alert.verdict.received_at == alert.received_at == plant.state().alarmed_at
    assert plant.state().alert_id == alert.id
    assert plant.state("quality").alarmed_at is None
    assert alert_store.opened_since(plant.database, "drift", "tile", NOON - timedelta(days=10_000)) == 1


def test_blurred_pictures_are_lens_or_light(plant: Plant, model: RegisteredModel) -> None:
    plant.parts(200, model)
    plant.parts(100, model, blur=3.0)
    plant.look()
    assert plant.alerts() == [DriftCause.LENS_OR_LIGHT]
    assert plant.state().alarmed_at is None


@pytest.mark.parametrize("first", ["score", "quality"])
def test_both_are_one_alert_that_says_lens_or_light(plant: Plant, model: RegisteredModel, first: str) -> None:
    plant.parts(200, model)
    plant.parts(100, model, **({"shift": -2.0} if first == "score" else {"blur": 3.0}))
    plant.look()
    plant.parts(200, model, shift=-2.0, blur=3.0)
    plant.look()
    assert plant.alerts() == [DriftCause.LENS_OR_LIGHT]
    assert plant.state().alert_id == plant.state("quality").alert_id is not None
    assert alert_store.opened_since(plant.database, "drift", "tile", NOON - timedelta(days=10_000)) == 1


def test_only_defects_are_found_too(plant: Plant, model: RegisteredModel) -> None:
    plant.parts(100, model)
    plant.parts(60, model, shift=30.0)
    plant.look()
    assert plant.alerts() == [DriftCause.PRODUCT]


def test_no_verdict_is_changed(plant: Plant, model: RegisteredModel) -> None:
    plant.parts(100, model)
    plant.parts(100, model, shift=-2.0, blur=3.0)
    query = sa.select(verdicts).order_by(verdicts.c.bus_offset)
    with plant.database.connect() as connection:
        before = connection.execute(query).all()
        plant.look()
        assert connection.execute(query).all() == before
    assert len(plant.alerts()) == 1


def test_a_new_model_begins_anew_with_its_own_calibration(plant: Plant, model: RegisteredModel) -> None:
    plant.parts(100, model)
    plant.parts(100, model, shift=-2.0)
    plant.look()
    newer = plant.new_model()
    plant.parts(60, newer)
    plant.look()
    assert (plant.state().parts, plant.state().model_id, plant.state().alarmed_at) == (60, newer.id, None)
    assert plant.state("quality").model_id == newer.id
    plant.parts(100, newer, shift=-2.0)
    plant.look()
    assert plant.alerts() == [DriftCause.PRODUCT] * 2


def test_within_one_look_frames_of_two_models_are_told_apart(plant: Plant, model: RegisteredModel) -> None:
    rows = [plant.part(model) for _ in range(30)]
    newer = plant.new_model()
    plant.write([*rows, *(plant.part(newer) for _ in range(20))])
    plant.look()
    assert (plant.state().parts, plant.state().model_id) == (20, newer.id)


def test_once_acknowledged_it_is_compared_with_what_it_is_now(plant: Plant, model: RegisteredModel) -> None:
    plant.parts(100, model)
    plant.parts(100, model, shift=-2.0)
    plant.look()
    plant.acknowledge()
    plant.parts(400, model, shift=-2.0)
    plant.look(times=2)
    assert plant.alerts() == [DriftCause.PRODUCT]
    assert (plant.state().alarmed_at, plant.state().parts) == (None, 200)
    plant.parts(200, model)
    plant.look()
    assert plant.alerts() == [DriftCause.PRODUCT] * 2


def test_without_quality_in_the_manifest_pictures_are_compared_with_the_first_ones(plant: Plant) -> None:
    older = plant.new_model(quality=False)
    plant.parts(300, older, blur=3.0)
    plant.look()
    assert (plant.state().parts, plant.state("quality").parts) == (300, 100)
    assert plant.alerts() == []
    plant.parts(100, older)
    plant.look()
    assert plant.alerts() == [DriftCause.LENS_OR_LIGHT]


def test_frames_of_one_part_count_once_and_those_without_verdict_for_their_picture_only(
    plant: Plant, model: RegisteredModel
) -> None:
    plant.write([plant.part(model, part_id=f"MT-{n // 3}") for n in range(9)])
    plant.offset += 1
    black = unjudged("black", plant.offset, reason="black", focus=-7.0, brightness=0.0, contrast=0.0)
    plant.write([black])
    plant.look()
    assert (plant.state().parts, plant.state("quality").parts) == (3, 4)


def test_products_of_one_camera_are_tested_apart(plant: Plant, model: RegisteredModel) -> None:
    rows = [plant.part(model) for _ in range(20)]
    plant.write([replace(row, product="other") if n % 2 else row for n, row in enumerate(rows)])
    plant.look()
    assert (plant.state().parts, plant.state(product="other").parts) == (10, 10)


def test_a_model_whose_manifest_is_gone_stops_nothing(plant: Plant, model: RegisteredModel) -> None:
    plant.parts(40, model)
    plant.look()
    (plant.models / "0" / MANIFEST_FILE).rename(plant.models / "0" / "lost")
    plant.parts(10, model)
    plant.look()
    assert plant.state().parts == 40
    newer = plant.new_model()
    plant.parts(10, newer)
    plant.look()
    assert plant.state().parts == 10


def test_a_camera_that_is_new_begins_with_its_last_day(plant: Plant, model: RegisteredModel) -> None:
    old = replace(plant.part(model), received_at=NOON - timedelta(days=2))
    plant.write([old, plant.part(model)])
    plant.look()
    assert plant.state().parts == 1


def test_a_camera_at_which_another_scorer_is_waits_for_the_next_look(plant: Plant, model: RegisteredModel) -> None:
    plant.parts(5, model)
    scorer = plant.scorer()
    with camera_turn(plant.database, "cam") as turn:
        assert turn is not None
        plant.look(scorer)
        assert plant.shown == []
    plant.now += LOOK_EVERY_S
    scorer.look()
    assert plant.state().parts == 5


def test_the_verdicts_are_found_by_the_cameras_index(plant: Plant, model: RegisteredModel) -> None:
    plant.parts(3000, model)
    plant.look(times=1)
    with plant.database.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("VACUUM ANALYZE verdicts"))
    with camera_turn(plant.database, "cam") as turn:
        assert turn is not None
        turn.rows()
        query = turn._query(NOON, 10).compile(dialect=plant.database.dialect)
        plan = turn._connection.exec_driver_sql(f"EXPLAIN (ANALYZE, FORMAT JSON) {query}", query.params).scalar_one()
    text = json.dumps(plan)
    assert "_camera_received_at_idx" in text
    assert "pkey" not in text
    assert "Seq Scan" not in text


def test_the_report_has_wealth_alarm_and_distances(plant: Plant, model: RegisteredModel) -> None:
    plant.parts(100, model)
    plant.parts(300, model, shift=-1.5)
    plant.look()
    quality, score = drift_report(plant.database)
    assert (quality.kind, quality.n, quality.alarm, quality.psi) == ("quality", 400, False, None)
    assert (score.kind, score.n, score.alarm, score.compared_with) == ("score", 400, True, "calibration")
    assert score.log10_wealth >= 2
    assert score.psi is not None
    assert score.psi > 0.25
    assert score.ks is not None
    assert score.ks > 0.3
    assert drift_report(plant.database, "another product") == []


def test_the_command_prints_a_table_or_json_and_tells_an_alarm_by_its_exit_code(
    plant: Plant, model: RegisteredModel, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIFFERLINE_DATABASE_URL", str(settings.database_url))
    monkeypatch.setenv("DIFFERLINE_REDIS_URL", str(settings.redis_url))
    plant.parts(30, model)
    plant.look()
    quiet = CliRunner().invoke(drift_app, ["--json"])
    assert quiet.exit_code == 0
    assert [(line["kind"], line["n"]) for line in json.loads(quiet.output)] == [("quality", 30), ("score", 30)]
    plant.parts(100, model, shift=-3.0)
    plant.look()
    loud = CliRunner().invoke(drift_app, ["--product", "tile"])
    assert loud.exit_code == 1
    assert "cam" in loud.output
    assert "since 2026-03-03" in loud.output


def test_a_scorer_measures_pictures_and_looks_for_drift(
    line: Line, put_in_force: Callable[[], RegisteredModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    put_in_force()
    line.send(*(line.frame() for _ in range(5)))
    worker = line.worker()
    monkeypatch.setattr("scorer.worker._POLL_S", 0.05)
    worker.run(until_idle_s=0.2)
    worker.drift._monotonic = lambda: 1e9  # type: ignore[method-assign]
    worker.watch._next_look = 0.0
    worker.run(until_idle_s=0.2)
    rows = line.rows(verdicts)
    assert len(rows) == 5
    for row in rows:
        assert 100 < row.brightness < 160
        assert 5 < row.contrast < 60
        assert 0 < row.focus < 10
    (quality,) = [row for row in drift_rows(line.database) if row.kind is DriftKind.QUALITY]
    assert len(quality.state["own"]) == 5
    assert 'drift_log10_wealth{camera="cam",kind="quality",product="part"} 0.0' in served(worker)


def served(worker: Any) -> str:
    return generate_latest(worker.watch.metrics.registry).decode()


def test_a_camera_with_a_calibration_of_its_own_is_compared_with_that(plant: Plant) -> None:
    """Its scores lie higher than the other camera's, and its pictures are sharper: that is how it was at calibration.

    By the threshold of both, two of its parts in five would be flagged, which is a crowd.
    """
    cameras = ["cam"] * 150 + ["other"] * 3000
    scores = plant.rng.normal(size=3150) + 4.0 * (np.arange(3150) < 150)
    quality = np.array(SHARP) + plant.rng.normal(size=(3150, 3)) - 5.0 * (np.arange(3150) >= 150)[:, None]
    own = calibrate_cameras(scores.tolist(), cameras, 0.02)
    model = plant.write_model(
        calibration_scores=scores.tolist(),
        calibration_quality=quality.tolist(),
        calibration_cameras=cameras,
        false_alarm_rate=0.02,
        threshold=calibrate(scores, 0.02).threshold,
        camera_thresholds={camera: made.threshold for camera, made in own.items()},
    )
    plant.threshold = own["cam"].threshold
    plant.parts(450, model, shift=4.0)
    plant.look()
    quality_line, score_line = drift_report(plant.database)
    assert (quality_line.alarm, score_line.alarm, score_line.n) == (False, False, 450)
    assert (quality_line.compared_with, score_line.compared_with) == ("own calibration", "own calibration")
    assert score_line.psi is not None
    assert score_line.psi < 0.25
    plant.parts(200, model, shift=2.0)
    plant.look(times=2)
    assert drift_report(plant.database)[1].alarm
