"""`differline ingest cameras`: several at once, one fails and the others go on, and no password is said anywhere."""

import contextlib
import json
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import redis
import sqlalchemy as sa

from infra.settings import Settings
from infra.store.connect import open_database
from infra.store.tables import camera_runs

from ..rtsp_camera import RtspServer, rtsp_server, write_video
from ..servers import free_port
from .commands import Differline

SECRETS = ("geheim@1", "geheim%401", "falsch-2", "nirgends-3", "stumm-4")
WAIT_S = 60.0

CAMERAS = """
[[camera]]
name = "oven-1"
product = "tile"
kind = "rtsp"
url = "rtsp://viewer:${{OVEN_PASSWORD}}@127.0.0.1:{port}/camera"
fps = 5

[[camera]]
name = "wrong-password"
product = "tile"
kind = "rtsp"
url = "rtsp://127.0.0.1:{port}/camera"
user = "viewer"
password_env = "WRONG_PASSWORD"

[[camera]]
name = "wrong-address"
product = "tile"
kind = "rtsp"
url = "rtsp://viewer:nirgends-3@127.0.0.1:{nowhere}/camera?password=nirgends-3"

[[camera]]
name = "says-nothing"
product = "tile"
kind = "rtsp"
url = "rtsp://viewer:stumm-4@127.0.0.1:{silent}/user=admin&password=stumm-4"
timeout_s = 1

[[camera]]
name = "too-small"
product = "tile"
kind = "video"
file = "{folder}/v.avi"
region = "0,0,5000,5000"

[[camera]]
name = "trial"
product = "tile"
kind = "video"
file = "{folder}/v.avi"
"""


@pytest.fixture
def server(numbered_pictures: Path) -> Iterator[RtspServer]:
    with rtsp_server(numbered_pictures, "--user", "viewer", "--password", "geheim@1") as running:
        yield running


@pytest.fixture
def silent() -> Iterator[int]:
    """The port of a server that accepts and says nothing."""
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as listener:
        yield listener.getsockname()[1]


def wait_until(done: Callable[[], bool], what: str, log: Path) -> None:
    began = time.monotonic()
    while not done():
        assert time.monotonic() - began < WAIT_S, f"{what}\n{log.read_text()[-4000:]}"
        time.sleep(0.2)


def free_ports(count: int) -> int:
    """The first of so many free ports in a row."""
    for _ in range(100):
        first = free_port()
        with contextlib.suppress(OSError, OverflowError), contextlib.ExitStack() as held:
            for port in range(first, first + count):
                held.enter_context(contextlib.closing(socket.create_server(("127.0.0.1", port))))
            return first
    raise AssertionError(f"no {count} free ports in a row")


def everything_in(database: sa.Engine) -> str:
    """Every row of every table, as text."""
    with database.connect() as connection:
        names = sa.inspect(connection).get_table_names()
        assert {"camera_runs", "skipped_frames"} <= set(names)
        return "\n".join(
            str(row[0]) for name in names for row in connection.execute(sa.text(f'SELECT t::text FROM "{name}" t'))
        )


def everything_on(redis_url: str) -> str:
    """Names and values of all keys, bodies of pictures included."""
    client = redis.Redis.from_url(redis_url)
    found = []
    for key in client.scan_iter():
        found.append(repr(key))
        if client.type(key) == b"stream":
            found.append(repr(client.xrange(key, count=20)))
        elif client.type(key) == b"string":
            found.append(repr(client.get(key)))
    client.close()
    return "\n".join(found)


