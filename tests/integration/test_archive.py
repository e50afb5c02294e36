"""The archive of pictures, in a folder and in another of fsspec's places."""

import uuid
from pathlib import Path
from threading import Barrier, Thread

import pytest

from infra.archive import Archive, open_archive
from infra.frames import sha256_hex

PICTURE = b"\xff\xd8 a picture"


@pytest.fixture(params=["folder", "file URL", "odd folder", "memory"])
def archive(request: pytest.FixtureRequest, tmp_path: Path) -> Archive:
    locations: dict[str, str] = {
        "folder": str(tmp_path / "a" / "b"),
        "file URL": f"file://{tmp_path}/a",
        "odd folder": str(tmp_path / "the plant's 50% & #1"),
        "memory": f"memory://{uuid.uuid4().hex}",
    }
    return open_archive(locations[request.param])


@pytest.mark.parametrize("data", [PICTURE, b"", bytes(2**20)], ids=["picture", "empty", "1 MiB"])
def test_a_picture_comes_back_by_its_reference(archive: Archive, data: bytes) -> None:
    ref = archive.write(data)
    assert ref == f"{sha256_hex(data)[:2]}/{sha256_hex(data)}"
    assert archive.read(ref) == data


@pytest.mark.parametrize(
    "ref",
    [
        "",
        "../../etc/passwd",
        "/etc/passwd",
        "ab/" + "b" * 63,
        "ab/" + "B" * 64,
        "ab/" + "b" * 64 + "/..",
        "ab/" + "b" * 64 + "\n",
        "ab/" + "b" * 64 + ".partial",
    ],
)
def test_what_is_no_reference_never_becomes_a_path(archive: Archive, ref: str) -> None:
    with pytest.raises(FileNotFoundError, match="not an archive reference"):
        archive.read(ref)


def test_a_picture_that_is_not_kept_is_not_found(archive: Archive) -> None:
    with pytest.raises(FileNotFoundError):
        archive.read(f"{sha256_hex(PICTURE)[:2]}/{sha256_hex(PICTURE)}")


def test_the_same_picture_is_kept_once_and_nothing_else_is(tmp_path: Path) -> None:
    archive = open_archive(str(tmp_path))
    assert archive.write(PICTURE) == archive.write(PICTURE) == open_archive(str(tmp_path)).write(PICTURE)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [file.read_bytes() for file in files] == [PICTURE]


def test_writers_at_the_same_time_leave_one_whole_picture(tmp_path: Path) -> None:
    archive, together, data = open_archive(str(tmp_path)), Barrier(4), bytes(2**20)

    def write() -> None:
        together.wait(30)
        archive.write(data)

    threads = [Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()] == [data]


@pytest.mark.parametrize("altered", [PICTURE[:-1], b"", PICTURE[:-1] + b"x"], ids=["cut", "emptied", "changed"])
def test_an_altered_picture_is_not_handed_out(tmp_path: Path, altered: bytes) -> None:
    archive = open_archive(str(tmp_path))
    ref = archive.write(PICTURE)
    (tmp_path / ref).write_bytes(altered)
    with pytest.raises(FileNotFoundError, match="was altered"):
        archive.read(ref)
