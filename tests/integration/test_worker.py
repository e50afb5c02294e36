"""The scorer on real engines: everything is accounted for, whatever happens in between."""

import hashlib
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

from infra.bus.connect import open_consumer
from infra.errors import StaleEpochError
from infra.live import LiveState
from infra.pictures import encode_png
from infra.store.models import RegisteredModel
from infra.store.tables import alerts, dead_letters, heatmaps, outbox, verdicts
from scorer.detector import Detector
from trainer.fit import FittedModel
from trainer.register import register

from ..small_model import part_picture
from .line import Line

PutInForce = Callable[[], RegisteredModel]


def test_every_frame_gets_its_fate_and_the_ledger_balances(line: Line, put_in_force: PutInForce) -> None:
    model = put_in_force()
    good = [line.frame() for _ in range(6)]
    odd = [
        line.frame(np.random.default_rng(1).bytes(500)),
        line.frame(b""),
        line.frame(encode_png(np.zeros((60, 80, 3), np.uint8))),
        line.frame(product="unheard-of"),
    ]
    line.send(*good, *odd)
    totals = line.worker().run(until_idle_s=0.5)
    assert totals.frames == 10

    (camera,) = line.ledger().cameras
    assert camera.balanced
    assert (camera.received, camera.good + camera.defect, camera.missing) == (10, 6, 0)
    assert camera.no_verdict == {"black": 1, "unknown_product": 1}
    assert camera.dead_lettered == {"empty_body": 1, "not_an_image": 1}
    judged = {row.frame_id: row for row in line.rows(verdicts)}
    for frame in good:
        row = judged[frame.frame_id]
        assert row.model_id == model.id
        assert row.threshold == model.threshold
        assert row.views == 1
        assert row.sha256 == hashlib.sha256(frame.body).hexdigest()
        assert row.captured_at - timedelta(milliseconds=1) <= row.received_at <= row.scored_at <= row.committed_at
        assert (row.score > row.threshold) == (row.state == "DEFECT")
    assert {row.reason for row in line.rows(dead_letters)} == {"empty_body", "not_an_image"}


def test_a_defect_raises_an_alert_with_heatmap_and_kept_picture(line: Line, put_in_force: PutInForce) -> None:
    put_in_force()
    noise = np.random.default_rng(5).integers(0, 255, (60, 80, 3), np.uint8)
    frame = line.frame(encode_png(noise))
    line.send(frame)
    worker = line.worker()
    worker.run(until_idle_s=0.5)
    (row,) = line.rows(verdicts)
    assert row.state == "DEFECT"
    assert row.p_value <= 0.2
    assert worker.judge.archive.read(row.archive_ref) == frame.body
    assert [alert.frame_id for alert in line.rows(alerts)] == [frame.frame_id]
    assert [heat.frame_id for heat in line.rows(heatmaps)] == [frame.frame_id]
    latest = worker.live.latest_frame("cam")
    assert latest is not None
    assert latest.frame_id == frame.frame_id


def test_a_product_that_lost_its_model_gets_no_verdict_and_a_new_version_is_taken_up(
    line: Line, put_in_force: PutInForce, database: sa.Engine
) -> None:
    put_in_force()
    with database.begin() as connection:
        connection.execute(sa.text("UPDATE models SET state = 'retired'"))
    line.send(line.frame())
    worker = line.worker()
    worker.run(until_idle_s=0.3)
    assert [(row.state, row.reason) for row in line.rows(verdicts)] == [("NO_VERDICT", "no_model")]
    second = put_in_force()
    worker.judge.shelf._next_look = 0
    line.send(line.frame())
    worker.run(until_idle_s=0.3)
    assert second.version == 2
    assert {row.model_id for row in line.rows(verdicts)} == {None, second.id}


@pytest.mark.parametrize("file", ["flow.safetensors", "manifest.json"])
def test_an_altered_artifact_is_refused_and_its_frames_get_no_verdict(
    line: Line, put_in_force: PutInForce, file: str
) -> None:
    artifact = Path(put_in_force().folder) / file
    artifact.write_bytes(artifact.read_bytes()[:-1] + b" ")
    line.send(line.frame())
    line.worker().run(until_idle_s=0.3)
    assert [(row.state, row.reason) for row in line.rows(verdicts)] == [("NO_VERDICT", "model_refused")]
    assert line.ledger().balanced


