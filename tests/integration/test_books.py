"""What ingest tells the ledger of a camera with a spool, in a real PostgreSQL: also of runs that were killed."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from prometheus_client import generate_latest

from infra.clock import utc_now
from infra.frames import FrameMessage
from infra.metrics import Metrics, Service
from infra.store.camera_health import silent_cameras
from infra.store.ledger import CameraLedger, read_ledger
from infra.store.runs import report_accepted
from infra.store.tables import camera_runs
from ingest.books import CameraBooks
from ingest.spool import Spool


def frame(sequence: int, run: str) -> FrameMessage:
    return FrameMessage(f"{run}-{sequence}", "cam", "p", utc_now(), b"x", run=run, sequence=sequence)


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    with Spool(tmp_path / "spool.sqlite3", "cam", max_bytes=10**7) as opened:
        yield opened


def books(database: sa.Engine, spool: Spool, run: str = "new", metrics: Metrics | None = None) -> CameraBooks:
    return CameraBooks(database, "cam", run, metrics=metrics or Metrics(Service.INGEST), spool=spool)


def the_camera(database: sa.Engine) -> CameraLedger:
    (camera,) = read_ledger(database, lambda _: False).cameras
    return camera


def test_what_is_captured_and_what_the_bus_has_are_told_apart(database: sa.Engine, spool: Spool) -> None:
    with books(database, spool) as opened:
        opened.captured(5)
        for sequence in range(3):
            opened.sent(frame(sequence, "new"))
    camera = the_camera(database)
    assert (camera.received, camera.waiting, camera.spooled) == (5, 3, 2)


def test_a_run_that_was_killed_is_told_to_its_end_and_is_no_silent_camera(database: sa.Engine, spool: Spool) -> None:
    report_accepted(database, "cam", "old", 1, captured=2)  # it was killed before it could say that there are four
    for sequence in range(2, 4):
        spool.append(frame(sequence, "old"))
    with books(database, spool) as opened:
        pass
    camera = the_camera(database)
    assert (camera.received, camera.spooled) == (4, 2)
    with books(database, spool) as opened:
        while (oldest := spool.first()) is not None:
            spool.remove(oldest)
            opened.sent(oldest.frame)
    camera = the_camera(database)
    assert (camera.received, camera.waiting, camera.spooled) == (4, 4, 0)
    with database.begin() as connection:
        ended = connection.scalar(sa.select(camera_runs.c.ended_at).where(camera_runs.c.run == "old"))
        connection.execute(sa.delete(camera_runs).where(camera_runs.c.run == "new"))
        connection.execute(sa.update(camera_runs).values(updated_at=camera_runs.c.updated_at - timedelta(minutes=5)))
    assert ended is not None
    assert silent_cameras(database, timedelta(seconds=60)) == []


def test_what_was_skipped_is_counted_by_reason_and_outlives_the_process(database: sa.Engine, spool: Spool) -> None:
    metrics = Metrics(Service.INGEST)
    killed = books(database, spool, "old", metrics)  # never entered: it could tell nothing
    killed.skipped(3, "bus_away")
    killed.skipped(0, "camera_away")
    assert killed.skips() == {"bus_away": 3}
    with pytest.raises(ValueError, match="rain"):
        killed.skipped(1, "rain")
    with books(database, spool) as opened:
        opened.skipped(2, "bus_away")
        opened.skipped(1, "camera_away")
    assert the_camera(database).skipped == {"bus_away": 5, "camera_away": 1}
    assert set(spool.skipped()) == {"new"}  # the old run is over and was told
    text = generate_latest(metrics.registry).decode()
    assert 'differline_ingest_skipped_frames_total{camera="cam",reason="bus_away"} 3.0' in text
