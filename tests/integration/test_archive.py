"""The archive of pictures, in a folder, on S3 and in another of fsspec's places."""

import contextlib
import subprocess
import sys
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path
from threading import Barrier, Thread

import boto3
import pytest
import s3fs
from tenacity import retry, stop_after_delay, wait_fixed

from infra.archive import Archive, open_archive
from infra.errors import ArchiveAwayError
from infra.frames import sha256_hex

from ..servers import free_port

PICTURE = b"\xff\xd8 a picture"


class S3Server:
    """A server that speaks S3, as a process of its own."""

    def __init__(self, log: Path) -> None:
        self.url = f"http://127.0.0.1:{(port := free_port())}"
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        with log.open("wb") as output:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        self._wait()

    @retry(stop=stop_after_delay(60), wait=wait_fixed(0.1), reraise=True)
    def _wait(self) -> None:
        urllib.request.urlopen(self.url, timeout=5).close()

    def close(self) -> None:
        self.process.kill()
        self.process.wait(10)


@pytest.fixture(scope="module")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with contextlib.closing(S3Server(tmp_path_factory.mktemp("s3") / "log")) as server:
        yield server


def on_s3(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """Make a bucket, set what an operator would set, and return the URL of an archive in it."""
    for name, value in {
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL_S3": server.url,
    }.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()  # a client of another endpoint
    bucket = "pictures-" + uuid.uuid4().hex
    boto3.client("s3").create_bucket(Bucket=bucket)
    return f"s3://{bucket}/line 1"


@pytest.fixture
def s3_location(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
    return on_s3(s3_server, monkeypatch)


@pytest.fixture(params=["folder", "file URL", "odd folder", "memory", "S3"])
def archive(request: pytest.FixtureRequest, tmp_path: Path) -> Archive:
    if request.param == "S3":
        return open_archive(request.getfixturevalue("s3_location"))
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


def test_an_object_that_was_altered_on_s3_is_not_handed_out(s3_location: str) -> None:
    ref = open_archive(s3_location).write(PICTURE)
    bucket, _, prefix = s3_location.removeprefix("s3://").partition("/")
    boto3.client("s3").put_object(Bucket=bucket, Key=f"{prefix}/{ref}", Body=PICTURE[:-1])
    with pytest.raises(FileNotFoundError, match="was altered"):
        open_archive(s3_location).read(ref)


def test_an_s3_that_is_away_is_told_from_a_picture_that_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = S3Server(tmp_path / "log")
    archive = open_archive(on_s3(server, monkeypatch))
    ref = archive.write(PICTURE)
    server.close()
    with pytest.raises(ArchiveAwayError):
        archive.read(ref)
    with pytest.raises(ArchiveAwayError):
        archive.write(b"another")


@pytest.mark.usefixtures("s3_location")
def test_a_bucket_that_does_not_exist_is_an_archive_that_is_away() -> None:
    missing = open_archive("s3://no-such-bucket/pictures")
    with pytest.raises(ArchiveAwayError):
        missing.write(PICTURE)
    with pytest.raises(ArchiveAwayError, match="no-such-bucket/pictures is not there"):
        missing.check_present()


def test_an_empty_bucket_is_an_archive_that_is_there(s3_location: str) -> None:
    archive = open_archive(s3_location)
    archive.check_present()
    with pytest.raises(FileNotFoundError):
        archive.read(f"{sha256_hex(PICTURE)[:2]}/{sha256_hex(PICTURE)}")