def test_a_refused_successor_leaves_the_model_in_force_at_work(line: Line, put_in_force: PutInForce) -> None:
    first = put_in_force()
    worker = line.worker()
    line.send(line.frame())
    worker.run(until_idle_s=0.3)
    (Path(put_in_force().folder) / "flow.safetensors").write_bytes(b"broken")
    worker.judge.shelf._next_look = 0
    line.send(line.frame())
    worker.run(until_idle_s=0.3)
    assert [row.model_id for row in line.rows(verdicts)] == [first.id, first.id]


def test_more_products_than_models_in_memory_are_judged_each_by_its_own(
    line: Line, put_in_force: PutInForce, database: sa.Engine, fitted: FittedModel
) -> None:
    models = {"part": put_in_force().id}
    for product in ("bolt", "cap"):
        detector = Detector(
            fitted.detector.manifest.model_copy(update={"product": product}),
            fitted.detector.extractor,
            fitted.detector.flow,
        )
        models[product] = register(database, line.settings.models_folder, replace(fitted, detector=detector), "test").id
    worker = line.worker(models_in_memory=1)
    for batch in (("cap", "part", "bolt", "part"), ("bolt",), ("cap", "cap")):
        line.send(*(line.frame(product=product) for product in batch))
        worker.run(until_idle_s=0.3)
    rows = line.rows(verdicts)
    assert len(rows) == 7
    assert all(row.model_id == models[row.product] and row.score is not None for row in rows)
    assert line.ledger().balanced


