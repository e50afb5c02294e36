"""The spool's file: what is accepted is there again, in order, whatever happens to the process, the file and the disk."""

import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest

from infra.errors import EngineError, SettingsError, SpoolFullError
from infra.frames import FrameMessage, sha256_hex
from ingest.spool import Spool
from ingest.spool.files import pragma, spool_path

NOON = datetime(2025, 5, 5, 12, 0, 0, 123456, UTC)
MIB = 2**20
BIG = 10**9


def frame(number: int, body: bytes | None = None, run: str = "run") -> FrameMessage:
    body = b"picture %d" % number if body is None else body
    return FrameMessage(
        frame_id=f"id-{run}-{number}",
        camera="Öfen/1",
        product="plate",
        captured_at=NOON,
        body=body,
        content_type="image/png",
        sha256=sha256_hex(body),
        part_id=f"Teil {number}",
        job_id="job",
        run=run,
        sequence=number,
        simulated="good",
    )


def opened(path: Path, max_bytes: int = BIG, keep_free_bytes: int = 0) -> Spool:
    return Spool(path, "Öfen/1", max_bytes=max_bytes, keep_free_bytes=keep_free_bytes)


def drained(spool: Spool) -> list[FrameMessage]:
    frames = []
    while (oldest := spool.first()) is not None:
        frames.append(oldest.frame)
        spool.remove(oldest)
    return frames


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return spool_path(tmp_path, "Öfen/1")


def test_frames_come_out_as_they_went_in_and_in_order(path: Path) -> None:
    frames = [frame(number) for number in range(5)]
    with opened(path) as spool:
        for one in frames:
            spool.append(one)
        assert spool.frames == 5
        assert drained(spool) == frames
        assert (spool.frames, spool.bytes, spool.first()) == (0, 0, None)


def test_what_was_not_taken_out_is_there_after_a_restart_before_anything_new(path: Path) -> None:
    with opened(path) as spool:
        for number in range(4):
            spool.append(frame(number, run="old"))
        oldest = spool.first()
        assert oldest is not None
        spool.remove(oldest)
        held = spool.bytes
    with opened(path) as spool:
        assert (spool.frames, spool.bytes) == (3, held)
        assert spool.runs() == {"old": (1, 3)}
        spool.append(frame(0, run="new"))
        assert [(f.run, f.sequence) for f in drained(spool)] == [("old", 1), ("old", 2), ("old", 3), ("new", 0)]


def test_looking_at_the_first_frame_does_not_take_it_out(path: Path) -> None:
    with opened(path) as spool:
        spool.append(frame(0))
        assert spool.first() == spool.first()


def test_a_full_spool_takes_nothing_and_takes_again_once_there_is_room(path: Path) -> None:
    with opened(path, max_bytes=3 * MIB) as spool:
        spool.append(frame(0, bytes(MIB)))
        spool.append(frame(1, bytes(MIB)))
        with pytest.raises(SpoolFullError, match="2 frames"):
            spool.append(frame(2, bytes(MIB)))
        assert spool.frames == 2
        oldest = spool.first()
        assert oldest is not None
        spool.remove(oldest)
        spool.append(frame(2, bytes(MIB)))
        assert [f.sequence for f in drained(spool)] == [1, 2]


def test_what_is_to_be_left_free_on_the_disk_is_left_free(path: Path) -> None:
    free = shutil.disk_usage(path.parent).free
    with opened(path, keep_free_bytes=2 * free) as spool, pytest.raises(SpoolFullError, match="bytes free"):
        spool.append(frame(0))


def test_a_disk_that_is_full_refuses_frames_and_loses_none(path: Path) -> None:
    with opened(path) as spool:
        spool.append(frame(0))
        for connection in spool._file:
            (pages,) = connection.execute("PRAGMA page_count").fetchone()
            connection.execute(f"PRAGMA max_page_count = {pages}").fetchall()
        with pytest.raises(SpoolFullError, match="full"):
            spool.append(frame(1, bytes(MIB)))
        assert [f.sequence for f in drained(spool)] == [0]


def test_a_frame_that_cannot_be_taken_out_is_not_sent_twice_and_goes_with_the_next(path: Path) -> None:
    with opened(path) as spool:
        for number in range(3):
            spool.append(frame(number))
        oldest = spool.first()
        assert oldest is not None
        with sqlite3.connect(path) as other:
            spool._file.taking.execute("PRAGMA busy_timeout = 10")
            other.execute("BEGIN IMMEDIATE")
            spool.remove(oldest)
        assert spool.frames == 2
        assert [f.sequence for f in drained(spool)] == [1, 2]
        assert spool.bytes == 0


def test_disk_use_shrinks_again(path: Path) -> None:
    with opened(path) as spool:
        for number in range(64):
            spool.append(frame(number, bytes(MIB)))
        drained(spool)
        while spool.shrink():
            pass
        assert sum(file.stat().st_size for file in path.parent.iterdir()) < 40 * MIB
        spool.append(frame(64))
        assert [f.sequence for f in drained(spool)] == [64]


def test_a_spool_that_is_half_full_is_not_shrunk_and_one_that_holds_little_is(path: Path) -> None:
    with opened(path) as spool:
        for number in range(32):
            spool.append(frame(number, bytes(MIB)))
        for left in (16, 1):
            while spool.frames > left:
                oldest = spool.first()
                assert oldest is not None
                spool.remove(oldest)
            before = pragma(spool._file.taking, "page_count")
            spool.shrink()
            assert before - pragma(spool._file.taking, "page_count") == (512 if left == 1 else 0)
        assert [(f.sequence, f.body) for f in drained(spool)] == [(31, bytes(MIB))]


