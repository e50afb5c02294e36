from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import redis

from dashboard.data import line as data
from dashboard.sources import Sources
from infra.live import LatestFrame
from infra.store.tables import VerdictState
from infra.store.verdicts import Verdict

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
NEWEST = Verdict(
    received_at=AT, frame_id="f2", camera="cam", product="tile", part_id=None, job_id=None, sha256="0" * 64, simulated=None,
    captured_at=AT, scored_at=AT, committed_at=AT, state=VerdictState.GOOD, reason=None, model_version=1, score=9.0,
    p_value=0.5, threshold=20.0, views=8, archive_ref="aa/f2",
)  # fmt: skip
SINCE_THEN = replace(NEWEST, frame_id="f3", received_at=AT + timedelta(seconds=1), archive_ref=None)


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
