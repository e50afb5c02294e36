"""A live camera on a fake capture: what the reader's thread does, without a camera."""

import itertools
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from infra.errors import CameraAwayError, CameraLoginError, SourceError
from ingest.shaping import Pixels
from ingest.sources import live
from ingest.sources.live import LiveCamera
from ingest.trigger import OuterTrigger, Thinning

WAIT_S = 20.0


class FakeCapture:
    """Gives numbered pictures as fast as they are grabbed, and ends after some."""

    def __init__(
        self, numbers: Iterator[int], count: int = 10**9, *, broken: bool = False, pause_s: float = 0.001
    ) -> None:
        self.numbers, self.left, self.broken, self.pause_s = numbers, count, broken, pause_s
        self.released = False
        self.number = 0

    def grab(self) -> bool:
        time.sleep(self.pause_s)
        self.left -= 1
        if self.left >= 0:
            self.number = next(self.numbers)
        return self.left >= 0

    def age_s(self) -> float:
        return 0.0

    def retrieve(self) -> Pixels | None:
        return None if self.broken else np.full((2, 2), self.number % 250, np.uint8)

    def release(self) -> None:
        self.released = True


class Kit:
    def __init__(self) -> None:
        self.stop = threading.Event()
        self.skipped: Counter[str] = Counter()
        self.captures: list[FakeCapture] = []
        self.opened = 0

    def camera(
        self, make: Callable[[int], FakeCapture], trigger: OuterTrigger | None = None, every: int = 1
    ) -> LiveCamera:
        def open_camera() -> FakeCapture:
            self.opened += 1
            self.captures.append(make(self.opened))
            return self.captures[-1]

        return LiveCamera(
            "c",
            open_camera,
            self.stop,
            thinning=Thinning(every),
            trigger=trigger,
            on_skipped=lambda count, reason: self.skipped.update({str(reason): count}),
        )


@pytest.fixture
def kit(monkeypatch: pytest.MonkeyPatch) -> Iterator[Kit]:
    monkeypatch.setattr(live, "_BACKOFF", lambda _: 0.01)
    made = Kit()
    yield made
    made.stop.set()
    assert not [thread for thread in threading.enumerate() if thread.name == "camera c"]


def first(camera: LiveCamera, count: int, stop: threading.Event, pause_s: float = 0.0) -> list[int]:
    numbers = []
    for shot in camera:
        numbers.append(int(shot.pixels[0, 0]))
        time.sleep(pause_s)
        if len(numbers) == count:
            stop.set()
    return numbers[:count]


def test_pictures_come_in_order_and_every_nth_is_decoded(kit: Kit) -> None:
    numbers = itertools.count()
    camera = kit.camera(lambda _: FakeCapture(numbers, pause_s=0.01), every=3)
    assert first(camera, 5, kit.stop) == [0, 3, 6, 9, 12]
    assert kit.captures[0].released
    assert kit.skipped == {}


def test_a_slow_bus_gets_the_newest_pictures_and_each_older_one_is_counted(kit: Kit) -> None:
    numbers = itertools.count()

    def make(opened: int) -> FakeCapture:
        if opened > 1:
            raise CameraAwayError("away")
        return FakeCapture(numbers, 200)

    shots = iter(kit.camera(make))
    got = [int(next(shots).pixels[0, 0])]
    began = time.monotonic()
    while kit.opened < 2:  # the reader never waits: it reads all 200, and tries to open the camera again
        assert time.monotonic() - began < WAIT_S
        time.sleep(0.01)
    kit.stop.set()
    got += [int(shot.pixels[0, 0]) for shot in shots]
    assert got == [0, *range(200 - live.NEWEST_KEPT, 200)]  # the newest
    assert kit.skipped["bus_away"] == 200 - len(got)


