"""The file behind a spool: who holds it, how SQLite is told to keep it, and what is done with a damaged one."""

import fcntl
import hashlib
import json
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import IO, Any, NamedTuple

from infra.clock import utc_now
from infra.errors import SettingsError

FORMAT = 1
PAGE = 16384
_WAL_PAGES = 1024
_BUSY_S = 30.0

_TABLES = f"""
CREATE TABLE IF NOT EXISTS frames (
    place INTEGER PRIMARY KEY AUTOINCREMENT,
    frame_id TEXT NOT NULL,
    run TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    size INTEGER NOT NULL,
    headers TEXT NOT NULL,
    body BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS ids (
    place INTEGER PRIMARY KEY AUTOINCREMENT, frame_id TEXT NOT NULL UNIQUE, sha256 TEXT NOT NULL, run TEXT NOT NULL,
    sequence INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS skipped (
    run TEXT NOT NULL, reason TEXT NOT NULL, frames INTEGER NOT NULL, PRIMARY KEY (run, reason)
);
PRAGMA user_version = {FORMAT};
"""
_ROWS = "SELECT place, frame_id, run, sequence, size, headers, body FROM frames WHERE place > ? ORDER BY place LIMIT 1"

Row = tuple[int, str, str, int, int, str, bytes]


class Connections(NamedTuple):
    """The two ways into the file: commits of `writing` are on disk when they return, those of `taking` soon after."""

    writing: sqlite3.Connection
    taking: sqlite3.Connection

    def close(self) -> None:
        """Close both."""
        self.writing.close()
        self.taking.close()


def spool_path(folder: Path, camera: str) -> Path:
    """Return the file of a camera's spool, whatever characters its name has."""
    readable = re.sub(r"[^A-Za-z0-9_-]+", "-", camera)[:40].strip("-") or "camera"
    return folder / f"{readable}-{hashlib.sha256(camera.encode()).hexdigest()[:12]}.sqlite3"


def cameras_with_frames(folder: Path) -> list[str]:
    """Return the cameras whose spools in a folder hold frames; one that cannot be read is found when it is opened."""
    found = []
    for path in sorted(folder.glob("*.sqlite3")):
        with suppress(sqlite3.Error), closing(sqlite3.connect(path, timeout=_BUSY_S)) as connection:
            row = connection.execute("SELECT headers FROM frames LIMIT 1").fetchone()
            if row is not None:
                found.append(str(dict(json.loads(row[0]))["ce_source"]))
    return found


def hold(path: Path, camera: str) -> IO[str]:
    """Take the lock of a spool, which ends with its file object or with the process.

    Raises:
        SettingsError: Another process has it, or it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        held = path.with_suffix(".lock").open("w")
    except OSError as error:
        raise SettingsError(f"the spool {path} cannot be written: {error.strerror or error}") from error
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        held.close()
        raise SettingsError(f"another process sends the frames of camera {camera!r}: it has the spool {path}") from None
    return held


def open_file(path: Path) -> Connections:
    """Open the file, or make it.

    Raises:
        SettingsError: Another version has made it, or it cannot be opened now.
        sqlite3.DatabaseError: It is damaged, or no such file at all.
    """
    opened: list[sqlite3.Connection] = []
    try:
        opened += [_connect(path, "FULL"), _connect(path, "NORMAL")]
        found = pragma(opened[0], "user_version")
        if found in (0, FORMAT):
            opened[0].executescript(_TABLES)
            return Connections(*opened)
    except sqlite3.OperationalError as error:
        _close_all(opened)
        raise SettingsError(f"the spool {path} cannot be opened: {error}") from error
    except BaseException:
        _close_all(opened)
        raise
    _close_all(opened)
    raise SettingsError(f"the spool {path} has format {found}, this differline reads {FORMAT}")


def set_aside(path: Path) -> Path:
    """Rename a damaged file, with what SQLite keeps beside it, and return its new name."""
    aside = path.with_suffix(f".damaged-{utc_now():%Y%m%dT%H%M%S%f}")
    path.rename(aside)
    for ending in ("-wal", "-shm"):
        with suppress(FileNotFoundError):
            path.with_name(path.name + ending).rename(aside.with_name(aside.name + ending))
    return aside


def readable_rows(damaged: Path) -> Iterator[Row]:
    """Hand out the frames of a damaged file as far as SQLite can read them."""
    with suppress(sqlite3.Error), closing(sqlite3.connect(damaged)) as connection:
        place = 0
        while row := connection.execute(_ROWS, (place,)).fetchone():
            place = row[0]
            yield row


def pragma(connection: sqlite3.Connection, name: str) -> int:
    """Return the value of a pragma that is a number."""
    answer: Any = connection.execute(f"PRAGMA {name}").fetchone()[0]
    return int(answer)


def _connect(path: Path, synchronous: str) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=_BUSY_S, check_same_thread=False)
    try:
        for setting in (
            f"page_size = {PAGE}",
            "auto_vacuum = INCREMENTAL",
            "journal_mode = WAL",
            f"synchronous = {synchronous}",
            f"wal_autocheckpoint = {_WAL_PAGES}",
            f"journal_size_limit = {PAGE * _WAL_PAGES}",
        ):
            connection.execute(f"PRAGMA {setting}").fetchall()
    except BaseException:
        connection.close()
        raise
    return connection


def _close_all(opened: list[sqlite3.Connection]) -> None:
    for connection in opened:
        connection.close()
