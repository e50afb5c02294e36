"""Many cameras at once, each a process of its own: one that fails, hangs or is killed leaves the others alone."""

import os
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from infra.children import differline
from infra.errors import SettingsError
from infra.processes import ORDERLY, end_all, start
from infra.settings import ENV_PREFIX, Settings
from infra.telemetry import get_logger
from ingest.cameras import Camera, LiveKind

STOP_TIMEOUT_S = 30.0
_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 60.0
_LIVED_S = 120.0  # one that ran for so long starts with the shortest pause again
_LOOK_S = 0.1
_HIGHEST_PORT = 65535

_log = get_logger("ingest")


@dataclass(frozen=True, slots=True)
class Berth:
    """One camera of the crew.

    Attributes:
        name: The camera.
        command: Its command line, without any password.
        environment: What it has for itself.
        again: Whether it is started again however it ends.
    """

    name: str
    command: Sequence[str]
    environment: dict[str, str]
    again: bool


def plan_crew(settings: Settings, file: Path, cameras: Sequence[Camera]) -> list[Berth]:
    """Say how each camera of a file is run.

    Raises:
        SettingsError: The metrics ports go beyond the last one.
    """
    first = settings.metrics_port
    if first and first + len(cameras) - 1 > _HIGHEST_PORT:
        raise SettingsError(f"{len(cameras)} cameras from DIFFERLINE_METRICS_PORT={first} on: no such port")
    return [
        Berth(
            name=camera.name,
            command=differline("ingest", "cameras", str(file.resolve()), "--only", camera.name),
            environment={ENV_PREFIX + "METRICS_PORT": str(first and first + place)},
            again=isinstance(camera, LiveKind) or bool(getattr(camera, "watch", False)),
        )
        for place, camera in enumerate(cameras)
    ]


@dataclass
class _Member:
    berth: Berth
    process: "subprocess.Popen[bytes] | None" = None
    started_at: float = 0.0
    start_at: float = 0.0
    pause_s: float = _FIRST_PAUSE_S
    finished: bool = False
    failed: bool = False


class Crew:
    """Starts cameras, starts those anew that die, and stops them all.

    Run it in the main thread: cameras end with the thread that started them.
    """

    def __init__(
        self, berths: Sequence[Berth], stop: threading.Event, *, first_pause_s: float = _FIRST_PAUSE_S
    ) -> None:
        """Start nothing yet.

        Args:
            berths: One for each camera.
            stop: Set from outside when all should end.
            first_pause_s: How long one that died waits before it is started again; twice as long after each time.
        """
        self._members = [_Member(berth, pause_s=first_pause_s) for berth in berths]
        self._stop = stop
        self._first_pause_s = first_pause_s

    def run(self) -> list[str]:
        """Keep the cameras running until told to stop, or until all have ended.

        Returns:
            Those that did not end in order.
        """
        try:
            while not self._stop.is_set() and not all(member.finished for member in self._members):
                for member in self._members:
                    self._look(member)
                time.sleep(_LOOK_S)  # not `stop.wait`: a signal handler sets it, in this very thread
        finally:
            self._end()
        return [member.berth.name for member in self._members if member.failed]

    def _look(self, member: _Member) -> None:
        if member.finished:
            return
        now = time.monotonic()
        if member.process is None:
            if now >= member.start_at:
                self._start(member, now)
            return
        code = member.process.poll()
        if code is None:
            return
        member.process = None
        if not member.berth.again:
            member.finished, member.failed = True, code != 0
            _log.info("camera_ended", camera=member.berth.name, exit_code=code)
            return
        if now - member.started_at >= _LIVED_S:
            member.pause_s = self._first_pause_s
        member.start_at = now + member.pause_s
        _log.error("camera_died", camera=member.berth.name, exit_code=code, restart_in_s=member.pause_s)
        member.pause_s = min(_LONGEST_PAUSE_S, member.pause_s * 2)

    def _start(self, member: _Member, now: float) -> None:
        member.started_at = now
        member.process = start(member.berth.command, dict(os.environ) | member.berth.environment)
        _log.info("camera_started", camera=member.berth.name, pid=member.process.pid)

    def _end(self) -> None:
        running = {member.berth.name: member.process for member in self._members if member.process is not None}
        codes = end_all(running, STOP_TIMEOUT_S, _killed)
        for member in self._members:
            if (code := codes.get(member.berth.name)) is not None:
                member.failed = code not in ORDERLY


def _killed(name: str) -> None:
    _log.warning("camera_killed", camera=name, waited_s=STOP_TIMEOUT_S)
