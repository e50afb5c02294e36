"""`differline score --workers` on real Kafka: scorers share the partitions, are killed, come back, and end together."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from infra.children import differline
from infra.errors import FleetError
from infra.store.models import RegisteredModel
from infra.store.tables import positions, verdicts
from infra.telemetry import get_logger
from scorer.fleet import DEATHS_IN_A_ROW, Fleet, WorkerPlan

from .line import Line

PATIENCE_S = 120.0
ONE = WorkerPlan(0, "cpu", 1.0, 0)


def until(happens: Callable[[], bool], told: Callable[[], object] = lambda: "") -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not happens():
        assert time.monotonic() < deadline, told()
        time.sleep(0.1)


@pytest.fixture
def line(kafka_line: Line) -> Line:
    return kafka_line


@contextmanager
def two_scorers(line: Line) -> "Iterator[subprocess.Popen[bytes]]":
    names = (
        "data_dir",
        "bus",
        "kafka_servers",
        "frames_topic",
        "kafka_group",
        "kafka_session_timeout_s",
        "batch_frames",
    )
    chosen = {name: str(getattr(line.settings, name)) for name in names}
    chosen |= {"database_url": line.engines.database_url, "redis_url": line.engines.redis_url}
    environment = {"DIFFERLINE_" + name.upper(): value for name, value in chosen.items()}
    with subprocess.Popen(differline("score", "--workers", "2"), env=os.environ | environment) as fleet:
        try:
            yield fleet
        finally:
            fleet.kill()


def owners(line: Line) -> dict[int, int]:
    """How many partitions each scorer, by its process id, has claimed last."""
    return Counter(int(row.worker.rpartition("-")[2]) for row in line.rows(positions))  # type: ignore[attr-defined]


def test_two_scorers_share_and_a_killed_one_comes_back_and_both_end_with_the_parent(
    line: Line, put_in_force: Callable[[], RegisteredModel]
) -> None:
    put_in_force()
    frames = [line.frame(camera=f"cam {number % 8}") for number in range(80)]
    line.send(*frames[:8])

    def shared_by_two_of(alive: Callable[[int], bool]) -> bool:
        found = owners(line)
        return sorted(found.values()) == [2, 2] and all(map(alive, found))

    def judged(count: int) -> bool:
        return len(line.rows(verdicts)) >= count

    with two_scorers(line) as fleet:
        until(lambda: shared_by_two_of(psutil.pid_exists), lambda: owners(line))
        until(lambda: judged(8))
        assert not [m.path for m in psutil.Process(fleet.pid).memory_maps() if "torch" in m.path], (
            "the parent has torch"
        )
        assert set(owners(line)) == {child.pid for child in psutil.Process(fleet.pid).children()}
        line.send(*frames[8:40])
        until(lambda: judged(16))
        killed = next(iter(owners(line)))
        os.kill(killed, signal.SIGKILL)
        line.send(*frames[40:])
        until(lambda: shared_by_two_of(lambda pid: pid != killed), lambda: owners(line))
        until(lambda: judged(80), lambda: len(line.rows(verdicts)))
        fleet.send_signal(signal.SIGTERM)
        assert fleet.wait(40) == 0
    assert not [pid for pid in owners(line) if psutil.pid_exists(pid)]
    assert sorted(row.frame_id for row in line.rows(verdicts)) == sorted(frame.frame_id for frame in frames)


def test_no_scorer_outlives_a_parent_that_is_killed(line: Line) -> None:
    with two_scorers(line) as fleet:
        parent = psutil.Process(fleet.pid)
        until(lambda: len(parent.children()) == 2)
        scorers = parent.children()
        until(lambda: len(owners(line)) == 2, lambda: owners(line))
        fleet.kill()
        _, alive = psutil.wait_procs(scorers, timeout=60)
    assert not alive


def test_several_scorers_on_redis_are_refused_in_one_line() -> None:
    done = subprocess.run(
        differline("score", "--workers", "2"), capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 2
    assert done.stderr == "differline: --workers 2 needs DIFFERLINE_BUS=kafka: on Redis Streams there is one scorer\n"


def fleet_of(program: str, *, until_idle: bool = False, count: int = 1) -> Fleet:
    plans = [WorkerPlan(number, "cpu", 1.0, 0) for number in range(count)]
    command = [sys.executable, "-c", program]
    return Fleet(plans, command, dict(os.environ), until_idle, get_logger("scorer"), first_pause_s=0.01)


def test_a_scorer_that_dies_at_once_time_and_again_ends_the_fleet(tmp_path: Path) -> None:
    starts = tmp_path / "starts"
    fleet = fleet_of(f"open({str(starts)!r}, 'a').write('x'); raise SystemExit(3)")
    with pytest.raises(FleetError, match=f"scorer 0 ended {DEATHS_IN_A_ROW} times in a row .* exit code 3"):
        fleet.run()
    assert starts.read_text() == "x" * DEATHS_IN_A_ROW


def test_the_others_end_as_well_when_one_dies_time_and_again() -> None:
    program = "import os, time; time.sleep(600 * int(os.environ['DIFFERLINE_DEVICE'])); raise SystemExit(1)"
    fleet = fleet_of(program)
    fleet.plans = [WorkerPlan(0, "0", 1.0, 0), WorkerPlan(1, "1", 1.0, 0)]
    before = psutil.Process().children()
    with pytest.raises(FleetError, match="scorer 0 ended"):
        fleet.run()
    assert psutil.Process().children() == before


def test_scorers_that_were_to_end_when_idle_are_not_started_again() -> None:
    fleet_of("pass", until_idle=True, count=2).run()


def test_a_scorer_that_ends_out_of_order_when_told_to_is_told() -> None:
    ready = "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(7)); time.sleep(600)"
    fleet = fleet_of(ready)
    threading.Timer(2, fleet.stop.set).start()
    with pytest.raises(FleetError, match="in order within 30 s: scorer 0 with 7"):
        fleet.run()