def test_what_happens_while_models_are_loaded_is_not_held_against_the_frames(
    line: Line, put_in_force: PutInForce, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_in_force()
    line.send(line.frame())
    worker = line.worker()
    monkeypatch.setattr(worker.judge.shelf, "hold", lambda _: pytest.fail("no memory is left"))
    with pytest.raises(pytest.fail.Exception):
        worker.run(until_idle_s=0.3)
    with capture_logs() as logs:
        assert line.worker().run(until_idle_s=0.3).frames == 1
    assert "batch.unfinished" not in {event["event"] for event in logs}


def test_a_score_that_is_not_finite_is_no_verdict(line: Line, put_in_force: PutInForce) -> None:
    put_in_force()
    worker = line.worker()
    worker.judge.shelf.refresh()
    model = worker.judge.shelf.judge_of("part")
    for weight in model.detector.flow.parameters():  # type: ignore[union-attr]
        if weight.is_floating_point():
            weight.data.fill_(float("nan"))
    line.send(line.frame())
    worker.run(until_idle_s=0.3)
    (row,) = line.rows(verdicts)
    assert (row.state, row.reason, row.score) == ("NO_VERDICT", "score_not_finite", None)
    assert line.rows(alerts) == []


def test_a_frame_that_came_too_late_is_accounted_for_and_never_looks_good(line: Line, put_in_force: PutInForce) -> None:
    put_in_force()
    late, fresh = line.frame(), line.frame()
    late = replace(late, captured_at=late.captured_at - timedelta(hours=1))
    line.send(late, fresh)
    line.worker(late_after_s=600).run(until_idle_s=0.3)
    judged = {row.frame_id: row for row in line.rows(verdicts)}
    row = judged[late.frame_id]
    assert (row.state, row.reason, row.score, row.scored_at) == ("NO_VERDICT", "late", None, None)
    assert judged[fresh.frame_id].score is not None
    (camera,) = line.ledger().cameras
    assert (camera.balanced, camera.no_verdict) == (True, {"late": 1})


def test_a_restarted_worker_goes_on_exactly_behind_what_is_stored(line: Line, put_in_force: PutInForce) -> None:
    put_in_force()
    frames = [line.frame(camera=f"cam{index % 3}") for index in range(12)]
    frames = [replace(frame, run=frame.camera, sequence=index // 3) for index, frame in enumerate(frames)]
    line.send(*frames)
    first = line.worker(batch_frames=4)
    first._persist("prepare", first._next_records)
    second = line.worker(batch_frames=4)
    second._score(second._persist("prepare", second._next_records))
    third = line.worker()
    totals = third.run(until_idle_s=0.3)
    assert 0 < totals.frames < 12
    assert totals.duplicates == 0
    assert sorted(row.frame_id for row in line.rows(verdicts)) == sorted(frame.frame_id for frame in frames)
    assert line.ledger().balanced


def test_a_worker_that_lost_its_partition_writes_nothing(line: Line, put_in_force: PutInForce) -> None:
    put_in_force()
    line.send(line.frame())
    slow = line.worker()
    records = slow._persist("prepare", slow._next_records)
    line.worker().run(until_idle_s=0.3)
    with pytest.raises(StaleEpochError, match="belongs to"):
        slow._score(records)
    assert len(line.rows(verdicts)) == 1
    assert line.ledger().balanced


def test_a_frame_that_is_sent_again_gets_no_second_verdict(line: Line, put_in_force: PutInForce) -> None:
    put_in_force()
    frame = line.frame()
    line.send(frame, frame)
    worker = line.worker()
    worker.run(until_idle_s=0.3)
    line.send(frame)
    totals = worker.run(until_idle_s=0.3)
    assert (totals.frames, totals.duplicates) == (1, 2)
    (camera,) = line.ledger().cameras
    assert (camera.received, camera.duplicates, camera.balanced) == (1, 2, True)


def test_producers_that_know_nothing_of_each_other_may_use_the_same_ids(line: Line, put_in_force: PutInForce) -> None:
    put_in_force()
    noise = encode_png(np.random.default_rng(5).integers(0, 255, (60, 80, 3), np.uint8))
    for number in range(3):
        frames = [line.frame(noise, camera=camera) for camera in ("left", "right")]
        line.send(*(replace(frame, frame_id=str(number), run=None, sequence=None) for frame in frames))
    totals = line.worker(outbox="on").run(until_idle_s=0.5)
    assert (totals.frames, totals.duplicates) == (6, 0)
    expected = [(camera, str(number)) for camera in ("left", "right") for number in range(3)]
    for table in (verdicts, heatmaps, alerts, outbox):
        assert sorted((row.camera, row.frame_id) for row in line.rows(table)) == expected
    assert [(camera.received, camera.balanced) for camera in line.ledger().cameras] == [(3, True), (3, True)]


def test_absent_live_state_changes_no_result(line: Line, put_in_force: PutInForce) -> None:
    put_in_force()
    worker = line.worker()
    worker.live.close()
    worker.live = LiveState("redis://127.0.0.1:1")
    line.send(line.frame(), line.frame())
    assert worker.run(until_idle_s=0.3).frames == 2
    assert line.ledger().balanced


def test_an_absent_database_pauses_the_worker_and_loses_nothing(
    line: Line, put_in_force: PutInForce, database_url: str
) -> None:
    put_in_force()
    worker = line.worker()
    worker.run(until_idle_s=0.1)
    url = sa.make_url(database_url)
    admin = sa.create_engine(url.set(database="postgres"), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(sa.text(f'ALTER DATABASE "{url.database}" ALLOW_CONNECTIONS false'))
        connection.execute(
            sa.text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name"),
            {"name": url.database},
        )
    line.send(line.frame(), line.frame())
    running = threading.Thread(target=worker.run, kwargs={"until_idle_s": 1.0})
    running.start()
    running.join(1.0)
    with admin.connect() as connection:
        connection.execute(sa.text(f'ALTER DATABASE "{url.database}" ALLOW_CONNECTIONS true'))
    running.join(60)
    admin.dispose()
    assert not running.is_alive()
    assert len(line.rows(verdicts)) == 2
    assert line.rows(dead_letters) == []
    assert line.ledger().balanced


def test_a_worker_that_is_told_to_stop_while_the_database_is_away_ends(line: Line) -> None:
    line.send(line.frame())
    worker = line.worker()
    worker.database = sa.create_engine(
        "postgresql+psycopg://nobody@127.0.0.1:1/none", connect_args={"connect_timeout": 1}
    )
    running = threading.Thread(target=worker.run)
    running.start()
    running.join(0.5)
    assert running.is_alive()
    worker.stop.set()
    running.join(10)
    assert not running.is_alive()
    consumer = open_consumer(line.settings, line.engines)
    for partition in consumer.assigned():
        consumer.seek_to_beginning(partition)
    assert consumer.waiting(consumer.assigned()) == 1
    consumer.close()


def test_the_small_model_is_what_these_tests_think(fitted: FittedModel) -> None:
    scores = fitted.detector.score(
        [part_picture(500), np.random.default_rng(5).integers(0, 255, (60, 80, 3), np.uint8)]
    )
    assert scores.score[1] > scores.score[0]
