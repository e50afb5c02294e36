"""The scorer on real engines: everything is accounted for, whatever happens in between."""

import copy
import hashlib
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

import infra.received
import scorer.threads
import scorer.worker
from infra.bus import Record
from infra.bus.connect import open_consumer
from infra.errors import ArchiveAwayError, StaleEpochError
from infra.live import LiveState
from infra.pictures import RgbPicture, encode_png
from infra.store.models import RegisteredModel
from infra.store.positions import Claim
from infra.store.results import Batch, Written, write_batch
from infra.store.tables import alerts, dead_letters, heatmaps, outbox, verdicts
from scorer.decode import DecodedFrame, Outcome, decode_record
from scorer.detector import Detector
from scorer.threads import cores_here
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


@pytest.mark.parametrize("one_flow", [False, True])
def test_more_products_than_models_in_memory_are_judged_each_by_its_own_and_the_bound_holds(
    line: Line, put_in_force: PutInForce, database: sa.Engine, fitted: FittedModel, one_flow: bool
) -> None:
    models = {"part": put_in_force().id}
    for product in ("bolt", "cap"):
        flow = copy.deepcopy(fitted.detector.flow)
        flow.mean += 0.0 if one_flow else len(product)
        manifest = fitted.detector.manifest.model_copy(update={"product": product})
        detector = Detector(manifest, fitted.detector.extractor, flow)
        models[product] = register(database, line.settings.models_folder, replace(fitted, detector=detector), "test").id
    worker = line.worker(models_in_memory=1)
    shelf, in_memory, groups = worker.judge.shelf, [], []
    score = worker._score_group

    def watched(records: list[Record]) -> None:
        groups.append(len(records))
        score(records)
        in_memory.append({model.detector.flow for model in shelf._loaded.values()})

    worker._score_group = watched  # type: ignore[method-assign]
    for batch in (("cap", "part", "bolt", "part"), ("bolt",), ("cap", "cap")):
        line.send(*(line.frame(product=product) for product in batch))
        worker.run(until_idle_s=0.3)
    assert groups == ([4, 1, 2] if one_flow else [1, 1, 1, 1, 1, 2])
    assert all(len(flows) == 1 for flows in in_memory)
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


def test_a_batch_decodes_while_its_first_frames_are_scored_and_is_written_at_once_in_its_order(
    line: Line, put_in_force: PutInForce, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_in_force()
    frames = [line.frame() for _ in range(10)]
    frames[3] = line.frame(b"no picture")
    frames = [replace(frame, sequence=number) for number, frame in enumerate(frames)]
    line.send(*frames)
    worker = line.worker(batch_frames=10, batch_wait_ms=20_000, decode_threads=3)
    places, scoring, written, score = {}, threading.Event(), [], worker.judge.score

    def out_of_order(record: Record, **options: Any) -> Outcome:
        place = places.setdefault(record.offset, len(places))
        if place == 0:
            time.sleep(0.3)
        if place == 9:
            assert scoring.wait(60), "nothing was scored before all was decoded"
        return decode_record(record, **options)

    def noted(part: list[DecodedFrame]) -> object:
        scoring.set()
        written.append([frame.message.frame_id for frame in part])
        return score(part)

    def noted_write(database: sa.Engine, claims: list[Claim], batch: Batch, *args: Any, **options: Any) -> Written:
        written.append([row.frame_id for row in batch.verdicts])
        return write_batch(database, claims, batch, *args, **options)

    monkeypatch.setattr(scorer.worker, "decode_record", out_of_order)
    monkeypatch.setattr(scorer.worker, "write_batch", noted_write)
    monkeypatch.setattr(worker.judge, "score", noted)
    worker.run(until_idle_s=0.3)
    good = [frame.frame_id for number, frame in enumerate(frames) if number != 3]
    assert written == [good[:4], good[4:], good]
    assert [(row.frame_id, row.reason) for row in line.rows(dead_letters)] == [(frames[3].frame_id, "not_an_image")]
    assert worker.totals.batches == 1
    assert line.ledger().balanced


def test_what_a_thread_could_not_fetch_is_fetched_again_where_waiting_is_safe(
    line: Line, put_in_force: PutInForce, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_in_force()
    frames = [line.frame() for _ in range(6)]
    line.send(*frames)
    worker = line.worker(batch_frames=6, batch_wait_ms=20_000)
    main, tried, stayed, stay = threading.current_thread(), [], [], worker.consumer.stay

    def away(record: Record, **options: Any) -> Outcome:
        outcome = decode_record(record, **options)
        assert isinstance(outcome, DecodedFrame)
        if outcome.message.frame_id in (frames[1].frame_id, frames[5].frame_id):
            tried.append(threading.current_thread() is main)
            if tried.count(True) < 2:
                raise ArchiveAwayError("the archive is away")
        return outcome

    def stays() -> None:
        stayed.append(threading.current_thread() is main)
        stay()

    monkeypatch.setattr(scorer.worker, "decode_record", away)
    monkeypatch.setattr(worker.consumer, "stay", stays)
    with capture_logs() as logs:
        worker.run(until_idle_s=0.3)
    assert (tried.count(False), tried.count(True)) == (2, 3)
    assert stayed
    assert all(stayed)
    assert [event["during"] for event in logs if event["event"] == "server.away"] == ["fetch"]
    assert [row.frame_id for row in sorted(line.rows(verdicts), key=lambda row: row.bus_offset)] == [
        frame.frame_id for frame in frames
    ]
    assert line.rows(dead_letters) == []
    assert line.ledger().balanced


def test_decoding_counts_with_what_the_worker_waited_for_and_a_frame_with_all_that_it_took(
    line: Line, put_in_force: PutInForce, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_in_force()
    line.send(*(line.frame() for _ in range(4)))
    worker = line.worker(batch_frames=4, batch_wait_ms=20_000, decode_threads=4)
    stayed, stay, decode = [], worker.consumer.stay, infra.received.decode

    def slow(data: bytes, max_pixels: int) -> RgbPicture:
        time.sleep(0.5)
        return decode(data, max_pixels)

    def stays() -> None:
        stayed.append(True)
        stay()

    monkeypatch.setattr(infra.received, "decode", slow)
    monkeypatch.setattr(scorer.worker, "HEARTBEAT_S", 0.1)
    monkeypatch.setattr(worker.consumer, "stay", stays)
    worker.run(until_idle_s=0.3)
    assert min(row.decode_ms for row in line.rows(verdicts)) >= 500
    assert 0.4 < worker.judge.stages.decode < 1.5
    assert stayed


def test_a_worker_has_the_threads_that_the_settings_say_until_it_is_closed(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scorer.threads, "use_threads", lambda _: None)  # torch's and OpenCV's are of the whole process

    def threads(**changes: object) -> int:
        return int(line.worker(**changes).decoders._max_workers)  # type: ignore[attr-defined]

    assert threads(decode_threads=11) == 11
    assert threads(cpu_threads=3) == 3
    assert threads(cpu_threads=30) == 8
    assert threads() == min(8, cores_here())
    worker = line.worker()
    worker.close()
    with pytest.raises(RuntimeError, match="after shutdown"):
        worker.decoders.submit(cores_here)


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
