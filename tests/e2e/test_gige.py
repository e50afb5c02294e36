"""`differline ingest gige` against the fake GigE Vision camera of Aravis, on loopback."""

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import psutil
import pytest
import sqlalchemy as sa

from infra.bus.connect import open_consumer
from infra.engines import Engines
from infra.frames import FrameMessage, from_headers
from infra.settings import Settings
from infra.store.ledger import CameraLedger, read_ledger

from .commands import Differline

FAKE = "arv-fake-gv-camera-0.8"
HOST = "127.0.0.1"
WAIT_S = 60.0


class FakeCamera:
    """A GigE Vision camera that can be pulled out and plugged in; its port is GigE Vision's own, so there is one."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *options: str) -> None:
        if shutil.which(FAKE) is None:
            pytest.fail("no fake GigE Vision camera: `make tools` installs it", pytrace=False)
        self._process = subprocess.Popen(
            [FAKE, "-i", HOST, "-s", "T1", *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        time.sleep(0.5)
        assert self._process.poll() is None, "another one has the port"

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(20)
            self._process = None


@pytest.fixture
def fake() -> Iterator[FakeCamera]:
    camera = FakeCamera()
    yield camera
    camera.kill()


class Line:
    """The command on the test's own line, and what reaches the bus."""

    def __init__(self, settings: Settings, engines: Engines, folder: Path) -> None:
        self.log = folder / "log"
        self._differline = Differline(
            folder,
            {
                "DIFFERLINE_DATABASE_URL": str(settings.database_url),
                "DIFFERLINE_REDIS_URL": str(settings.redis_url),
                "DIFFERLINE_BUS_MAX_FRAMES": "100000",
            },
        )
        self.consumer = open_consumer(settings, engines)
        for partition in self.consumer.assigned():
            self.consumer.seek_to_beginning(partition)
        self.frames: list[FrameMessage] = []

    @contextmanager
    def ingest(self, *options: str, device: str = HOST) -> Iterator["subprocess.Popen[str]"]:
        with self.log.open("w") as log:
            process = self._differline.start(
                "ingest", "gige", device, "--camera", "g", "--product", "plate", *options, into=log
            )
        try:
            yield process
            readers = psutil.Process(process.pid).children() if process.poll() is None else []
            process.terminate()
            assert process.wait(30) == 0, self.log.read_text()
            _, alive = psutil.wait_procs(readers, timeout=10)
            assert alive == []
        finally:
            process.kill()
            process.wait(20)

    def wait_for(self, count: int) -> list[FrameMessage]:
        self.wait_until(lambda: len(self.frames) >= count, f"{count} frames")
        return self.frames

    def wait_until(self, done: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + WAIT_S
        while not done():
            assert time.monotonic() < deadline, f"no {what}, {len(self.frames)} frames:\n{self.log.read_text()}"
            self.read()

    def read(self) -> None:
        for record in self.consumer.poll(1000, 0.2):
            at = record.received_at
            frame = from_headers(record.headers, record.value, key=record.key, fallback_id="", received_at=at)
            self.frames.append(frame)


@pytest.fixture
def line(settings: Settings, engines: Engines, tmp_path: Path) -> Iterator[Line]:
    opened = Line(settings, engines, tmp_path)
    with closing(opened.consumer):
        yield opened


def ledger_of(database: sa.Engine) -> CameraLedger:
    (camera,) = read_ledger(database, lambda _: False).cameras
    return camera


def pixels(frame: FrameMessage) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
    decoded = cv2.imdecode(np.frombuffer(frame.body, np.uint8), cv2.IMREAD_UNCHANGED)
    assert decoded is not None
    return decoded.astype(np.uint8)


@pytest.mark.parametrize(
    ("form", "shape"), [("Mono8", (512, 512)), ("BayerRG8", (512, 512, 3)), ("RGB8", (512, 512, 3))]
)
def test_pictures_of_each_format_come_whole_numbered_and_with_the_cameras_time(
    line: Line, fake: FakeCamera, form: str, shape: tuple[int, ...]
) -> None:
    fake.start()
    with line.ingest("--pixel-format", form, "--capture-fps", "10", "--png", "--jpeg-quality", "95"):
        frames = line.wait_for(8)[:8]
    assert [frame.sequence for frame in frames] == list(range(8))
    assert {pixels(frame).shape for frame in frames} == {shape}
    assert all(pixels(frame).std() > 10 for frame in frames)  # the pattern that it draws
    steps_s = [(after.captured_at - before.captured_at).total_seconds() for before, after in pairwise(frames)]
    assert all(step_s > 0 for step_s in steps_s)  # a busy machine's fake camera is not even
    assert sum(steps_s) > 0.4
    assert {frame.content_type for frame in frames} == {"image/png"}


def test_a_camera_that_vanishes_is_opened_again_and_the_gap_is_its_own(
    line: Line, fake: FakeCamera, database: sa.Engine
) -> None:
    fake.start()
    with line.ingest("--capture-fps", "10", "--timeout-s", "1"):
        line.wait_for(10)
        fake.kill()
        line.wait_until(lambda: "camera_away" in line.log.read_text(), "word that it is away")
        time.sleep(2)
        line.read()
        before = len(line.frames)
        fake.start()
        line.wait_for(before + 10)
    line.read()
    assert [frame.sequence for frame in line.frames] == list(range(len(line.frames)))
    camera = ledger_of(database)
    assert (camera.received, camera.missing, camera.spooled) == (len(line.frames), 0, 0)
    assert camera.skipped["camera_away"] >= 10
    assert camera.skipped.get("bus_away", 0) == 0


def test_software_triggers_at_its_pace_and_a_line_that_nobody_pulls_is_waited_for(line: Line, fake: FakeCamera) -> None:
    fake.start()
    with line.ingest("--camera-trigger", "software", "--capture-fps", "5"):
        line.wait_for(5)
    line.read()
    before = len(line.frames)
    with line.ingest("--camera-trigger", "Line0", "--timeout-s", "0.5"):
        line.wait_until(lambda: "gige.opened" in line.log.read_text(), "camera")
        time.sleep(3)
        line.read()
    assert len(line.frames) == before
    assert "camera_away" not in line.log.read_text()


def test_pictures_that_the_network_loses_are_counted_as_the_cameras(
    line: Line, fake: FakeCamera, database: sa.Engine
) -> None:
    fake.start("-r", "5")  # of a thousand packets
    with line.ingest("--capture-fps", "20", "--timeout-s", "5"):
        line.wait_for(5)
        line.wait_until(lambda: bool(ledger_of(database).skipped), "lost picture")
    assert set(ledger_of(database).skipped) == {"camera_away"}
    assert all(pixels(frame).shape == (512, 512) for frame in line.frames)


def test_a_camera_that_is_not_there_is_waited_for_and_a_format_that_is_none_of_its_own_is_said(
    line: Line, fake: FakeCamera
) -> None:
    with line.ingest(device="Nobody-1"):
        line.wait_until(lambda: "'Nobody-1' not found" in line.log.read_text(), "word of it")
    fake.start()
    refused = line._differline.run(
        *("ingest", "gige", HOST, "--camera", "g", "--product", "p", "--pixel-format", "BGR8"), expect=2
    )
    assert "BGR8" in refused.stderr
