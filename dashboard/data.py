"""What the pages show, from the store, the live state and the archive; nothing here draws.

The connections are opened once per server. Answers that every open browser shares are kept for a moment, and every cache has
a bound.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import redis
import streamlit as st
from numpy.typing import NDArray
from sqlalchemy import Engine

from infra.archive import Archive, open_archive
from infra.clock import utc_now
from infra.errors import ArchiveAwayError, BadFrameError, SettingsError
from infra.heatmaps import decode_heatmap
from infra.live import LatestFrame, LiveState
from infra.pictures import RgbPicture, decode, encode_jpeg, thumbnail
from infra.settings import Settings, load_settings
from infra.store import alerts as alert_store
from infra.store import verdicts as verdict_store
from infra.store.alerts import Alert, AlertAction, AlertKey
from infra.store.connect import open_database
from infra.store.ledger import missing_frames
from infra.store.tables import AlertState
from infra.store.verdicts import ScoreSeries, Verdict

MOST_TILES = 48
ALERTS_PER_PAGE = 20
_TILE_PX = 480
_DETAIL_PX = 900
_POOL = 8


@dataclass(frozen=True, slots=True)
class Sources:
    """Where everything comes from."""

    settings: Settings
    database: Engine
    live: LiveState
    archive: Archive


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


@st.cache_resource(show_spinner=False)
def sources() -> Sources:
    """Open the connections; they connect when first used.

    Raises:
        SettingsError: A setting is wrong, or the database or Redis is not named.
    """
    settings = load_settings()
    if not settings.database_url or not settings.redis_url:
        raise SettingsError("start the pages with `differline dashboard`: it brings the database and Redis")
    return Sources(
        settings,
        open_database(settings.database_url, pool_size=_POOL),
        LiveState(settings.redis_url),
        open_archive(settings.archive_location),
    )


@st.cache_data(ttl=1.0, max_entries=1, show_spinner=False)
def line() -> Line:
    """Return what is newest of every camera.

    Raises:
        DatabaseAwayError: The database does not answer.
    """
    at = sources()
    cameras = verdict_store.cameras(at.database)
    shown = cameras[:MOST_TILES]
    newest = verdict_store.latest_verdicts(at.database, shown)
    tiles = tuple(_tile(at, camera, newest.get(camera)) for camera in shown)
    return Line(
        tiles, len(cameras), alert_store.count_open(at.database), missing_frames(at.database), _scorers(at.live)
    )


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


def alert_page(state: AlertState | None, after: AlertKey | None) -> tuple[list[Alert], bool]:
    """Return one page of alerts, newest first, and whether there are older ones.

    Raises:
        DatabaseAwayError: The database does not answer.
    """
    found = alert_store.list_alerts(sources().database, state, after=after, limit=ALERTS_PER_PAGE + 1)
    return found[:ALERTS_PER_PAGE], len(found) > ALERTS_PER_PAGE


def open_alerts() -> int:
    """Return how many alerts nobody has acknowledged.

    Raises:
        DatabaseAwayError: The database does not answer.
    """
    return alert_store.count_open(sources().database)


def alert(alert_id: int) -> tuple[Alert, list[AlertAction]] | None:
    """Return one alert and what people did with it; None where there is none of that number.

    Raises:
        DatabaseAwayError: The database does not answer.
    """
    database = sources().database
    found = alert_store.alert(database, alert_id)
    return (found, alert_store.actions(database, alert_id)) if found else None


def acknowledge(alert_id: int, reason: str) -> bool:
    """Acknowledge an alert in the name of the user of this dashboard.

    Returns:
        False where somebody was quicker.

    Raises:
        ValueError: The reason is empty or too long.
        LookupError: There is no such alert.
        DatabaseAwayError: The database does not answer; to try again is safe.
    """
    at = sources()
    return alert_store.acknowledge(at.database, alert_id, at.settings.user, reason)


def user() -> str:
    """Return the name that stands beside what is done here."""
    return sources().settings.user


@st.cache_resource(max_entries=16, ttl=600.0, show_spinner=False)
def picture(archive_ref: str) -> RgbPicture | None:
    """Return a picture of the archive, at most 900 px a side; None where it is not kept or cannot be read.

    Shared by all sessions: not to be written to.
    """
    at = sources()
    try:
        return thumbnail(decode(at.archive.read(archive_ref), at.settings.max_pixels), _DETAIL_PX)
    except (OSError, ArchiveAwayError, BadFrameError):
        return None


def heat(verdict: Verdict) -> NDArray[np.float32] | None:
    """Return the heat of a frame, in units of its model's scale; None where no heatmap was kept or it cannot be read.

    Raises:
        DatabaseAwayError: The database does not answer.
    """
    png = verdict_store.heatmap(sources().database, verdict.camera, verdict.frame_id, verdict.received_at)
    if png is None:
        return None
    try:
        return decode_heatmap(png)
    except ValueError:
        return None


def _tile(at: Sources, camera: str, newest: Verdict | None) -> Tile:
    """Put a camera's newest verdict beside the picture of the same frame, or say that the picture is an earlier one."""
    frame = _live_frame(at.live, camera)
    if frame and newest and frame.frame_id != newest.frame_id:
        received_at = datetime.fromisoformat(frame.received_at)
        if received_at > newest.received_at:  # scored since the verdicts were read
            newest = verdict_store.verdict(at.database, camera, frame.frame_id, received_at) or newest
        elif newest.archive_ref and (kept := _tile_picture(newest.archive_ref)):
            return Tile(camera, newest, kept, picture_is_earlier=False)
    if frame and frame.jpeg:
        return Tile(camera, newest, frame.jpeg, bool(newest and newest.frame_id != frame.frame_id))
    kept = _tile_picture(newest.archive_ref) if newest and newest.archive_ref else None
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


@st.cache_data(max_entries=2 * MOST_TILES, ttl=600.0, show_spinner=False)
def _tile_picture(archive_ref: str) -> bytes | None:
    found = picture(archive_ref)
    return None if found is None else encode_jpeg(thumbnail(found, _TILE_PX))
