"""Refits by the clock: a real scheduler, a real child, real signals."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from apscheduler.triggers.interval import IntervalTrigger
from typer.testing import CliRunner

import infra.stopping
import infra.telemetry
import trainer.life.commands
import trainer.life.schedule
from infra.children import differline
from infra.errors import SettingsError
from infra.telemetry import get_logger
from trainer.life.schedule import run_schedule, trigger_of

MINE = """
import sys, threading
from apscheduler.triggers.interval import IntervalTrigger
from infra.stopping import stop_on_signals
from infra.telemetry import get_logger
from trainer.life.schedule import run_schedule
stop = threading.Event()
stop_on_signals(stop)
run_schedule(IntervalTrigger(seconds=1), sys.argv[1:], get_logger("schedule"), stop)
"""


def test_a_crontab_line_says_when() -> None:
    trigger = trigger_of("30 2 * * 1-5", "Europe/Berlin")
    assert "hour='2', minute='30'" in str(trigger)
    for line, zone in [("every night", None), ("0 2 * *", None), ("0 2 * * *", "Mars/Olympus")]:
        with pytest.raises(SettingsError, match="no schedule"):
            trigger_of(line, zone)


def test_a_run_that_takes_longer_than_its_interval_is_not_run_twice_at_once(tmp_path: Path) -> None:
    log = tmp_path / "log"
    code = f"import time; f = open({str(log)!r}, 'a'); f.write('(');f.flush(); time.sleep(1.7); f.write(')')"
    stop = threading.Event()
    threading.Timer(6, stop.set).start()
    run_schedule(IntervalTrigger(seconds=0.5), [sys.executable, "-c", code], get_logger("schedule"), stop)
    runs = log.read_text()
    assert runs.startswith("()()")
    assert "((" not in runs


def test_a_run_that_fails_does_not_end_the_schedule(tmp_path: Path) -> None:
    log = tmp_path / "log"
    code = f"open({str(log)!r}, 'a').write('x'); raise SystemExit(2)"
    stop = threading.Event()
    threading.Timer(4, stop.set).start()
    run_schedule(IntervalTrigger(seconds=1), [sys.executable, "-c", code], get_logger("schedule"), stop)
    assert len(log.read_text()) >= 2


@pytest.mark.parametrize("products", [[], ["tile"], ["tile", "cap"]])
def test_the_products_are_those_of_the_refit(products: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[list[str]] = []
    monkeypatch.setattr(infra.telemetry, "configure_logging", lambda _: None)
    monkeypatch.setattr(infra.stopping, "stop_on_signals", lambda _: None)
    monkeypatch.setattr(trainer.life.schedule, "run_schedule", lambda _, command, *__: ran.append(command))
    named = [part for product in products for part in ("--product", product)]
    done = CliRunner().invoke(trainer.life.commands.schedule_app, named)
    assert done.exception is None
    assert ran == [differline("refit", "--if-due", *named)]


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_the_child_ends_with_the_schedule(tmp_path: Path, how: signal.Signals) -> None:
    pid = tmp_path / "pid"
    code = f"import os, time; open({str(pid)!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    with subprocess.Popen([sys.executable, "-c", MINE, sys.executable, "-c", code]) as run:
        child = _number_in(pid)
        run.send_signal(how)
        run.wait(30)
    deadline = time.monotonic() + 10
    while _lives(child):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _number_in(path: Path) -> int:
    deadline = time.monotonic() + 60
    while not path.exists() or not path.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return int(path.read_text())


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0] != "Z"
