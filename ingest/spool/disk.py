"""The spool: a queue on disk, bounded in bytes, that outlives the process and the power.

A frame is accepted once its row is committed and on disk (WAL, `synchronous=FULL`). Taking a row out need not be: after a
crash a frame is at worst sent again, under the id and sequence that it has, by which the scorer knows a double. A second
connection without that wait does it. One process at a time has a camera's spool, by a lock that ends with it.
"""

import json
import shutil
import sqlite3
import threading
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from infra.clock import utc_now
from infra.errors import EngineError, SpoolFullError
from infra.frames import FrameMessage, from_headers, to_headers
from infra.telemetry import get_logger
from ingest.spool.files import PAGE, hold, open_file, pragma, readable_rows, set_aside

_OVERHEAD = 1024  # of a row, in bytes: headers and page ends
_IDS_KEPT = 100_000
_SHRINK_ABOVE = 1024  # free pages that are not worth giving back
_SHRINK_SHARE = 4  # so many times what is in use is free
_SHRINK_PAGES = 512  # at a time, since frames wait meanwhile
_INSERT = "INSERT INTO frames (frame_id, run, sequence, size, headers, body) VALUES (?, ?, ?, ?, ?, ?)"
_OLDEST = "SELECT place, frame_id, headers, body FROM frames WHERE place > ? ORDER BY place LIMIT 1"
_RUNS = "SELECT run, min(sequence), max(sequence) - min(sequence) + 1 FROM frames GROUP BY run ORDER BY min(place)"

_log = get_logger("ingest")


@dataclass(frozen=True, slots=True)
class SpooledFrame:
    """A frame as it lies in the spool; `place` grows with the order of capture."""

    place: int
    frame: FrameMessage


class KnownId(NamedTuple):
    """What was accepted under an id that a client gave."""

    sha256: str
    run: str
    sequence: int


