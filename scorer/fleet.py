"""`differline score --workers`: several scorers on one machine, each a process with a device and CPU threads of its own.

The parent only starts, watches and stops them: it imports no torch and reads no frames. The scorers share the partitions as
members of the Kafka consumer group, like scorers on different machines.
"""

import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from structlog.typing import FilteringBoundLogger

from infra.children import ending_with_us
from infra.errors import FleetError, SettingsError
from infra.processes import ORDERLY, end_all, start
from infra.settings import ENV_PREFIX, Settings

AUTO = "auto"
DEATHS_IN_A_ROW = 5
AT_ONCE_S = (
    120.0  # a scorer that lived longer had begun its work; loading torch alone takes half a minute on busy cores
)
STOP_TIMEOUT_S = 30.0
_LONGEST_PAUSE_S = 30.0
_LOOK_S = 0.1
_HIGHEST_PORT = 65535
_GPU_COUNT_TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True)
class WorkerPlan:
    """One scorer of the fleet.

    Attributes:
        number: From 0.
        device: Where it computes, as in the setting `device`.
        cpu_share: Its share of this machine's cores.
        metrics_port: Its port of `/metrics`; 0: none.
    """

    number: int
    device: str
    cpu_share: float
    metrics_port: int

    def environment(self) -> dict[str, str]:
        """Return the settings that it has for itself, as variables of the environment."""
        own = {"DEVICE": self.device, "CPU_SHARE": repr(self.cpu_share), "METRICS_PORT": str(self.metrics_port)}
        return {ENV_PREFIX + name: value for name, value in own.items()}


def number_of_workers(asked: str, bus: str) -> int | None:
    """Read what `--workers` says; None: one for each GPU.

    Raises:
        SettingsError: It is neither `auto` nor a number from 1, or the bus has one scorer.
    """
    if asked != AUTO and not (asked.isdecimal() and int(asked)):
        raise SettingsError(f"--workers is {AUTO} or a number from 1, not {asked!r}")
    if bus == "kafka":
        return None if asked == AUTO else int(asked)
    if asked not in (AUTO, "1"):
        raise SettingsError(f"--workers {asked} needs DIFFERLINE_BUS=kafka: on Redis Streams there is one scorer")
    return 1


def plan_workers(settings: Settings, count: int | None, gpus: int) -> list[WorkerPlan]:
    """Share the machine out.

    Args:
        settings: What all of them share.
        count: How many scorers; None: one for each GPU, and one where there is none.
        gpus: How many GPUs torch finds.

    Raises:
        SettingsError: CUDA was asked for and there is no GPU, or the metrics ports go beyond the last one.
    """
    if settings.device == "cuda" and not gpus:
        raise SettingsError("DIFFERLINE_DEVICE is cuda, and torch finds no CUDA device")
    shares_gpus = picks_gpus(settings) and gpus > 0
    number = count or (gpus if shares_gpus else 1)
    if settings.metrics_port and settings.metrics_port + number - 1 > _HIGHEST_PORT:
        raise SettingsError(f"{number} scorers from DIFFERLINE_METRICS_PORT={settings.metrics_port} on: no such port")
    return [
        WorkerPlan(
            number=place,
            device=f"cuda:{place % gpus}" if shares_gpus else settings.device,
            cpu_share=settings.cpu_share / number,
            metrics_port=settings.metrics_port and settings.metrics_port + place,
        )
        for place in range(number)
    ]


def picks_gpus(settings: Settings) -> bool:
    """Tell whether the setting `device` leaves it to us which GPU a scorer gets."""
    return settings.device in (AUTO, "cuda")


