"""The servers of `make up` for tests: on free ports, with their data in a folder of the test run, and mortal."""

import contextlib
import os
import re
import signal
import socket
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import psutil

SCRIPT = Path(__file__).parents[1] / "infra" / "deploy" / "servers"
_START_TIMEOUT_S = 280
_OTHER_PORTS = 3
_TAKEN = re.compile(
    r"^servers: (postgres|redis): port \d+ is taken", re.MULTILINE
)  # Kafka's stand in its properties too
_PORTS = ("LOCAL_POSTGRES_PORT", "LOCAL_REDIS_PORT", "LOCAL_KAFKA_PORT", "LOCAL_KAFKA_RAFT_PORT")
_PID_FILES = {"postgres": "postgres/data/postmaster.pid", "redis": "redis/pid", "kafka": "kafka/pid"}


class ServersError(Exception):
    """A server cannot be had; the text is what the script said."""


def free_port() -> int:
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as listener:
        return int(listener.getsockname()[1])


def _free_ports() -> dict[str, str]:
    return {variable: str(free_port()) for variable in _PORTS}


@dataclass
class LocalServers:
    """PostgreSQL, Redis and Kafka of a test's own, each started when it is asked for.

    Attributes:
        folder: Their data, logs and process ids. PostgreSQL runs under an account of its own where we are root.
        environment: Further variables of the script.
    """

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    _ports: dict[str, str] = field(default_factory=_free_ports)
    _started: set[str] = field(default_factory=set)

    def port_of(self, variable: str) -> int:
        """Return the port behind a variable of the script."""
        return int(self._ports[variable])

    def up(self, *names: str) -> dict[str, str]:
        """Start servers, and wait until they answer.

        Returns:
            The settings that use them, as the script prints them.

        Raises:
            ServersError: One of them cannot be had.
        """
        answer = self._run("up", *names)
        for _ in range(_OTHER_PORTS):  # a port that was free when it was looked for may be taken since
            taken = _TAKEN.search(answer.stderr)
            if taken is None or taken[1] in self._started:
                break
            self._ports[f"LOCAL_{taken[1].upper()}_PORT"] = str(free_port())
            answer = self._run("up", *names)
        if answer.returncode:
            raise ServersError(answer.stderr.strip())
        self._started.update(names)
        exported = (line.split("export ", 1)[1] for line in answer.stdout.splitlines() if "export " in line)
        return dict(line.split("=", 1) for line in exported)

    def down(self, *names: str) -> None:
        """Stop servers; their data stays."""
        self._run("down", *names)

    def process_of(self, name: str) -> psutil.Process:
        """Return a running server's first process."""
        return psutil.Process(int((self.folder / _PID_FILES[name]).read_text().split()[0]))

    def kill_server(self, name: str) -> None:
        """End a server as a power failure of its machine would, its children included."""
        process = self.process_of(name)
        family = [process, *process.children(recursive=True)]
        for member in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.send_signal(signal.SIGKILL)
        psutil.wait_procs(family, 10)

    def _run(self, action: str, *names: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [str(SCRIPT), action, *names],
            env={
                **os.environ,
                "LOCAL_DIR": str(self.folder),
                "LOCAL_KAFKA_HEAP_MB": "384",
                **self._ports,
                **self.environment,
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_START_TIMEOUT_S,
            check=False,
        )
