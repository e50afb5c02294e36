"""kill -9 of a command that has started others: they end as well; the engines wait for the next command, as documented."""

import contextlib
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from infra.engines import running_engines
from infra.settings import Settings

from ..servers import free_port
from .commands import Differline

PATIENCE_S = 90.0


def descendants(command: "subprocess.Popen[str]", needle: str) -> list[psutil.Process]:
    """Everything that the command started, once a process with this word in its command line is among it."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        assert command.poll() is None
        found = psutil.Process(command.pid).children(recursive=True)
        for process in found:
            with contextlib.suppress(psutil.NoSuchProcess):
                if needle in process.cmdline():
                    return found
        time.sleep(0.1)
    raise AssertionError(f"{needle} was not started")


def is_engine(process: psutil.Process) -> bool:
    try:
        return any(name in word for word in process.cmdline()[:1] for name in ("postgres", "redis-server"))
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize(
    ("arguments", "child"),
    [(("demo", "--frames", "4"), "simulate"), (("dashboard", "--port", "PORT"), "streamlit")],
)
def test_the_children_of_a_command_that_is_killed_end_with_it(
    engine_folder: Path, arguments: tuple[str, ...], child: str
) -> None:
    words = [str(free_port()) if word == "PORT" else word for word in arguments]
    command = Differline(engine_folder).start(*words)
    try:
        started = descendants(command, child)
    finally:
        command.kill()
        command.communicate()
    others = [process for process in started if not is_engine(process)]
    assert others
    _, alive = psutil.wait_procs(others, timeout=PATIENCE_S)
    with running_engines(Settings(data_dir=engine_folder)):
        pass  # joins the engines, and stops them as their last user
    assert not alive