def test_memory_does_not_grow_with_what_waits(path: Path) -> None:
    with opened(path) as spool:
        spool.append(frame(0, bytes(MIB)))
        before = psutil.Process().memory_info().rss
        for number in range(1, 200):
            spool.append(frame(number, bytes(MIB)))
        assert psutil.Process().memory_info().rss - before < 30 * MIB


def test_waiting_for_a_frame_ends_when_one_comes_and_when_none_does(path: Path) -> None:
    with opened(path) as spool:
        began = time.monotonic()
        assert spool.first(0.1) is None
        assert time.monotonic() - began >= 0.1
        threading.Timer(0.1, lambda: spool.append(frame(0))).start()
        assert spool.first(30.0) is not None
        assert time.monotonic() - began < 20


def test_a_second_process_is_refused_and_a_killed_one_leaves_nothing_locked(path: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path; from ingest.spool import Spool\n"
        "spool = Spool(Path(sys.argv[1]), 'Öfen/1', max_bytes=10**9); print('held', flush=True); time.sleep(60)"
    )
    other = subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    with other.stdout:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(SettingsError, match="another process sends the frames of camera 'Öfen/1'"):
            opened(path)
        other.kill()
        other.wait(20)
    opened(path).close()


def test_every_frame_that_was_accepted_outlives_kill_9(path: Path) -> None:
    program = """
import sys
from pathlib import Path
from datetime import UTC, datetime
from infra.frames import FrameMessage
from ingest.spool import Spool
spool = Spool(Path(sys.argv[1]), "c", max_bytes=10**9)
number = spool.frames
while True:
    spool.append(FrameMessage("id-%d" % number, "c", "p", datetime.now(UTC), bytes(100_000), run="run", sequence=number))
    print(number, flush=True)
    number += 1
"""
    accepted = -1
    for lines in (1, 5, 17):
        writer = subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None
        with writer.stdout:
            for _ in range(lines):
                writer.stdout.readline()
            writer.kill()
            rest = writer.stdout.read().splitlines()
        writer.wait(20)
        accepted = max([accepted + lines, *(int(line) for line in rest if line.isdigit())])
        with opened(path) as spool:
            assert spool.frames in (accepted + 1, accepted + 2)  # one may be on disk and not printed yet
            assert spool.runs() == {"run": (0, spool.frames)}
            accepted = spool.frames - 1
    with opened(path) as spool:
        assert [f.sequence for f in drained(spool)] == list(range(accepted + 1))


def test_a_file_that_is_no_spool_is_set_aside_and_named(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path.write_bytes(b"not SQLite at all " * 1000)
    with opened(path) as spool:
        spool.append(frame(0))
        assert [f.sequence for f in drained(spool)] == [0]
    (aside,) = path.parent.glob("*.damaged-*")
    assert aside.read_bytes().startswith(b"not SQLite")
    assert str(aside) in capsys.readouterr().out


def _break_the_middle(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    connection.close()
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(size // 2)
        file.write(b"\xff" * (size // 4))


def test_of_a_damaged_spool_what_can_be_read_is_sent(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frames = [frame(number, b"%03d" % number * 20_000) for number in range(40)]
    with opened(path) as spool:
        for one in frames:
            spool.append(one)
    _break_the_middle(path)
    with opened(path) as spool:
        found = [f.sequence for f in drained(spool)]
        assert found == sorted(set(found))
        assert len(found) >= 10
        spool.append(frame(99))
        assert [f.sequence for f in drained(spool)] == [99]
    assert "spool.damaged" in capsys.readouterr().out


def test_a_spool_of_another_version_is_left_alone(path: Path) -> None:
    opened(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(SettingsError, match="format 99"):
        opened(path)
    assert not list(path.parent.glob("*.damaged-*"))


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match="cannot be written"):
        opened(tmp_path / "file" / "spool.sqlite3")


def test_an_id_of_a_client_is_remembered_with_its_place_even_when_the_frame_has_left(path: Path) -> None:
    with opened(path) as spool:
        spool.append(frame(0), remember=True)
        spool.append(frame(1))
        drained(spool)
    with opened(path) as spool:
        known = spool.known("id-run-0")
        assert known == (sha256_hex(b"picture 0"), "run", 0)
        assert spool.known("id-run-1") is None


def test_what_was_skipped_is_kept_until_it_was_told(path: Path) -> None:
    with opened(path) as spool:
        spool.skip("run", "bus_away", 2)
        spool.skip("run", "bus_away", 3)
        spool.skip("run", "camera_away", 1)
    with opened(path) as spool:
        assert spool.skipped() == {"run": {"bus_away": 5, "camera_away": 1}}
        spool.forget_skipped("run")
        assert spool.skipped() == {}


def test_names_of_cameras_never_share_a_file_or_leave_the_folder(tmp_path: Path) -> None:
    names = ["a", "A", "a/b", "a_b", "../a", "a b", "ü", "", "x" * 256]
    paths = [spool_path(tmp_path, name) for name in names]
    assert len({str(path).lower() for path in paths}) == len(names)
    assert all(path.parent == tmp_path and len(path.name) < 80 for path in paths)


@pytest.mark.parametrize("work", [Spool.first])
def test_a_disk_that_does_not_answer_stops_the_camera(path: Path, work: Callable[[Spool], object]) -> None:
    with opened(path) as spool:
        spool.append(frame(0))
        spool._file.taking.close()
        broken = sqlite3.connect(":memory:", check_same_thread=False)  # no such table: an OperationalError
        spool._file = spool._file._replace(taking=broken)
        with pytest.raises(EngineError, match="cannot be read"):
            work(spool)
