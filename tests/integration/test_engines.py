"""The embedded engines as commands meet them: started, joined, killed, left behind."""

import fcntl
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import IO

import psutil
import pytest
import redis
import sqlalchemy as sa

from infra.bus.embedded import EmbeddedRedis
from infra.engines import Engines, running_engines
from infra.errors import EngineError
from infra.settings import Settings
from infra.store.embedded import EmbeddedPostgres

COMMAND = """
import sys
from pathlib import Path
from infra.engines import running_engines
from infra.settings import Settings
with running_engines(Settings(data_dir=Path(sys.argv[1]))):
    print("ready", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture(scope="module")
def data_dir() -> Iterator[Path]:
    """A data folder with a note in each engine, both stopped. Tests that leave it sound share it."""
    with tempfile.TemporaryDirectory(prefix="differline-test-", ignore_cleanup_errors=True) as folder:
        data_dir = Path(folder, "data")
        with running_engines(Settings(data_dir=data_dir)) as engines:
            write_note(engines, "first")
        with (data_dir / "postgres" / "postgresql.conf").open("a") as conf:
            conf.write("fsync = off\n")  # it is for power cuts, and nothing here cuts the power
        yield data_dir


@pytest.fixture
def own_data_dir(data_dir: Path, engine_folder: Path) -> Path:
    """A copy, for tests that may leave it broken."""
    return copied(data_dir, engine_folder / "data")


def copied(data_dir: Path, target: Path) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["cp", "-a", data_dir, target], check=True)  # with owners: PostgreSQL has an account of its own
    return target


def write_note(engines: Engines, note: str) -> None:
    with connected(engines) as (database, live):
        database.execute(sa.text("CREATE TABLE IF NOT EXISTS notes (note text)"))
        database.execute(sa.text("INSERT INTO notes VALUES (:note)"), {"note": note})
        live.rpush("notes", note)


def notes(engines: Engines) -> tuple[list[str], list[str]]:
    """What PostgreSQL and Redis have kept."""
    with connected(engines) as (database, live):
        return (
            list(database.scalars(sa.text("SELECT note FROM notes"))),
            [note.decode() for note in live.lrange("notes", 0, -1)],
        )


@contextmanager
def connected(engines: Engines) -> Iterator[tuple[sa.Connection, redis.Redis]]:
    engine = sa.create_engine(engines.database_url, poolclass=sa.NullPool)
    with engine.begin() as database, closing(redis.Redis.from_url(engines.redis_url)) as live:
        yield database, live


def postmaster(data_dir: Path) -> psutil.Process:
    return psutil.Process(int((data_dir / "postgres" / "postmaster.pid").read_text().split("\n", 1)[0]))


def redis_server(engines: Engines) -> psutil.Process:
    with closing(redis.Redis.from_url(engines.redis_url)) as live:
        return psutil.Process(live.info("server")["process_id"])


def servers(data_dir: Path, engines: Engines) -> list[psutil.Process]:
    return [postmaster(data_dir), redis_server(engines)]


def servers_of(data_dir: Path) -> set[int]:
    """Every server that works in a data folder, whoever started it."""
    processes = psutil.process_iter(["name", "cmdline"])
    named = [process for process in processes if process.info["name"] in ("postgres", "redis-server")]
    return {process.pid for process in named if str(data_dir) in " ".join(process.info["cmdline"] or ())}


def gone(processes: list[psutil.Process]) -> bool:
    return psutil.wait_procs(processes, timeout=20)[1] == []


@contextmanager
def command(data_dir: Path) -> Iterator["subprocess.Popen[str]"]:
    """Another command that holds the engines until it reads a line."""
    running = subprocess.Popen(
        [sys.executable, "-c", COMMAND, str(data_dir)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with running:
        yield running
        running.kill()


def wait_ready(running: "subprocess.Popen[str]") -> None:
    assert pipe(running.stdout).readline() == "ready\n"


def finish(running: "subprocess.Popen[str]") -> None:
    pipe(running.stdin).write("\n")
    pipe(running.stdin).flush()
    assert running.wait(60) == 0


def pipe(stream: IO[str] | None) -> IO[str]:
    assert stream is not None
    return stream


def test_engines_start_migrated_stop_and_keep_their_data(data_dir: Path) -> None:
    with running_engines(Settings(data_dir=data_dir)) as engines:
        started = servers(data_dir, engines)
        assert notes(engines) == (["first"], ["first"])
        with connected(engines) as (database, _):
            assert database.scalar(sa.text("SELECT count(*) FROM verdicts")) == 0
    assert gone(started)


def test_a_second_command_joins_and_only_the_last_one_stops_them(data_dir: Path) -> None:
    with command(data_dir) as other:
        wait_ready(other)
        with running_engines(Settings(data_dir=data_dir)) as engines:
            started = servers(data_dir, engines)
        assert servers(data_dir, engines) == started
        assert notes(engines) == (["first"], ["first"])
        finish(other)
    assert gone(started)


def test_commands_that_start_at_the_same_time_share_one_set_of_engines(data_dir: Path) -> None:
    with ExitStack() as stack:
        commands = [stack.enter_context(command(data_dir)) for _ in range(2)]
        for each in commands:
            wait_ready(each)
        with running_engines(Settings(data_dir=data_dir)) as engines:
            started = servers(data_dir, engines)
            assert servers_of(data_dir) == {process.pid for process in started}
            for each in commands:
                finish(each)
            assert notes(engines) == (["first"], ["first"])
    assert gone(started)


def test_a_command_waits_while_another_one_starts_or_stops_them(data_dir: Path) -> None:
    path = data_dir / "engines.lock"
    with path.open("w") as lock, command(data_dir) as other:
        fcntl.flock(lock, fcntl.LOCK_EX)
        deadline = time.monotonic() + 60
        while str(path) not in {opened.path for opened in psutil.Process(other.pid).open_files()}:
            assert time.monotonic() < deadline, "it does not ask for the lock"
            time.sleep(0.1)
        assert servers_of(data_dir) == set()
        fcntl.flock(lock, fcntl.LOCK_UN)
        wait_ready(other)
        finish(other)


@pytest.mark.parametrize("victim", [0, 1], ids=["PostgreSQL", "Redis"])
def test_a_killed_server_leaves_the_command_in_peace_and_starts_again_with_its_data(
    own_data_dir: Path, victim: int
) -> None:
    with running_engines(Settings(data_dir=own_data_dir)) as engines:
        write_note(engines, "second")
        started = servers(own_data_dir, engines)
        started[victim].kill()
        assert gone([started[victim]])
    assert gone(started)
    with running_engines(Settings(data_dir=own_data_dir)) as engines:
        assert notes(engines) == (["first", "second"], ["first", "second"])


def test_engines_of_a_killed_command_are_joined_and_stopped_by_the_next(data_dir: Path) -> None:
    with command(data_dir) as other:
        wait_ready(other)
        other.kill()
        other.wait(10)
    with running_engines(Settings(data_dir=data_dir)) as engines:
        started = servers(data_dir, engines)
        assert all(process.ppid() != psutil.Process().pid for process in started)
        assert notes(engines) == (["first"], ["first"])
    assert gone(started)


def test_an_error_inside_a_command_stops_the_engines_too(data_dir: Path) -> None:
    started: list[psutil.Process] = []
    with pytest.raises(ZeroDivisionError):
        burst(data_dir, started)
    assert gone(started)


def burst(data_dir: Path, started: list[psutil.Process]) -> None:
    with running_engines(Settings(data_dir=data_dir)) as engines:
        started += servers(data_dir, engines)
        raise ZeroDivisionError


@pytest.fixture
def foreign_process(own_data_dir: Path) -> Iterator[psutil.Process]:
    """A process of PostgreSQL's account that is none of ours."""
    owner = (own_data_dir / "postgres").stat().st_uid
    with subprocess.Popen(["sleep", "600"], user=owner if owner != psutil.Process().uids().real else None) as sleeper:
        yield psutil.Process(sleeper.pid)
        sleeper.kill()


