"""`make up` and `make down`, by the quickest of the three servers: started once, found again, and nothing else is stopped."""

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import redis

from ..servers import SCRIPT, free_port

Servers = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="differline-servers-") as made:
        yield Path(made)


@pytest.fixture
def servers(folder: Path) -> Iterator[Servers]:
    environment = {**os.environ, "LOCAL_DIR": str(folder), "LOCAL_REDIS_PORT": str(free_port())}

    def run(*arguments: str, **changes: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [str(SCRIPT), *arguments],
            env={**environment, **changes},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=250,
            check=False,
        )

    yield run
    run("down", "redis")


def pid(folder: Path) -> int:
    return int((folder / "redis" / "pid").read_text())


def ended(number: int) -> bool:
    try:
        return psutil.Process(number).status() == psutil.STATUS_ZOMBIE  # nobody has asked how it ended
    except psutil.NoSuchProcess:
        return True


def url(output: str) -> str:
    return output.rsplit("DIFFERLINE_REDIS_URL=", 1)[1].strip()


def test_a_second_start_finds_the_first_and_a_stop_ends_it(servers: Servers, folder: Path) -> None:
    first = servers("up", "redis")
    assert first.returncode == 0, first.stderr
    assert redis.Redis.from_url(url(first.stdout)).ping()
    started = pid(folder)
    again = servers("up", "redis")
    assert "runs already" in again.stdout
    assert (pid(folder), url(again.stdout)) == (started, url(first.stdout))
    assert "redis: stopped" in servers("down", "redis").stdout
    assert ended(started)
    assert "redis: not running" in servers("down", "redis").stdout


def test_data_outlives_a_kill_and_a_new_start(servers: Servers, folder: Path) -> None:
    redis.Redis.from_url(url(servers("up", "redis").stdout)).set("kept", "1")
    psutil.Process(pid(folder)).kill()
    assert redis.Redis.from_url(url(servers("up", "redis").stdout)).get("kept") == b"1"


def test_a_number_that_went_to_another_program_is_left_alone(servers: Servers, folder: Path) -> None:
    stranger = subprocess.Popen(["sleep", "60"])
    try:
        (folder / "redis").mkdir()
        (folder / "redis" / "pid").write_text(f"{stranger.pid}\n")
        assert "redis: not running" in servers("down", "redis").stdout
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait(10)


def test_a_taken_port_is_told_with_the_variable_that_sets_it(servers: Servers, folder: Path) -> None:
    in_use = url(servers("up", "redis").stdout).split(":")[-1].split("/")[0]
    other = servers("up", "redis", LOCAL_DIR=str(folder / "other"), LOCAL_REDIS_PORT=in_use)
    assert other.returncode == 1
    assert other.stderr == f"servers: redis: port {in_use} is taken by another program; set LOCAL_REDIS_PORT\n"


def test_a_server_that_does_not_exist_is_refused(servers: Servers) -> None:
    assert "there is no server mysql" in servers("up", "mysql").stderr
    assert "usage" in servers("start").stderr