def test_cameras_of_a_file_run_side_by_side_and_no_password_is_in_any_output(
    settings: Settings, tmp_path: Path, server: RtspServer, silent: int
) -> None:
    write_video(tmp_path / "v.avi", 12)
    file = tmp_path / "cameras.toml"
    file.write_text(CAMERAS.format(port=server.port, nowhere=free_port(), silent=silent, folder=tmp_path))
    metrics_port = free_ports(6)
    differline = Differline(
        tmp_path,
        {
            "DIFFERLINE_DATABASE_URL": settings.database_url or "",
            "DIFFERLINE_REDIS_URL": settings.redis_url or "",
            "DIFFERLINE_METRICS_PORT": str(metrics_port),
            "DIFFERLINE_LOG_LEVEL": "debug",
            "OVEN_PASSWORD": "geheim@1",
            "WRONG_PASSWORD": "falsch-2",
        },
    )
    database = open_database(settings.database_url or "")

    def captured(camera: str) -> int:
        with database.connect() as connection:
            counts = sa.func.greatest(camera_runs.c.captured, camera_runs.c.accepted)
            return connection.scalar(sa.select(sa.func.max(counts)).where(camera_runs.c.camera == camera)) or 0

    log = tmp_path / "log"
    with log.open("w") as into, differline.start("ingest", "cameras", str(file), into=into) as crew:
        try:
            wait_until(lambda: captured("trial") == 12, "the video is sent", log)
            wait_until(lambda: captured("oven-1") >= 20, "the camera that is there is read", log)
            said = ("password is wrong", "connection is refused", "no answer within 1 s", "320x240")
            wait_until(lambda: all(text in log.read_text() for text in said), f"what is wrong is said: {said}", log)
            members = psutil.Process(crew.pid).children(recursive=True)
            titles = [" ".join(process.cmdline()) for process in (psutil.Process(crew.pid), *members)]
            assert len(titles) == 5  # the crew, and four cameras that are read until they are told to end
            metrics = urllib.request.urlopen(f"http://127.0.0.1:{metrics_port}/metrics", timeout=10).read().decode()
            assert 'differline_ingest_accepted_frames_total{camera="oven-1"}' in metrics
            victim = next(process for process in members if "oven-1" in " ".join(process.cmdline()))
            before = captured("oven-1")
            victim.kill()
            wait_until(lambda: captured("oven-1") > 0 and "camera_died" in log.read_text(), "it is started again", log)
            wait_until(lambda: runs(database, "oven-1") == 2, "its new run sends", log)
            assert before >= 20
        finally:
            crew.terminate()
        assert crew.wait(WAIT_S) == 1  # one of them never worked
    _, alive = psutil.wait_procs(members, timeout=10)
    assert alive == []
    text = log.read_text()
    assert "1 of 6 cameras did not end in order: too-small" in text
    spools = "".join(path.read_bytes().decode("latin-1") for path in tmp_path.rglob("*.sqlite3*"))
    everything = "\n".join(
        (text, *titles, metrics, everything_in(database), everything_on(settings.redis_url or ""), spools)
    )
    database.dispose()
    assert [secret for secret in SECRETS if secret in everything] == []


def runs(database: sa.Engine, camera: str) -> int:
    """How many runs of a camera have frames."""
    with database.connect() as connection:
        rows = sa.select(sa.func.count()).where(camera_runs.c.camera == camera, camera_runs.c.captured > 0)
        return connection.scalar(rows) or 0


def test_a_file_of_cameras_with_mistakes_starts_nothing(tmp_path: Path) -> None:
    file = tmp_path / "cameras.toml"
    file.write_text('[[camera]]\nname = "a"\nproduct = "p"\nkind = "rtsp"\nurl = "rtsp://u:geheim@1@cam/1"\nfsp = 3\n')
    done = Differline(tmp_path).run("ingest", "cameras", str(file), expect=2)
    assert done.stderr == f"differline: {file}: camera 1 (a): fsp: there is no such key\n"
    file.write_text(file.read_text().replace("fsp = 3\n", ""))
    done = Differline(tmp_path).run("ingest", "cameras", str(file), "--check", expect=2)
    assert "camera a: the camera's address has an @ too many" in done.stderr
    assert "geheim" not in done.stderr + done.stdout
    assert not (tmp_path / "postgres").exists()


def test_a_password_on_the_command_line_is_warned_about_and_not_repeated(settings: Settings, tmp_path: Path) -> None:
    chosen = {
        "DIFFERLINE_DATABASE_URL": settings.database_url or "",
        "DIFFERLINE_REDIS_URL": settings.redis_url or "",
    }
    url = f"rtsp://u:geheim@127.0.0.1:{free_port()}/1"
    log = tmp_path / "log"
    with log.open("w") as into:
        ingest: subprocess.Popen[str] = Differline(tmp_path, chosen).start(
            "ingest", "rtsp", url, "--camera", "c", "--product", "p", into=into
        )
        try:
            wait_until(lambda: "camera_away" in log.read_text(), "it is not there", log)
        finally:
            ingest.terminate()
        assert ingest.wait(WAIT_S) == 0
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    assert [line["event"] for line in lines if line["level"] == "warning"] == [
        "password_on_command_line",
        "camera_away",
    ]
    assert "geheim" not in log.read_text()