def test_a_lock_file_whose_process_id_another_program_has_now_is_stale(
    own_data_dir: Path, foreign_process: psutil.Process
) -> None:
    leave_lock_file(own_data_dir, foreign_process)
    with running_engines(Settings(data_dir=own_data_dir)) as engines:
        assert notes(engines) == (["first"], ["first"])
    assert foreign_process.is_running()


def test_a_lock_file_whose_process_id_another_postgresql_has_now_is_stale(own_data_dir: Path, engines: Engines) -> None:
    with connected(engines) as (database, _):
        other = psutil.Process(database.scalar(sa.text("SELECT pg_backend_pid()"))).parent()
    assert other is not None
    leave_lock_file(own_data_dir, other)
    with running_engines(Settings(data_dir=own_data_dir)) as own:
        assert notes(own) == (["first"], ["first"])
    assert other.is_running()


def leave_lock_file(data_dir: Path, holder: psutil.Process) -> None:
    folder = data_dir / "postgres"
    lock = folder / "postmaster.pid"
    lock.write_text(f"{holder.pid}\n{folder}\n1700000000\n5432\n{folder}\n\n  5432001         0\nready   \n")
    shutil.chown(lock, folder.stat().st_uid)


def one_line_error(settings: Settings) -> str:
    with pytest.raises(EngineError) as caught, running_engines(settings):
        pass
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_data_folder_of_another_format_is_refused(tmp_path: Path) -> None:
    (tmp_path / "FORMAT").write_text("2\n")
    assert "has format '2', this differline reads '1'" in one_line_error(Settings(data_dir=tmp_path))


