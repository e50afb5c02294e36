"""A folder that a camera writes into: every picture once, and only when it is whole.

The kernel tells when a file was closed after writing or moved to its place: then it is whole and is read at once. Files of
which no such event comes (there before the watch began, hard links, a network share written to by another machine) are
found by looking again now and then, and count as whole once they lay still for a while. A file that is written anew is a
new picture; one that is only renamed is not.
"""

import os
import queue
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

from watchdog import events
from watchdog.observers.inotify import InotifyObserver

from infra.errors import EngineError
from infra.telemetry import get_logger
from ingest.sources import CapturedPicture
from ingest.sources.folder import FolderSource, is_picture_name, path_text

_STILL_S = 2.0  # a file nobody is known to write to is whole when it lay still for so long
_STILL_WHILE_OPEN_S = 60.0  # ... and so long where somebody wrote to it and did not close it, or it is empty
_TICK_S = 0.2
_RESCAN_S = 10.0
_SCAN_SHARE = 20  # a scan of a huge folder is followed by a rest of so many times its duration
_HINTS = 10_000  # waiting events; more are not lost but found by the next scan

_log = get_logger("ingest")


class _Content(NamedTuple):
    """What tells one content of a file from the next."""

    modified_ns: int
    size: int
    inode: int


class _Events(events.FileSystemEventHandler):
    """Runs in watchdog's thread: sorts events into `whole` files, files `in_writing`, and reasons to look again."""

    def __init__(self) -> None:
        self.whole: queue.Queue[tuple[Path, Path | None]] = queue.Queue(_HINTS)
        self.in_writing: set[Path] = set()
        self.look_again = threading.Event()

    def on_created(self, event: events.FileSystemEvent) -> None:
        if event.is_directory:
            self.look_again.set()  # its files may be older than the watch on it

    def on_modified(self, event: events.FileSystemEvent) -> None:
        path = _path(event.src_path)
        if is_picture_name(path.name):
            self.in_writing.add(path)

    def on_closed(self, event: events.FileSystemEvent) -> None:
        self._whole(_path(event.src_path), None)

    def on_moved(self, event: events.FileSystemEvent) -> None:
        if event.is_directory or not event.dest_path:
            self.look_again.set()
            return
        source = _path(event.src_path) if event.src_path else None
        if source is not None:
            self.in_writing.discard(source)
        self._whole(_path(event.dest_path), source)

    def on_deleted(self, event: events.FileSystemEvent) -> None:
        self.in_writing.discard(_path(event.src_path))

    def _whole(self, path: Path, moved_from: Path | None) -> None:
        if not is_picture_name(path.name):
            return
        self.in_writing.discard(path)
        try:
            self.whole.put_nowait((path, moved_from))
        except queue.Full:
            self.look_again.set()


