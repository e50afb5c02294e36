"""The line at this moment: what is newest of every camera, and its scores up to now."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import redis
import streamlit as st

from dashboard.access import Right, needs
from dashboard.data.pictures import small_picture
from dashboard.sources import Sources, sources
from infra.clock import utc_now
from infra.live import LatestFrame, LiveState
from infra.store import alerts as alert_store
from infra.store import verdicts as verdict_store
from infra.store.ledger import missing_frames
from infra.store.verdicts import ScoreSeries, Verdict

MOST_TILES = 48
_TILE_PX = 480


@dataclass(frozen=True, slots=True)
class Tile:
    """What is newest of one camera.

    Attributes:
        picture: JPEG; None where none is at hand.
        picture_is_earlier: The picture is of a frame before the one of the verdict.
    """

    camera: str
    verdict: Verdict | None
    picture: bytes | None
    picture_is_earlier: bool


@dataclass(frozen=True, slots=True)
class Line:
    """All cameras at one moment.

    Attributes:
        tiles: At most MOST_TILES cameras, by name.
        cameras: How many cameras there are.
        open_alerts: Alerts that nobody has acknowledged.
        missing: Frames that were accepted and are not accounted for, by camera; empty while the ledger has no gap.
        scorers: Scorers that are alive; None where the live state does not tell.
    """

    tiles: tuple[Tile, ...]
    cameras: int
    open_alerts: int
    missing: dict[str, int]
    scorers: int | None


@needs(Right.SEE)
def current_line() -> Line:
    """Return what is newest of every camera.

    Raises:
        DatabaseAwayError: The database does not answer.
    """
    return _current_line()


@st.cache_data(ttl=1.0, max_entries=1, show_spinner=False)
def _current_line() -> Line:
    at = sources()
    cameras = verdict_store.cameras(at.database)
    shown = cameras[:MOST_TILES]
    newest = verdict_store.latest_verdicts(at.database, shown)
    tiles = tuple(_tile(at, camera, newest.get(camera)) for camera in shown)
    return Line(
        tiles, len(cameras), alert_store.count_open(at.database), missing_frames(at.database), _scorers(at.live)
    )


@needs(Right.SEE)
def score_series(camera: str, window: timedelta) -> ScoreSeries:
    """Return a camera's scores up to now; looked up anew when the chart could have moved by a pixel or so.

    Raises:
        DatabaseAwayError: The database does not answer.
    """
    refresh_s = max(2.0, window.total_seconds() / 900)
    now = utc_now()
    return _score_series(camera, window, int(now.timestamp() / refresh_s))


@st.cache_data(ttl=60.0, max_entries=4 * MOST_TILES, show_spinner=False)
def _score_series(camera: str, window: timedelta, tick: int) -> ScoreSeries:  # noqa: ARG001 - part of the cache's key
    now = utc_now()
    return verdict_store.score_series(sources().database, camera, now - window, now)


def _tile(at: Sources, camera: str, newest: Verdict | None) -> Tile:
    """Put a camera's newest verdict beside the picture of the same frame, or say that the picture is an earlier one."""
    frame = _live_frame(at.live, camera)
    if frame and newest and frame.frame_id != newest.frame_id:
        received_at = datetime.fromisoformat(frame.received_at)
        if received_at > newest.received_at:  # scored since the verdicts were read
            newest = verdict_store.verdict(at.database, camera, frame.frame_id, received_at) or newest
        elif newest.archive_ref and (kept := small_picture(newest.archive_ref, _TILE_PX)):
            return Tile(camera, newest, kept, picture_is_earlier=False)
    if frame and frame.jpeg:
        return Tile(camera, newest, frame.jpeg, bool(newest and newest.frame_id != frame.frame_id))
    kept = small_picture(newest.archive_ref, _TILE_PX) if newest and newest.archive_ref else None
    return Tile(camera, newest, kept, picture_is_earlier=False)


def _scorers(live: LiveState) -> int | None:
    try:
        return live.alive("scorer")
    except redis.RedisError:
        return None


def _live_frame(live: LiveState, camera: str) -> LatestFrame | None:
    try:
        return live.latest_frame(camera)
    except redis.RedisError:
        return None  # live state may be lost at any time; the archive has the pictures of what matters
