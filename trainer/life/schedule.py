"""Refits by the clock on one machine: at the times of a crontab line, whatever is due, one after the other."""

import subprocess
import threading
from collections.abc import Sequence

from apscheduler.executors.debug import DebugExecutor
from apscheduler.schedulers.blocking import BlockingScheduler
from apscheduler.triggers.base import BaseTrigger
from apscheduler.triggers.cron import CronTrigger
from structlog.typing import FilteringBoundLogger

from infra.children import ending_with_us
from infra.clock import ClockWatch
from infra.errors import SettingsError

_LOOK_S = 0.5
_STOP_S = 60.0


def trigger_of(crontab: str, timezone: str | None = None) -> CronTrigger:
    """Read a crontab line: minute, hour, day of month, month, day of week.

    Args:
        crontab: The line.
        timezone: Name of its time zone; this machine's, if not given.

    Raises:
        SettingsError: It is none, or there is no such time zone.
    """
    try:
        return CronTrigger.from_crontab(crontab, timezone)
    except (ValueError, LookupError) as error:
        raise SettingsError(f"no schedule: {crontab!r} in {timezone or 'local time'}: {error}") from error


def run_schedule(
    trigger: BaseTrigger,
    command: Sequence[str],
    log: FilteringBoundLogger,
    stop: threading.Event,
    watch: ClockWatch | None = None,
) -> None:
    """Run a command at the times of a trigger until stopped; call it in the main thread.

    Times that pass while the command runs, or while the machine sleeps, are made up for by one run. Where the clock is set back
    the next time is found anew: one that a wrong clock had named may be years ahead.

    Args:
        trigger: When.
        command: What, as a program and its arguments; it ends when this process ends.
        log: Where events go.
        stop: Set it, and a command that runs is told to end.
        watch: Tells when the clock was set back; None: by this machine's clocks.
    """
    # In the main thread: the kernel ends children with the thread that started them.
    scheduler = BlockingScheduler(executors={"default": DebugExecutor()})
    job = scheduler.add_job(
        _run, trigger, args=(command, log, stop), coalesce=True, max_instances=1, misfire_grace_time=None
    )

    clock = watch or ClockWatch()

    def end() -> None:
        while not stop.wait(_LOOK_S):
            if back_s := clock.jumped_back_s():
                log.warning("schedule.clock_jumped_back", seconds=round(back_s))
                job.reschedule(trigger)
        scheduler.shutdown(wait=False)

    threading.Thread(target=end, name="end of schedule", daemon=True).start()
    log.info("schedule.started", times=str(trigger))
    scheduler.start()


def _run(command: Sequence[str], log: FilteringBoundLogger, stop: threading.Event) -> None:
    log.info("schedule.run")
    child = subprocess.Popen(ending_with_us(command))  # noqa: S603 - a command of differline
    while child.poll() is None:
        if stop.wait(_LOOK_S):
            child.terminate()
            try:
                child.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                child.kill()
    level = log.info if child.returncode == 0 else log.error
    level("schedule.ran", exit_code=child.returncode)
