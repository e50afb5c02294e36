"""How the line runs: what waits and where, how long each stage takes, dead letters, space and versions."""

import importlib.metadata
import platform
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import redis
import streamlit as st

from dashboard.access import Right, needs, person
from dashboard.sources import Sources, sources
from infra.bus.connect import open_producer
from infra.bus.protocol import Producer
from infra.clock import utc_now
from infra.engines import Engines
from infra.errors import TransientError
from infra.kept_positions import KeptPosition, kept_positions
from infra.resend import send_again
from infra.store import health
from infra.store.health import Letter, LetterKey, Pace, TableSize
from infra.store.outbox import backlog

LETTERS_PER_PAGE = 10
_REFRESH_S = 5.0
_SLOW_REFRESH_S = 60.0
_PACKAGES = ("differline", "streamlit", "kafka-python", "redis", "sqlalchemy", "opencv-python-headless")


@dataclass(frozen=True, slots=True)
class Flow:
    """What waits and what moves, at one moment.

    Attributes:
        pace: Of the newest frames.
        partitions: Of the frames topic, with what waits in each; None where the bus does not answer.
        outbox_rows: Messages that wait for the relay.
        outbox_since: When the oldest of them was written (UTC); None where there is none.
        scorers: Scorers that are alive; None where the live state does not tell.
        now: The moment (UTC).
    """

    pace: Pace
    partitions: tuple[KeptPosition, ...] | None
    outbox_rows: int
    outbox_since: datetime | None
    scorers: int | None
    now: datetime

    @property
    def waiting(self) -> int | None:
        """Frames on the bus that no scorer has finished; None where the bus does not answer."""
        return None if self.partitions is None else sum(each.waiting or 0 for each in self.partitions)

    @property
    def frames_a_second(self) -> float | None:
        """Of the newest frames; None where they are fewer than two or all of one moment."""
        first, last = self.pace.first, self.pace.last
        if first is None or last is None or (seconds := (last - first).total_seconds()) <= 0:
            return None
        return (self.pace.frames - 1) / seconds


@dataclass(frozen=True, slots=True)
class Space:
    """What takes the space.

    Attributes:
        tables: Of the database, the largest first.
        archive: Where the pictures are.
        free_bytes: On the disk of the archive; None where it is no folder of this machine.
        disk_bytes: Size of that disk.
    """

    tables: tuple[TableSize, ...]
    archive: str
    free_bytes: int | None
    disk_bytes: int | None


@needs(Right.SEE)
def flow() -> Flow:
    """Return what waits and what moves.

    Raises:
        DatabaseAwayError: The database does not answer.
    """
    return _flow()


@st.cache_data(ttl=_REFRESH_S, max_entries=1, show_spinner=False)
def _flow() -> Flow:
    at = sources()
    waiting = backlog(at.database)
    scorers = None
    with suppress(redis.RedisError):
        scorers = at.live.alive("scorer")
    return Flow(health.pace(at.database), _partitions(at), waiting.rows, waiting.oldest_at, scorers, utc_now())


def _partitions(at: Sources) -> tuple[KeptPosition, ...] | None:
    try:
        return tuple(kept_positions(at.settings, _engines(at)))
    except TransientError:
        return None


@needs(Right.SEE)
def letters(after: LetterKey | None) -> tuple[list[Letter], bool]:
    """Return one page of dead letters, newest first, and whether there are older ones.

    Raises:
        DatabaseAwayError: The database does not answer.
    """
    found = health.letters(sources().database, after=after, limit=LETTERS_PER_PAGE + 1)
    return found[:LETTERS_PER_PAGE], len(found) > LETTERS_PER_PAGE


@needs(Right.ENGINEER)
def send_letter_again(key: LetterKey, reason: str) -> str:
    """Send a dead letter again, in the name of who is looking; returns the id of the new frame.

    Raises:
        AccessDeniedError: They may not.
        ValueError: The reason is empty or too long.
        LookupError: There is no such dead letter.
        BadFrameError: Its body is gone.
        TransientError: Something does not answer; to try again is safe.
    """
    at = sources()
    with _producing() as producer:
        return send_again(
            at.database, at.archive, producer, key, topic=at.settings.frames_topic, who=person().name, reason=reason
        )


_one_at_a_time = threading.Lock()


@contextmanager
def _producing() -> Iterator[Producer]:
    """A producer for one message: it is seldom needed, and an open one would keep a connection for every server."""
    with _one_at_a_time:
        at = sources()
        producer = open_producer(at.settings, _engines(at))
        try:
            yield producer
        finally:
            producer.close()


@needs(Right.SEE)
def space() -> Space:
    """Return what takes the space.

    Raises:
        DatabaseAwayError: The database does not answer.
    """
    return _space()


@st.cache_data(ttl=_SLOW_REFRESH_S, max_entries=1, show_spinner=False)
def _space() -> Space:
    at = sources()
    location = at.settings.archive_location
    free = total = None
    if "://" not in location:
        with suppress(OSError):
            disk = shutil.disk_usage(_existing(Path(location)))
            free, total = disk.free, disk.total
    return Space(tuple(health.table_sizes(at.database)), location, free, total)


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that there is."""
    return next(each for each in (folder, *folder.parents) if each.exists())


@needs(Right.SEE)
def versions() -> dict[str, str]:
    """Return what runs here, by name.

    Raises:
        DatabaseAwayError: The database does not answer.
    """
    return _versions()


@st.cache_data(ttl=_SLOW_REFRESH_S, max_entries=1, show_spinner=False)
def _versions() -> dict[str, str]:
    at = sources()
    found = {name: importlib.metadata.version(name) for name in _PACKAGES}
    found |= {"Python": platform.python_version(), "PostgreSQL": health.server_version(at.database)}
    with suppress(redis.RedisError):
        found["Redis"] = at.live.server_version()
    return found


def _engines(at: Sources) -> Engines:
    return Engines(at.settings.database_url or "", at.settings.redis_url or "")