@pytest.mark.parametrize(
    ("version", "told"),
    [("15", "was written by PostgreSQL 15"), ("garbage", "names no version"), ("", "names no version")],
)
def test_data_of_another_postgresql_is_refused_and_left_as_it_is(tmp_path: Path, version: str, told: str) -> None:
    marker = tmp_path / "postgres" / "PG_VERSION"
    marker.parent.mkdir()
    marker.write_text(version)
    assert told in one_line_error(Settings(data_dir=tmp_path))
    assert marker.read_text() == version
    assert list(marker.parent.iterdir()) == [marker]


def test_a_postgresql_that_cannot_start_is_one_line_that_names_its_log(
    own_data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infra.store.embedded._START_TIMEOUT_S", 1)
    (own_data_dir / "postgres" / "postgresql.conf").write_text("shared_buffers = none\n")
    assert str(own_data_dir / "postgres" / "log") in one_line_error(Settings(data_dir=own_data_dir))


def test_a_redis_that_cannot_start_is_one_line_that_names_its_log_and_stops_postgresql(own_data_dir: Path) -> None:
    (log_of_writes,) = (own_data_dir / "redis").glob("appendonly*")
    log_of_writes.write_bytes(b"*1\r\nnonsense" * 20)
    assert str(own_data_dir / "redis" / "log") in one_line_error(Settings(data_dir=own_data_dir))
    assert not (own_data_dir / "postgres" / "postmaster.pid").exists()


@pytest.mark.parametrize(
    "name",
    ["x" * 120, "the plant's data + 50% & #1? Größe"],
    ids=["long", "odd"],
)
def test_the_data_folder_may_have_any_name(data_dir: Path, engine_folder: Path, name: str) -> None:
    named = copied(data_dir, engine_folder / name / "data")
    with running_engines(Settings(data_dir=named)) as engines:
        started = servers(named, engines)
        assert notes(engines) == (["first"], ["first"])
    assert gone(started)


@pytest.mark.parametrize("character", list('"$`\\,'))
def test_a_name_that_postgresql_cannot_take_is_refused(engine_folder: Path, character: str) -> None:
    data_dir = engine_folder / f"touch {character}x{character} y"
    assert f"no {character} in the path" in one_line_error(Settings(data_dir=data_dir))


def test_servers_by_url_are_used_as_they_are(engines: Engines, tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data", database_url=engines.database_url, redis_url=engines.redis_url)
    with running_engines(settings) as found:
        assert found == engines
    assert not (tmp_path / "data").exists()


def test_only_the_engine_without_a_url_is_started(engines: Engines, tmp_path: Path) -> None:
    with running_engines(Settings(data_dir=tmp_path, database_url=engines.database_url)) as found:
        assert found.database_url == engines.database_url
        started = redis_server(found)
    assert gone([started])
    assert not (tmp_path / "postgres").exists()


def test_engines_can_be_started_and_stopped_again(data_dir: Path) -> None:
    for engine in (EmbeddedPostgres(data_dir / "postgres"), EmbeddedRedis(data_dir / "redis", max_memory_mb=64)):
        assert engine.start() == engine.start()
        engine.stop()
        engine.stop()