def test_a_camera_that_ends_is_opened_again_with_backoff_and_owes_for_it(
    kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = itertools.count()

    def make(opened: int) -> FakeCapture:
        if opened in (2, 3, 4):
            raise CameraAwayError("away")
        return FakeCapture(numbers, 10, pause_s=0.01)

    monkeypatch.setattr(live, "_BACKOFF", lambda _: 0.1)
    assert first(kit.camera(make), 15, kit.stop) == list(range(15))
    assert kit.opened == 5
    assert 15 <= kit.skipped["camera_away"] <= 60  # 0.3 s and more, at 100 frames a second
    assert all(capture.released for capture in kit.captures)


def test_a_camera_that_opens_and_sends_nothing_is_not_there_and_is_not_asked_in_a_hot_loop(
    kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "_BACKOFF", lambda _: 0.2)
    camera = kit.camera(lambda _: FakeCapture(itertools.count(), 0))
    threading.Timer(0.7, kit.stop.set).start()
    assert list(camera) == []
    assert 2 <= kit.opened <= 5
    assert kit.skipped == {}


def test_a_refused_login_is_tried_again_slowly(kit: Kit) -> None:
    def refuse(_: int) -> FakeCapture:
        raise CameraLoginError("password is wrong")

    camera = kit.camera(refuse)
    threading.Timer(0.7, kit.stop.set).start()
    began = time.monotonic()
    assert list(camera) == []
    assert kit.opened == 1
    assert time.monotonic() - began < 3  # and the wait is cut short


def test_pictures_that_cannot_be_decoded_are_the_cameras_and_many_in_a_row_end_it(kit: Kit) -> None:
    camera = kit.camera(lambda _: FakeCapture(itertools.count(), broken=True, pause_s=0))
    with pytest.raises(SourceError, match="cannot be decoded"):
        list(camera)
    assert kit.skipped == {"camera_away": 100}


def test_an_error_of_the_reader_reaches_the_one_who_iterates(kit: Kit) -> None:
    def fail(_: int) -> FakeCapture:
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        list(kit.camera(fail))


def test_leaving_the_iteration_ends_the_reader(kit: Kit) -> None:
    for _ in kit.camera(lambda _: FakeCapture(itertools.count())):
        break


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    path = tmp_path / "trigger"
    os.mkfifo(path)
    return path


def test_each_trigger_takes_one_picture_with_its_part(kit: Kit, pipe: Path) -> None:
    with OuterTrigger(pipe, patience_s=5) as trigger:
        shots = iter(kit.camera(lambda _: FakeCapture(itertools.count()), trigger))
        for name in ("A", "B", "C"):
            pipe.write_text(f"{name}\torder\n")
            shot = next(shots)
            assert shot.trigger is not None
            assert (shot.trigger.part_id, shot.trigger.job_id) == (name, "order")
        kit.stop.set()
        assert list(shots) == []
    assert kit.skipped == {}


def test_a_trigger_while_the_camera_is_away_is_a_part_that_nobody_saw(kit: Kit, pipe: Path) -> None:
    def away(_: int) -> FakeCapture:
        raise CameraAwayError("away")

    with OuterTrigger(pipe, patience_s=0.1) as trigger:
        pipe.write_text("A\nB\n")
        threading.Timer(1.0, kit.stop.set).start()
        assert list(kit.camera(away, trigger)) == []
    assert kit.skipped == {"camera_away": 2}


def test_a_triggered_camera_that_the_bus_holds_up_hands_out_what_it_has_and_ends_with_an_error(
    kit: Kit, pipe: Path
) -> None:
    parts = live.NEWEST_KEPT + 2
    with OuterTrigger(pipe, patience_s=30) as trigger:
        shots = iter(kit.camera(lambda _: FakeCapture(itertools.count()), trigger))
        pipe.write_text("".join(f"P{number}\n" for number in range(parts)))
        got = [next(shots)]
        began = time.monotonic()
        while not kit.skipped:
            assert time.monotonic() - began < WAIT_S
            time.sleep(0.01)
        with pytest.raises(SourceError, match="may miss no part"):
            got.extend(shots)
    named = [shot.trigger.part_id for shot in got if shot.trigger]
    assert named == [f"P{number}" for number in range(len(named))]
    assert kit.skipped == {"bus_away": 1}
