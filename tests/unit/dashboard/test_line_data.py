from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
import redis

from dashboard.data import line as data
from dashboard.sources import Sources
from infra.live import LatestFrame
from infra.pictures import decode, encode_jpeg
from infra.settings import Settings
from infra.store.tables import VerdictState
from infra.store.verdicts import ScoreSeries, Verdict

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
NEWEST = Verdict(
    received_at=AT, frame_id="f2", camera="cam", product="tile", part_id=None, job_id=None, sha256="0" * 64, simulated=None,
    captured_at=AT, scored_at=AT, committed_at=AT, state=VerdictState.GOOD, reason=None, model_version=1, score=9.0,
    p_value=0.5, threshold=20.0, views=8, archive_ref="aa/f2",
)  # fmt: skip
SINCE_THEN = replace(NEWEST, frame_id="f3", received_at=AT + timedelta(seconds=1), archive_ref=None)
RED = np.full((40, 60, 3), (220, 40, 40), np.uint8)


class FakeLive:
    def __init__(self, frame: LatestFrame | None) -> None:
        self.frame = frame

    def latest_frame(self, _camera: str) -> LatestFrame | None:
        if self.frame is None:
            raise redis.ConnectionError("away")
        return self.frame


def live_frame(frame_id: str, seconds: float) -> LatestFrame:
    return LatestFrame("cam", frame_id, (AT + timedelta(seconds=seconds)).isoformat(), b"live")


TileOf = Callable[[LatestFrame | None, Verdict | None], data.Tile]


@pytest.fixture
def tile_of(monkeypatch: pytest.MonkeyPatch) -> TileOf:
    """The tile for a live frame and a newest verdict; the archive has the picture of f2, the store the verdict of f3."""
    monkeypatch.setattr(data, "small_picture", lambda ref, _side_px: {"aa/f2": b"archive"}.get(ref))
    monkeypatch.setattr(data.verdict_store, "verdict", lambda _db, *frame: {("cam", "f3"): SINCE_THEN}.get(frame[:2]))

    def tile(frame: LatestFrame | None, newest: Verdict | None) -> data.Tile:
        sources = Sources(settings=None, database=None, live=FakeLive(frame), archive=None)  # type: ignore[arg-type]
        return data._tile(sources, "cam", newest)

    return tile


def test_the_live_picture_stands_beside_the_verdict_of_the_same_frame(tile_of: TileOf) -> None:
    assert tile_of(live_frame("f2", 0), NEWEST) == data.Tile("cam", NEWEST, b"live", picture_is_earlier=False)


def test_a_frame_scored_since_the_verdicts_were_read_brings_its_own_verdict(tile_of: TileOf) -> None:
    assert tile_of(live_frame("f3", 1), NEWEST) == data.Tile("cam", SINCE_THEN, b"live", picture_is_earlier=False)


def test_stale_live_state_gives_way_to_the_picture_in_the_archive(tile_of: TileOf) -> None:
    assert tile_of(live_frame("f1", -9), NEWEST) == data.Tile("cam", NEWEST, b"archive", picture_is_earlier=False)


def test_an_earlier_picture_is_called_earlier(tile_of: TileOf) -> None:
    kept_nowhere = replace(NEWEST, archive_ref=None)
    assert tile_of(live_frame("f1", -9), kept_nowhere) == data.Tile(
        "cam", kept_nowhere, b"live", picture_is_earlier=True
    )


def test_without_redis_the_archive_serves(tile_of: TileOf) -> None:
    assert tile_of(None, NEWEST) == data.Tile("cam", NEWEST, b"archive", picture_is_earlier=False)


def test_a_camera_without_a_verdict_has_an_empty_tile(tile_of: TileOf) -> None:
    assert tile_of(None, None) == data.Tile("cam", None, None, picture_is_earlier=False)


@pytest.mark.parametrize(
    ("frame", "kept", "red"),
    [
        (LatestFrame("cam", "f2", AT.isoformat(), encode_jpeg(RED)), None, True),
        (LatestFrame("cam", "f2", AT.isoformat(), b"no picture"), "aa/f2", False),
        (LatestFrame("cam", "f2", AT.isoformat(), b""), "aa/f2", True),
        (None, "aa/f2", True),
        (None, None, False),
    ],
)
def test_a_strip_has_the_live_picture_or_that_of_the_archive_or_none(
    frame: LatestFrame | None, kept: str | None, red: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = Sources(Settings(), database=None, live=FakeLive(frame), archive=None)  # type: ignore[arg-type]
    monkeypatch.setattr(data, "sources", lambda: at)
    monkeypatch.setattr(data, "small_picture", lambda ref, _side_px: {"aa/f2": encode_jpeg(RED)}.get(ref))
    monkeypatch.setattr(data, "_last_hour", lambda _camera, _tick: ScoreSeries(AT - timedelta(hours=1), AT, ()))
    camera = data.Camera("cam", data.CameraState.WELL, replace(NEWEST, archive_ref=kept), None, 0, 0.0)
    picture = decode(data.strip_of(camera), 10**6).astype(int)
    assert bool(((picture[..., 0] > 150) & (picture[..., 1] < 90)).any()) == red


def test_what_each_camera_shows_is_looked_up_anew_at_another_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    def moments(camera: str) -> set[int]:
        ticks = []
        for second in range(21):
            monkeypatch.setattr(data, "utc_now", lambda second=second: AT + timedelta(seconds=second))
            ticks.append(data._tick(camera, 10.0))
        return {second for second in range(1, 21) if ticks[second] != ticks[second - 1]}

    assert all(len(moments(f"cam-{n}")) == 2 for n in range(9))
    assert len({min(moments(f"cam-{n}")) for n in range(9)}) > 3
