"""The line at this moment: how every camera stands, what is newest of it, and its scores up to now."""

import hashlib
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

import redis
import streamlit as st

from dashboard.access import Right, needs
from dashboard.camera_state import NOT_WELL, CameraState, Known, camera_state
from dashboard.camera_strip import camera_strip
from dashboard.data.pictures import small_picture
from dashboard.sources import Sources, sources
from infra.clock import utc_now
from infra.errors import BadFrameError
from infra.live import LatestFrame, LiveState
from infra.pictures import decode
from infra.plant_time import shift_began, shift_starts
from infra.store import line as line_store
from infra.store import verdicts as verdict_store
from infra.store.ledger import missing_frames
from infra.store.line import OpenAlerts
from infra.store.verdicts import ScoreSeries, Verdict

MOST_TILES = 48
MOST_CAMERAS = 1_000
_TILE_PX = 480
_STRIP_S = 10.0
_STRIP_WINDOW = timedelta(hours=1)
_LAST_HOUR_S = 30.0
_RATE_WINDOW_S = 60.0


@dataclass(frozen=True, slots=True)
class Camera:
    """How a camera stands.

    Attributes:
        verdict: Its newest verdict; None where there is none yet.
        alerts: Its open alerts; None where there is none.
        false_alarms: Alerts about frames of this shift that turned out to be false alarms.
        frames_per_s: Frames of the last minute that have their verdict, by second.
    """

    name: str
    state: CameraState
    verdict: Verdict | None
    alerts: OpenAlerts | None
    false_alarms: int
    frames_per_s: float


@dataclass(frozen=True, slots=True)
class Line:
    """All cameras at one moment.

    Attributes:
        cameras: At most MOST_CAMERAS, by name.
        count: How many cameras there are.
        open_alerts: Alerts that nobody has acknowledged.
        missing: Frames that were accepted and are not accounted for, by camera; empty while the ledger has no gap.
        scorers: Scorers that are alive; None where the live state does not tell.
    """

    cameras: tuple[Camera, ...]
    count: int
    open_alerts: int
    missing: dict[str, int]
    scorers: int | None

    @property
    def not_well(self) -> list[Camera]:
        """The cameras that somebody should look after, the worst first."""
        found = [camera for camera in self.cameras if camera.state in NOT_WELL]
        return sorted(found, key=lambda camera: (NOT_WELL.index(camera.state), camera.name))

    @property
    def shown(self) -> list[Camera]:
        """The cameras that have a tile, by name: MOST_TILES at most, and those that are not well before the others."""
        first = [*self.not_well, *(camera for camera in self.cameras if camera.state not in NOT_WELL)][:MOST_TILES]
        return sorted(first, key=lambda camera: camera.name)


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


@needs(Right.SEE)
def current_line() -> Line:
    """Return how every camera stands.

    Raises:
        DatabaseAwayError: The database does not answer.
    """
    return _current_line()


@needs(Right.SEE)
def tile(camera: str) -> Tile:
    """Return what is newest of one camera, with its picture.

    Raises:
        DatabaseAwayError: The database does not answer.
    """
    return _current_tile(camera)


@needs(Right.SEE)
def strip_of(camera: Camera) -> bytes:
    """Return a camera's frame of the last seconds, and its scores of the last hour, as one small picture.

    Raises:
        DatabaseAwayError: The database does not answer.
    """
    kept = camera.verdict.archive_ref if camera.verdict else None
    return _strip(camera.name, kept, _tick(camera.name, _STRIP_S))


@needs(Right.SEE)
def score_series(camera: str, window: timedelta) -> ScoreSeries:
    """Return a camera's scores up to now; looked up anew when the chart could have moved by a pixel or so.

    Raises:
        DatabaseAwayError: The database does not answer.
    """
    return _score_series(camera, window, _tick(camera, max(2.0, window.total_seconds() / 900)))


def _tick(camera: str, every_s: float) -> int:
    """A number that changes so often, for each camera at another moment: not everything is looked up at once."""
    # Not by a checksum, which is nearly the same for names that are.
    place = int.from_bytes(hashlib.blake2b(camera.encode(), digest_size=4).digest()) / 2**32
    return int(utc_now().timestamp() / every_s + place)


@st.cache_data(ttl=1.0, max_entries=1, show_spinner=False)
def _current_line() -> Line:
    at = sources()
    names = verdict_store.cameras(at.database)
    shown = names[:MOST_CAMERAS]
    alerts = line_store.open_alerts(at.database)
    return Line(
        tuple(_cameras(at, shown, alerts)),
        len(names),
        sum(each.count for each in alerts.values()),
        missing_frames(at.database),
        _scorers(at.live),
    )


def _cameras(at: Sources, names: list[str], alerts: dict[str, OpenAlerts]) -> list[Camera]:
    now = utc_now()
    newest = verdict_store.latest_verdicts(at.database, names)
    heard = line_store.last_heard(at.database)
    began = shift_began(now, at.zone, shift_starts(at.settings.shifts))
    false_alarms = line_store.false_alarms(at.database, began)
    rates = _frames_per_s()
    silent_s = at.settings.silent_after_s
    silent_after = None if silent_s is None else timedelta(seconds=silent_s)
    found = []
    for name in names:
        known = Known(heard.get(name), newest.get(name), alerts.get(name))
        state = camera_state(known, now, silent_after)
        own = (false_alarms.get(name, 0), rates.get(name, 0.0))
        found.append(Camera(name, state, known.verdict, known.alerts, *own))
    return found


@st.cache_data(ttl=5.0, max_entries=1, show_spinner=False)
def _frames_per_s() -> dict[str, float]:
    since = utc_now() - timedelta(seconds=_RATE_WINDOW_S)
    counted = line_store.frames_since(sources().database, since)
    return {camera: frames / _RATE_WINDOW_S for camera, frames in counted.items()}


@st.cache_data(ttl=1.0, max_entries=2 * MOST_TILES, show_spinner=False)
def _current_tile(camera: str) -> Tile:
    at = sources()
    return _tile(at, camera, verdict_store.latest_verdicts(at.database, [camera]).get(camera))


@st.cache_data(ttl=60.0, max_entries=4 * MOST_TILES, show_spinner=False)
def _score_series(camera: str, window: timedelta, tick: int) -> ScoreSeries:  # noqa: ARG001 - part of the cache's key
    now = utc_now()
    return verdict_store.score_series(sources().database, camera, now - window, now)


@st.cache_data(ttl=120.0, max_entries=2 * MOST_TILES, show_spinner=False)
def _last_hour(camera: str, tick: int) -> ScoreSeries:  # noqa: ARG001 - part of the cache's key
    now = utc_now()
    return verdict_store.score_series(sources().database, camera, now - _STRIP_WINDOW, now)


@st.cache_data(ttl=60.0, max_entries=2 * MOST_TILES, show_spinner=False)
def _strip(camera: str, _archive_ref: str | None, tick: int) -> bytes:  # noqa: ARG001 - part of the cache's key
    at = sources()
    frame = _live_frame(at.live, camera)
    jpeg = frame.jpeg if frame else b""
    if not jpeg and _archive_ref:
        jpeg = small_picture(_archive_ref, _TILE_PX) or b""
    shown = None
    with suppress(BadFrameError):
        shown = decode(jpeg, at.settings.max_pixels) if jpeg else None
    return camera_strip(shown, _last_hour(camera, _tick(camera, _LAST_HOUR_S)))


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