def gpu_count() -> int:
    """Count the GPUs that torch can use, in a process of its own: torch is large, and CUDA does not like to be forked.

    Raises:
        FleetError: torch cannot be asked.
    """
    question = [sys.executable, "-c", "import torch; print(torch.cuda.device_count())"]
    try:
        answer = subprocess.run(  # noqa: S603 - our own interpreter
            ending_with_us(question), capture_output=True, text=True, check=True, timeout=_GPU_COUNT_TIMEOUT_S
        )
        return int(answer.stdout)
    except (subprocess.SubprocessError, ValueError) as error:
        raise FleetError(f"cannot count the GPUs: {error}") from error


@dataclass
class _Member:
    plan: WorkerPlan
    process: "subprocess.Popen[bytes] | None" = None
    started_at: float = 0.0
    start_at: float = 0.0
    deaths: int = 0
    finished: bool = False


@dataclass
class Fleet:
    """Starts scorers, starts those anew that die, and stops them all.

    Run it in the main thread: scorers end with the thread that started them.

    Attributes:
        plans: One for each scorer.
        command: The command line of a scorer.
        environment: Its environment, before what its plan adds.
        until_idle: Whether a scorer that ends with 0 has done what it was asked for; else it is started again.
        log: Where events go.
        stop: Set it, and the scorers are told to end.
        first_pause_s: How long a scorer that died waits before it is started again; twice as long after each death at once.
    """

    plans: Sequence[WorkerPlan]
    command: Sequence[str]
    environment: dict[str, str]
    until_idle: bool
    log: FilteringBoundLogger
    stop: threading.Event = field(default_factory=threading.Event)
    first_pause_s: float = 0.5

    def run(self) -> None:
        """Keep the scorers running until told to stop, or until all have finished.

        Raises:
            FleetError: A scorer died at once, time and again, or one did not end in order.
        """
        members = [_Member(plan) for plan in self.plans]
        try:
            while not self.stop.is_set() and not all(member.finished for member in members):
                for member in members:
                    self._look(member)
                time.sleep(_LOOK_S)  # not `stop.wait`: a signal handler sets it, in this very thread
        finally:
            ended = self._end(members)
        if disorderly := {number: code for number, code in ended.items() if code not in ORDERLY}:
            told = ", ".join(f"scorer {number} with {code}" for number, code in disorderly.items())
            raise FleetError(f"not all scorers ended in order within {STOP_TIMEOUT_S:.0f} s: {told}")

    def _look(self, member: _Member) -> None:
        if member.finished:
            return
        now = time.monotonic()
        if member.process is None:
            if now >= member.start_at:
                self._start(member)
            return
        code = member.process.poll()
        if code is None:
            return
        member.process = None
        if code == 0 and self.until_idle:
            member.finished = True
            return
        lived_s = now - member.started_at
        member.deaths = member.deaths + 1 if lived_s < AT_ONCE_S else 0
        if member.deaths == DEATHS_IN_A_ROW:
            raise FleetError(
                f"scorer {member.plan.number} ended {DEATHS_IN_A_ROW} times in a row within {AT_ONCE_S:.0f} s of its start, "
                f"the last time with exit code {code}; what it said stands above"
            )
        pause_s = min(_LONGEST_PAUSE_S, self.first_pause_s * 2 ** max(0, member.deaths - 1))
        member.start_at = now + pause_s
        number = member.plan.number
        self.log.error(
            "fleet.scorer_died", number=number, exit_code=code, lived_s=round(lived_s, 1), restart_in_s=pause_s
        )

    def _start(self, member: _Member) -> None:
        plan = member.plan
        member.started_at = time.monotonic()
        member.process = start(self.command, self.environment | plan.environment())
        self.log.info("fleet.scorer_started", number=plan.number, pid=member.process.pid, device=plan.device)

    def _end(self, members: Sequence[_Member]) -> dict[int, int]:
        """Tell all to end, wait, and kill what is left; return their exit codes by number."""
        running = {member.plan.number: member.process for member in members if member.process is not None}
        return end_all(running, STOP_TIMEOUT_S, self._killed)

    def _killed(self, number: int) -> None:
        self.log.warning("fleet.scorer_killed", number=number, waited_s=STOP_TIMEOUT_S)