class Spool:
    """One camera's frames on disk. Any thread may call; a context manager that holds the lock of the file."""

    def __init__(self, path: Path, camera: str, *, max_bytes: int, keep_free_bytes: int = 0) -> None:
        """Open the spool, or make it; a file that SQLite cannot read is set aside, and named in the log.

        Args:
            path: The file.
            camera: Whose frames these are.
            max_bytes: Bound of what may wait in it, in bytes.
            keep_free_bytes: What it leaves free on its disk, for the databases beside it, in bytes.

        Raises:
            SettingsError: Another process has this spool, it cannot be written, or another version has made it.
        """
        self.camera = camera
        self.max_bytes = max_bytes
        self._path = path
        self._keep_free_bytes = keep_free_bytes
        self._lock = threading.RLock()
        self._not_empty = threading.Condition(self._lock)
        self._frames = self._bytes = 0
        self._held = hold(path, camera)
        try:
            try:
                self._open()
            except sqlite3.DatabaseError as error:
                self._begin_anew(str(error))
        except BaseException:
            self._held.close()
            raise

    def __enter__(self) -> "Spool":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file; what waits in it stays."""
        with self._lock:
            self._file.close()
            self._held.close()

    @property
    def frames(self) -> int:
        """How many frames wait."""
        return self._frames

    @property
    def bytes(self) -> int:
        """How much of the bound they take, in bytes."""
        return self._bytes

    def append(self, frame: FrameMessage, *, remember: bool = False) -> None:
        """Accept a frame behind all others: when this returns it is on disk.

        Args:
            frame: With run and sequence.
            remember: Keep its id, so that a client may send it again; the newest 100,000 are kept.

        Raises:
            SpoolFullError: It would pass the bound, or leave too little free on the disk; nothing was written.
        """
        size = len(frame.body) + _OVERHEAD
        headers = json.dumps([[name, value.decode()] for name, value in to_headers(frame)])
        row = (frame.frame_id, frame.run, frame.sequence, size, headers, frame.body)
        with self._lock:
            self._find_room(size)
            try:
                with self._file.writing as connection:
                    connection.execute(_INSERT, row)
                    if remember:
                        _remember(connection, frame)
            except sqlite3.DatabaseError as error:
                raise SpoolFullError(f"the spool of {self.camera} does not take a frame: {error}") from error
            self._frames += 1
            self._bytes += size
            self._not_empty.notify()

    def first(self, timeout_s: float = 0.0) -> SpooledFrame | None:
        """Return the oldest frame, which stays; None when none came within `timeout_s`.

        What the disk made of a picture is no reason to leave it out: the scorer compares its SHA-256 and keeps it as a dead
        letter. A file that SQLite cannot read any more is set aside.

        Raises:
            EngineError: The disk does not answer.
        """
        with self._lock:
            if not self._frames:
                self._not_empty.wait(timeout_s)
            if not self._frames:
                return None
            try:
                row = self._file.taking.execute(_OLDEST, (self._sent,)).fetchone()
            except sqlite3.OperationalError as error:
                raise EngineError(f"the spool {self._path} cannot be read: {error}") from error
            except sqlite3.DatabaseError as error:
                self._begin_anew(str(error))
                return None
            if row is None:
                self._begin_anew("it lacks frames that it had")
                return None
        place, frame_id, headers, body = row
        named = tuple((name, value.encode()) for name, value in json.loads(headers))
        key = self.camera.encode()
        frame = from_headers(named, body, key=key, fallback_id=frame_id, received_at=utc_now())
        return SpooledFrame(place, frame)

    def remove(self, frame: SpooledFrame) -> None:
        """Take out the first frame, which the bus has; on a disk that is full this is done with a later one."""
        with self._lock:
            self._sent = frame.place
            self._frames -= 1
            try:
                with self._file.taking as connection:
                    gone = connection.execute(
                        "DELETE FROM frames WHERE place <= ? RETURNING size", (self._sent,)
                    ).fetchall()
            except sqlite3.OperationalError as error:
                _log.warning("spool.not_removed", camera=self.camera, reason=str(error))
            except sqlite3.DatabaseError as error:
                self._begin_anew(str(error))
            else:
                self._bytes -= sum(size for (size,) in gone)

    def known(self, frame_id: str) -> KnownId | None:
        """Return what was accepted under an id with `remember`, if it is among the newest.

        Raises:
            SpoolFullError: The disk does not answer.
        """
        query = "SELECT sha256, run, sequence FROM ids WHERE frame_id = ?"
        try:
            with self._lock:
                row = self._file.writing.execute(query, (frame_id,)).fetchone()
        except sqlite3.DatabaseError as error:
            raise SpoolFullError(f"the spool of {self.camera} cannot be read: {error}") from error
        return None if row is None else KnownId(*row)

    def runs(self) -> dict[str, tuple[int, int]]:
        """Return, per run with frames that wait, the sequence of its first one and how many there are."""
        with self._lock:
            return {run: (first, frames) for run, first, frames in self._file.taking.execute(_RUNS)}

    def skip(self, run: str, reason: str, count: int) -> None:
        """Add to what a run had to skip, so that it is told even if this process is killed; best effort on a full disk."""
        statement = "INSERT INTO skipped VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET frames = frames + excluded.frames"
        self._note(statement, run, reason, count)

    def skipped(self) -> dict[str, Counter[str]]:
        """Return what runs had to skip, by reason, as far as `forget_skipped` was not called for them."""
        found: dict[str, Counter[str]] = {}
        with self._lock:
            for run, reason, frames in self._file.taking.execute("SELECT run, reason, frames FROM skipped"):
                found.setdefault(run, Counter())[reason] = frames
        return found

    def forget_skipped(self, run: str) -> None:
        """Drop what a run that is over had to skip: it has been told."""
        self._note("DELETE FROM skipped WHERE run = ?", run)

    def shrink(self) -> bool:
        """Give some disk space back, where far more is free in the file than is in use; True while there is more to give.

        The pages in use are moved to the front of the file: hardly any work while it is almost empty.
        """
        with self._lock:
            connection = self._file.taking
            try:
                free = pragma(connection, "freelist_count")
                if free <= max(_SHRINK_ABOVE, _SHRINK_SHARE * self._bytes // PAGE):
                    return False
                # execute would end it after one page: its rows have no columns, which Python takes for no rows
                connection.executescript(f"PRAGMA incremental_vacuum({_SHRINK_PAGES})")
                if pragma(connection, "freelist_count") > _SHRINK_ABOVE:
                    return True
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            except sqlite3.DatabaseError as error:  # a disk that is full to the last byte, for one
                _log.warning("spool.not_shrunk", camera=self.camera, reason=str(error))
            return False

    def _find_room(self, size: int) -> None:
        if self._bytes + size > self.max_bytes:
            raise SpoolFullError(
                f"the spool of {self.camera} holds {self._frames} frames, {self._bytes} of {self.max_bytes} bytes"
            )
        free = shutil.disk_usage(self._path.parent).free
        if free - 2 * size < self._keep_free_bytes:  # twice: the log of SQLite comes first
            raise SpoolFullError(
                f"the disk of the spool of {self.camera} has {free} bytes free, and {self._keep_free_bytes} are left free"
            )

    def _note(self, statement: str, *values: str | int) -> None:
        try:
            with self._lock, self._file.taking as connection:
                connection.execute(statement, values)
        except sqlite3.DatabaseError as error:
            _log.warning("spool.not_noted", camera=self.camera, reason=str(error))

    def _open(self) -> None:
        self._sent = 0
        self._file = open_file(self._path)
        try:
            counts = self._file.writing.execute("SELECT count(*), coalesce(sum(size), 0) FROM frames").fetchone()
        except BaseException:
            self._file.close()
            raise
        self._frames, self._bytes = int(counts[0]), int(counts[1])

    def _begin_anew(self, reason: str) -> None:
        """Go on with a new file: what can be read of the damaged one is taken over, and the rest stays beside it."""
        held = self._frames
        if hasattr(self, "_file"):
            self._file.close()
        aside = set_aside(self._path)
        self._open()
        for row in readable_rows(aside):
            with self._file.writing as connection:
                connection.execute(_INSERT, row[1:])
            self._frames += 1
            self._bytes += row[4]
        _log.error("spool.damaged", camera=self.camera, held=held, rescued=self._frames, file=str(aside), reason=reason)


def _remember(connection: sqlite3.Connection, frame: FrameMessage) -> None:
    values = (frame.frame_id, frame.sha256 or "", frame.run, frame.sequence)
    connection.execute("INSERT INTO ids (frame_id, sha256, run, sequence) VALUES (?, ?, ?, ?)", values)
    connection.execute("DELETE FROM ids WHERE place <= (SELECT max(place) FROM ids) - ?", (_IDS_KEPT,))