class WatchedFolder:
    """The pictures below a folder and every one that is added later, until asked to stop."""

    def __init__(
        self,
        source: FolderSource,
        stop: threading.Event,
        *,
        still_s: float = _STILL_S,
        still_while_open_s: float = _STILL_WHILE_OPEN_S,
        rescan_s: float = _RESCAN_S,
    ) -> None:
        """Watch nothing yet.

        Args:
            source: Lists and reads the files.
            stop: Ends the iteration when set.
            still_s: A file without events is whole when it did not change for so long.
            still_while_open_s: The same for a file that is known to be open for writing, or still empty.
            rescan_s: How often the folder is listed for files without events.
        """
        self._source = source
        self._stop = stop
        self._still_s = still_s
        self._still_while_open_s = still_while_open_s
        self._rescan_s = rescan_s
        self._events = _Events()
        self._sent: dict[Path, _Content] = {}
        self._pending: dict[Path, tuple[_Content, float]] = {}

    def __iter__(self) -> Iterator[CapturedPicture]:
        """Hand out what is there, by path, then what comes, as it comes."""
        with _Watching(self._source.folder, self._events):  # first the watch, then the list: nothing falls between
            yield from self._read_all(self._scan(at_start=True))
            scan_at = time.monotonic() + self._rescan_s
            while not self._stop.is_set():
                yield from self._read_all(self._next_whole())
                yield from self._read_all(self._settled())
                if self._events.look_again.is_set() or time.monotonic() >= scan_at:
                    self._events.look_again.clear()
                    began = time.monotonic()
                    self._scan(at_start=False)
                    ended = time.monotonic()
                    scan_at = ended + max(self._rescan_s, _SCAN_SHARE * (ended - began))

    def _next_whole(self) -> list[Path]:
        try:
            path, moved_from = self._events.whole.get(timeout=_TICK_S)
        except queue.Empty:
            return []
        if moved_from is not None and moved_from in self._sent:
            self._sent[path] = self._sent.pop(moved_from)  # if it was written anew on the way, its content differs
        return [path]

    def _scan(self, *, at_start: bool) -> list[Path]:
        """Return the new files that are surely whole; put the others under observation."""
        files = self._source.files()
        present = set(files)
        self._sent = {path: content for path, content in self._sent.items() if path in present}
        whole = []
        for path in files:
            content = _content(path)
            if content is None or self._sent.get(path) == content:
                continue
            if at_start and time.time() - content.modified_ns / 1e9 > self._still_s:
                whole.append(path)
            elif path not in self._pending:
                self._pending[path] = (content, time.monotonic())
        return whole

    def _settled(self) -> list[Path]:
        """Return the files under observation that lay still for long enough."""
        now = time.monotonic()
        whole = []
        for path, (seen, since) in list(self._pending.items()):
            content = _content(path)
            if content is None or self._sent.get(path) == content:
                del self._pending[path]
            elif content != seen:
                self._pending[path] = (content, now)
            elif now - since >= (self._still_while_open_s if self._may_grow(path, content) else self._still_s):
                whole.append(path)
        return whole

    def _may_grow(self, path: Path, content: _Content) -> bool:
        return content.size == 0 or path in self._events.in_writing

    def _read_all(self, paths: list[Path]) -> Iterator[CapturedPicture]:
        for path in paths:
            if self._stop.is_set():
                return
            picture = self._read_new(path)
            if picture is not None:
                yield picture

    def _read_new(self, path: Path) -> CapturedPicture | None:
        before = _content(path)
        if before is None:
            if path not in self._sent:
                _log.warning("file_gone", file=path_text(path.relative_to(self._source.folder)))
            return None
        if self._sent.get(path) == before:
            return None
        picture = self._source.read(path)
        if _content(path) != before:
            return None  # somebody writes to it again; it comes back when that is done
        self._sent[path] = before
        self._pending.pop(path, None)
        return picture


class _Watching(AbstractContextManager[None]):
    """An observer that runs inside the `with`."""

    def __init__(self, folder: Path, handler: _Events) -> None:
        self._observer = InotifyObserver(generate_full_events=True)  # full: tells a file moved in from one being made
        wanted: list[type[events.FileSystemEvent]] = [
            events.FileModifiedEvent, events.FileClosedEvent, events.FileMovedEvent,
            events.FileDeletedEvent, events.DirCreatedEvent, events.DirMovedEvent,
        ]  # fmt: skip
        self._observer.schedule(handler, str(folder), recursive=True, event_filter=wanted)

    def __enter__(self) -> None:
        try:
            self._observer.start()
        except OSError as error:  # the kernel's limit of watches, most often
            raise EngineError(f"cannot watch the folder: {error.strerror or error}") from error

    def __exit__(self, *_: object) -> None:
        self._observer.stop()
        self._observer.join()


def _path(name: bytes | str) -> Path:
    return Path(os.fsdecode(name))


def _content(path: Path) -> _Content | None:
    """Return what the file is now; None when it is gone or no regular file."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return _Content(stat.st_mtime_ns, stat.st_size, stat.st_ino) if path.is_file() else None
