"""Pictures that are too large for the bus, from ingest through the archive to the verdict."""

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from structlog.testing import capture_logs

from infra.archive import Archive, open_archive
from infra.clock import utc_now
from infra.pictures import encode_png
from infra.store.models import RegisteredModel
from infra.store.runs import report_accepted
from infra.store.tables import dead_letters, verdicts
from ingest.claim_check import ClaimCheck
from ingest.gateway import Camera, Gateway
from ingest.sources import CapturedPicture

from ..small_model import part_picture
from .line import Line

PutInForce = Callable[[], RegisteredModel]


@pytest.fixture
def archive(line: Line) -> Archive:
    return open_archive(line.settings.archive_location)


def ingest(line: Line, archive: Archive, *bodies: bytes) -> None:
    """Send pictures, every one of them through the archive."""
    camera = Camera("cam", "part", line.settings.frames_topic, line.settings.max_frame_bytes, send_timeout_s=10)
    check = ClaimCheck(archive, above_bytes=1)
    gateway = Gateway(line.producer, camera, stop=threading.Event(), claim_check=check)
    report = gateway.send_all(CapturedPicture(body, "image/png", utc_now()) for body in bodies)
    report_accepted(line.database, "cam", report.run, report.accepted)


def test_a_frame_is_judged_and_kept_as_if_it_had_come_along(
    line: Line, archive: Archive, put_in_force: PutInForce
) -> None:
    put_in_force()
    noise = encode_png(np.random.default_rng(5).integers(0, 255, (60, 80, 3), np.uint8))
    ingest(line, archive, encode_png(part_picture(100)), noise)
    assert line.worker().run(until_idle_s=0.3).frames == 2
    usual, odd = sorted(line.rows(verdicts), key=lambda row: row.received_at)
    assert usual.score < odd.score
    assert odd.state == "DEFECT"
    assert archive.read(odd.archive_ref) == noise
    assert line.ledger().balanced


def test_what_is_no_picture_or_no_longer_there_is_dead_lettered(line: Line, archive: Archive) -> None:
    ingest(line, archive, b"no picture", b"gone", encode_png(part_picture(100)))
    gone = archive.write(b"gone")
    (Path(line.settings.archive_location) / gone).unlink()
    line.worker().run(until_idle_s=0.3)
    letters = {letter.reason: letter for letter in line.rows(dead_letters)}
    assert sorted(letters) == ["dataref_missing", "not_an_image"]
    assert letters["dataref_missing"].headers["ce_dataref"] == gone
    assert len(line.rows(verdicts)) == 1
    assert line.ledger().balanced


def test_an_archive_that_is_away_pauses_the_worker_and_nothing_is_dead_lettered(line: Line, archive: Archive) -> None:
    worker, kept = line.worker(), Path(line.settings.archive_location)
    worker.run(until_idle_s=0)  # it began while the archive was there
    ingest(line, archive, encode_png(part_picture(100)), encode_png(part_picture(101)))
    records = worker._persist("prepare", worker._next_records)
    kept.rename(kept.with_name("away"))
    with capture_logs() as logs:
        scoring = threading.Thread(target=worker._score, args=(records,))
        scoring.start()
        scoring.join(1.5)
        assert scoring.is_alive()
        assert line.rows(dead_letters) == line.rows(verdicts) == []
        kept.with_name("away").rename(kept)
        scoring.join(60)
    assert not scoring.is_alive()
    assert any(event["event"] == "server.away" and "is not there" in event["error"] for event in logs)
    worker.run(until_idle_s=0.3)
    assert line.rows(dead_letters) == []
    assert len(line.rows(verdicts)) == 2
    assert line.ledger().balanced
