"""An RTSP camera that loses power again and again: its frames flow again, and the gap is the camera's, none of ours."""

import json
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from infra.settings import Settings
from infra.store.connect import open_database
from infra.store.tables import camera_runs

from ...rtsp_camera import rtsp_server
from ..commands import SOAK, Differline
from .conftest import Table

ROUNDS, AWAY_S, THERE_S = (20, 60.0, 5.0) if SOAK else (2, 4.0, 2.0)
FPS = 10
BACK_S = 10.0
WAIT_S = 90.0


def wait_until(done: Callable[[], bool], within_s: float, what: str) -> float:
    """Wait; returns how long that took, in seconds."""
    began = time.monotonic()
    while not done():
        assert time.monotonic() - began < within_s, f"not within {within_s:.0f} s: {what}"
        time.sleep(0.1)
    return time.monotonic() - began


@pytest.mark.timeout(3600)
def test_a_camera_that_is_away_and_back_goes_on_and_its_gap_is_its_own(
    settings: Settings, tmp_path: Path, numbered_pictures: Path, table: Table
) -> None:
    chosen = {
        "DIFFERLINE_DATABASE_URL": settings.database_url or "",
        "DIFFERLINE_REDIS_URL": settings.redis_url or "",
        "CAMERA_PASSWORD": "of-the-soak",
    }
    differline = Differline(tmp_path, chosen)
    database = open_database(settings.database_url or "")

    def received() -> int:
        with database.connect() as connection:
            return connection.scalar(sa.select(sa.func.max(camera_runs.c.captured))) or 0

    with ExitStack() as opened:
        opened.callback(database.dispose)
        login = ("--user", "viewer", "--password", "of-the-soak")
        server = opened.enter_context(rtsp_server(numbered_pictures, "--fps", str(FPS), *login))
        log = opened.enter_context((tmp_path / "log").open("w"))
        url = server.url.replace("//", "//viewer:${CAMERA_PASSWORD}@")
        ingest = opened.enter_context(
            differline.start("ingest", "rtsp", url, "--camera", "oven-1", "--product", "tile", into=log)
        )
        opened.callback(ingest.kill)
        scorer = None
        if SOAK:  # so that the bus does not fill; without a model, all are NO_VERDICT
            scorer = opened.enter_context(differline.start("score", into=log))
            opened.callback(scorer.kill)
        wait_until(lambda: received() >= 3 * FPS, WAIT_S, "the first frames")
        back_s, away_s = [], []
        for _ in range(ROUNDS):
            server.kill()
            gone = time.monotonic()
            time.sleep(AWAY_S)
            before = received()
            server.start()
            away_s.append(time.monotonic() - gone)
            back_s.append(wait_until(lambda before=before: received() > before, BACK_S, "frames flow again"))
            time.sleep(THERE_S)
        ingest.terminate()
        assert ingest.wait(WAIT_S) == 0, (tmp_path / "log").read_text()[-4000:]
        book: dict[str, Any] = {}

        def on_the_books() -> bool:
            book.update(json.loads(differline.start("ledger", "--json").communicate(timeout=WAIT_S)[0]))
            return bool(book["balanced"]) == SOAK

        wait_until(on_the_books, WAIT_S, "the scorer judges the last frames")
        if scorer is not None:
            scorer.terminate()
            assert scorer.wait(WAIT_S) == 0
    (camera,) = book["cameras"]
    assert camera["received"] == camera["accounted"] + camera["waiting"]
    assert camera["missing"] == camera["spooled"] == camera["duplicates"] == 0
    assert set(camera["skipped"]) == {"camera_away"}
    owed = camera["skipped"]["camera_away"]
    surely, at_most = sum(away_s) * FPS, (sum(away_s) + sum(back_s) + 2 * ROUNDS) * FPS
    assert 0.9 * surely - 2 * ROUNDS <= owed <= at_most
    assert "of-the-soak" not in (tmp_path / "log").read_text()
    flows = f"frames again after {max(back_s):.1f} s at most, {sum(back_s) / ROUNDS:.1f} s on average"
    books = f"{camera['received']} received, {camera['accounted']} judged, {camera['waiting']} wait, 0 missing"
    gap = f"{owed} owed by the camera, away for {sum(away_s):.0f} s at {FPS} frames/s"
    table.row("RTSP camera away", f"{ROUNDS} times {AWAY_S:.0f} s", "; ".join((flows, books, gap)))
