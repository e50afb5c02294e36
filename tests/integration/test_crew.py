"""A crew of real processes, small programs in place of cameras: who is started again, who is not, and how all end."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from infra.errors import SettingsError
from infra.settings import Settings
from ingest.camera_file import camera_from_options
from ingest.cameras import Camera, FolderCamera, RtspCamera, VideoCamera
from ingest.crew import Berth, Crew, plan_crew

WAIT_S = 20.0
RUN = "import sys, time; open(sys.argv[1], 'a').write('x'); time.sleep(600)"
DIE = "import sys; open(sys.argv[1], 'a').write('x'); sys.exit(3)"
END = "import sys; open(sys.argv[1], 'a').write('x')"
IGNORE = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + RUN


def berth(folder: Path, name: str, program: str, *, again: bool) -> Berth:
    return Berth(name, [sys.executable, "-c", program, str(folder / name)], {"BERTH": name}, again)


def starts(folder: Path, name: str) -> int:
    path = folder / name
    return len(path.read_text()) if path.exists() else 0


def stopped_when(crew: Crew, stop: threading.Event, done: Callable[[], bool]) -> list[str]:
    """Run a crew in this thread, with which its members end, until something holds."""
    began = time.monotonic()

    def look() -> None:
        while not done() and time.monotonic() - began < WAIT_S:
            time.sleep(0.05)
        stop.set()

    watcher = threading.Thread(target=look)
    watcher.start()
    failed = crew.run()
    watcher.join()
    assert done()
    return failed


def members_left() -> list[list[str]]:
    """The children of ours that run what a crew runs here; another test may have some of its own."""
    lines = [child.cmdline() for child in psutil.Process().children()]
    return [line for line in lines if "-c" in line and any(program in line for program in (RUN, DIE, END, IGNORE))]


def test_one_that_dies_is_started_again_with_pauses_and_the_others_run_on(tmp_path: Path) -> None:
    stop = threading.Event()
    berths = [berth(tmp_path, "dies", DIE, again=True), berth(tmp_path, "runs", RUN, again=True)]
    began = time.monotonic()
    failed = stopped_when(Crew(berths, stop, first_pause_s=0.2), stop, lambda: starts(tmp_path, "dies") >= 4)
    assert time.monotonic() - began >= 0.2 + 0.4 + 0.8
    assert starts(tmp_path, "runs") == 1
    assert set(failed) <= {"dies"}  # it may have been dying when all were told to end
    assert members_left() == []


def test_what_ends_by_itself_is_not_started_again_and_a_failure_is_named(tmp_path: Path) -> None:
    berths = [berth(tmp_path, "ends", END, again=False), berth(tmp_path, "fails", DIE, again=False)]
    assert Crew(berths, threading.Event()).run() == ["fails"]
    assert (starts(tmp_path, "ends"), starts(tmp_path, "fails")) == (1, 1)


def test_one_that_does_not_end_when_told_is_killed_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingest.crew.STOP_TIMEOUT_S", 0.5)
    stop = threading.Event()
    berths = [berth(tmp_path, "deaf", IGNORE, again=True), berth(tmp_path, "runs", RUN, again=True)]
    both = lambda: starts(tmp_path, "deaf") == starts(tmp_path, "runs") == 1  # noqa: E731
    assert stopped_when(Crew(berths, stop), stop, both) == ["deaf"]
    assert members_left() == []


def test_the_members_end_with_a_crew_that_is_killed(tmp_path: Path) -> None:
    program = f"""
import sys, threading
from pathlib import Path
from ingest.crew import Berth, Crew
Crew([Berth("runs", [sys.executable, "-c", {RUN!r}, {str(tmp_path / "runs")!r}], {{}}, True)], threading.Event()).run()
"""
    with subprocess.Popen(
        [sys.executable, "-c", program], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    ) as crew:
        began = time.monotonic()
        while not starts(tmp_path, "runs"):
            assert time.monotonic() - began < WAIT_S
            time.sleep(0.05)
        members = psutil.Process(crew.pid).children(recursive=True)
        assert members
        crew.kill()
        _, alive = psutil.wait_procs(members, timeout=10)
    assert alive == []


def camera(kind: "type[Camera]", name: str, **options: object) -> Camera:
    return camera_from_options(kind, name=name, product="p", **options)


def test_no_password_is_on_a_members_command_line_and_each_has_a_metrics_port(tmp_path: Path) -> None:
    cameras = [
        camera(RtspCamera, "a", url="rtsp://u:geheim@cam/1"),
        camera(VideoCamera, "b", file=tmp_path / "v.avi"),
        camera(FolderCamera, "c", folder=tmp_path),
        camera(FolderCamera, "d", folder=tmp_path, watch=False),
    ]
    berths = plan_crew(Settings(metrics_port=9100), tmp_path / "cameras.toml", cameras)
    assert [berth.again for berth in berths] == [True, False, True, False]
    assert [berth.environment["DIFFERLINE_METRICS_PORT"] for berth in berths] == ["9100", "9101", "9102", "9103"]
    assert "geheim" not in repr(berths)
    assert {berth.environment["DIFFERLINE_METRICS_PORT"] for berth in plan_crew(Settings(), tmp_path, cameras)} == {"0"}
    with pytest.raises(SettingsError, match="no such port"):
        plan_crew(Settings(metrics_port=65534), tmp_path, cameras)
