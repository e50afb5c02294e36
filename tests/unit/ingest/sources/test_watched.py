"""Real files and the real watchdog, below tmp_path."""

import os
import queue
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ingest.sources import CapturedPicture
from ingest.sources.folder import FolderSource
from ingest.sources.watched import WatchedFolder

WAIT_S = 30.0
QUIET_S = 0.6


class Watch:
    """Runs a watched folder in a thread and keeps what it hands out."""

    def __init__(self, folder: Path, still_s: float, still_while_open_s: float, rescan_s: float) -> None:
        self.stop = threading.Event()
        self.pictures: queue.Queue[CapturedPicture] = queue.Queue()
        source = FolderSource(folder, max_bytes=10**6)
        self.watched = WatchedFolder(
            source, self.stop, still_s=still_s, still_while_open_s=still_while_open_s, rescan_s=rescan_s
        )
        self.thread = threading.Thread(target=self.run)

    def run(self) -> None:
        for picture in self.watched:
            self.pictures.put(picture)

    def take(self, count: int) -> list[tuple[str | None, bytes]]:
        taken = [self.pictures.get(timeout=WAIT_S) for _ in range(count)]
        return [(picture.part_id, picture.body) for picture in taken]

    def nothing_more(self) -> bool:
        time.sleep(QUIET_S)
        return self.pictures.empty()


StartWatch = Callable[..., Watch]


@pytest.fixture
def start_watch(tmp_path: Path) -> Iterator[StartWatch]:
    """Start watching tmp_path; return when a first file has come through, so that the watch stands."""
    watches: list[Watch] = []

    def start(still_s: float = 0.1, still_while_open_s: float = 1000, rescan_s: float = 1000) -> Watch:
        watch = Watch(tmp_path, still_s, still_while_open_s, rescan_s)
        watches.append(watch)
        old(tmp_path / "0-first.jpg", b"first")
        watch.thread.start()
        assert watch.take(1) == [("0-first", b"first")]
        return watch

    yield start
    for watch in watches:
        watch.stop.set()
        watch.thread.join(WAIT_S)
        assert not watch.thread.is_alive()


def old(path: Path, body: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(body)
    os.utime(path, (1_000_000_000, 1_000_000_000))


def test_files_that_are_there_come_first_and_sorted_then_the_new_ones(tmp_path: Path, start_watch: StartWatch) -> None:
    for name in ("c", "a", "b/x"):
        old(tmp_path / f"{name}.jpg", name.encode())
    watch = start_watch()
    assert watch.take(3) == [("a", b"a"), ("b/x", b"b/x"), ("c", b"c")]
    (tmp_path / "aa.png").write_bytes(b"new")
    assert watch.take(1) == [("aa", b"new")]
    assert watch.nothing_more()


def test_a_file_that_is_still_written_is_sent_once_and_whole(tmp_path: Path, start_watch: StartWatch) -> None:
    watch = start_watch(rescan_s=0.1)
    with (tmp_path / "slow.jpg").open("wb") as file:
        file.write(b"half")
        file.flush()
        assert watch.nothing_more()
        file.write(b"+rest")
    assert watch.take(1) == [("slow", b"half+rest")]
    assert watch.nothing_more()


def test_a_file_half_written_when_the_watch_begins_is_sent_once_and_whole(
    tmp_path: Path, start_watch: StartWatch
) -> None:
    with (tmp_path / "slow.jpg").open("wb") as file:
        file.write(b"half")
        file.flush()
        watch = start_watch(still_s=3)
        file.write(b"+rest")
    assert watch.take(1) == [("slow", b"half+rest")]
    assert watch.nothing_more()


def test_a_file_renamed_from_tmp_is_sent_once(tmp_path: Path, start_watch: StartWatch) -> None:
    watch = start_watch(rescan_s=0.1)
    part = tmp_path / "one.jpg.tmp"
    part.write_bytes(b"whole")
    part.rename(tmp_path / "one.jpg")
    assert watch.take(1) == [("one", b"whole")]
    assert watch.nothing_more()


def test_a_file_moved_in_from_outside_is_sent_once(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, start_watch: StartWatch
) -> None:
    watch = start_watch()
    outside = tmp_path_factory.mktemp("outside") / "in.jpg"
    outside.write_bytes(b"moved")
    outside.rename(tmp_path / "in.jpg")
    assert watch.take(1) == [("in", b"moved")]
    assert watch.nothing_more()


def test_a_folder_moved_in_and_one_made_later_are_watched(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, start_watch: StartWatch
) -> None:
    watch = start_watch()
    outside = tmp_path_factory.mktemp("outside") / "batch"
    old(outside / "1.jpg", b"1")
    shutil.move(outside, tmp_path / "batch")
    assert watch.take(1) == [("batch/1", b"1")]
    (tmp_path / "later" / "deep").mkdir(parents=True)
    (tmp_path / "later" / "deep" / "2.jpg").write_bytes(b"2")
    assert watch.take(1) == [("later/deep/2", b"2")]
    assert watch.nothing_more()


def test_neither_touching_nor_renaming_sends_a_picture_again_but_new_content_does(
    tmp_path: Path, start_watch: StartWatch
) -> None:
    watch = start_watch(rescan_s=0.1)
    path = tmp_path / "latest.jpg"
    path.write_bytes(b"1")
    assert watch.take(1) == [("latest", b"1")]
    with path.open("ab"):
        pass  # opened for writing, closed, nothing written
    path.rename(tmp_path / "renamed.jpg")
    assert watch.nothing_more()
    path.write_bytes(b"22")
    assert watch.take(1) == [("latest", b"22")]
    path.write_bytes(b"333")
    assert watch.take(1) == [("latest", b"333")]
    assert watch.nothing_more()


def test_a_file_without_an_event_of_its_own_is_found_by_looking_again(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, start_watch: StartWatch
) -> None:
    watch = start_watch(rescan_s=0.1)
    outside = tmp_path_factory.mktemp("outside") / "linked.jpg"
    old(outside, b"linked")
    os.link(outside, tmp_path / "linked.jpg")
    assert watch.take(1) == [("linked", b"linked")]
    assert watch.nothing_more()


def test_many_files_at_once_all_come_exactly_once(tmp_path: Path, start_watch: StartWatch) -> None:
    watch = start_watch(rescan_s=0.1)
    for number in range(300):
        (tmp_path / f"{number:03d}.jpg").write_bytes(str(number).encode())
    assert sorted(watch.take(300)) == [(f"{number:03d}", str(number).encode()) for number in range(300)]
    assert watch.nothing_more()


def test_a_file_that_was_opened_but_not_written_yet_is_not_taken_for_an_empty_one(
    tmp_path: Path, start_watch: StartWatch
) -> None:
    watch = start_watch(rescan_s=0.1)
    with (tmp_path / "late.jpg").open("wb") as file:
        assert watch.nothing_more()
        file.write(b"late")
    assert watch.take(1) == [("late", b"late")]


def test_a_writer_that_never_closes_is_not_waited_for_for_ever(tmp_path: Path, start_watch: StartWatch) -> None:
    watch = start_watch(rescan_s=0.1, still_while_open_s=0.3)
    with (tmp_path / "open.jpg").open("wb") as file:
        file.write(b"all")
        file.flush()
        assert watch.take(1) == [("open", b"all")]
    assert watch.nothing_more()


def test_other_files_are_ignored(tmp_path: Path, start_watch: StartWatch) -> None:
    watch = start_watch(rescan_s=0.1)
    (tmp_path / "notes.txt").write_bytes(b"x")
    (tmp_path / "a.jpg.part").write_bytes(b"x")
    assert watch.nothing_more()
