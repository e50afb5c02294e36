"""RTSP cameras against a real server, GStreamer's: pictures arrive, it is killed, hangs, refuses, or says nothing."""

import contextlib
import itertools
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.errors import CameraAwayError, CameraLoginError
from ingest.sources.address import parsed_address
from ingest.sources.live import LiveCamera
from ingest.sources.rtsp import open_rtsp
from ingest.sources.shots import Shot
from ingest.trigger import Thinning

from ..rtsp_camera import NUMBERS, RtspServer, number_on, rtsp_server
from ..servers import free_port

PASSWORD = 'p@ss/wö:rd$%"\\#?'
TIMEOUT_S = 2.0
WAIT_S = 30.0


class Watched:
    """A live camera read in a thread, and what it gave."""

    def __init__(self, url: str, *, fps: float | None = None, timeout_s: float = TIMEOUT_S) -> None:
        self.shots: list[Shot] = []
        self.skipped: Counter[str] = Counter()
        self.stop = threading.Event()
        address = parsed_address(url)
        self.camera = LiveCamera(
            "c",
            lambda: open_rtsp(address, timeout_s=timeout_s),
            self.stop,
            thinning=Thinning(fps=fps),
            on_skipped=lambda count, reason: self.skipped.update({str(reason): count}),
        )
        self.thread = threading.Thread(target=lambda: self.shots.extend(self._each()))

    def _each(self) -> Iterator[Shot]:
        for shot in self.camera:
            self.shots.append(shot)
        yield from ()

    def wait_for(self, count: int, within_s: float = WAIT_S) -> float:
        """Wait until there are so many shots; returns how long that took."""
        began = time.monotonic()
        while len(self.shots) < count:
            assert time.monotonic() - began < within_s, f"{len(self.shots)} of {count} shots in {within_s} s"
            time.sleep(0.02)
        return time.monotonic() - began


@contextlib.contextmanager
def watched(url: str, **options: float) -> Iterator[Watched]:
    camera = Watched(url, **options)
    camera.thread.start()
    try:
        yield camera
    finally:
        camera.stop.set()
        camera.thread.join(WAIT_S)
        assert not camera.thread.is_alive()


def follow(numbers: list[int]) -> bool:
    """Whether each number is the next one of the one before."""
    return all((after - before) % NUMBERS == 1 for before, after in itertools.pairwise(numbers))


@pytest.mark.parametrize("codec", ["h264", "jpeg"])
def test_the_pictures_of_a_camera_arrive_in_order_and_none_is_left_out(numbered_pictures: Path, codec: str) -> None:
    with rtsp_server(numbered_pictures, "--codec", codec) as server, watched(server.url) as camera:
        camera.wait_for(20)
    numbers = [number_on(shot.pixels) for shot in camera.shots]
    assert follow(numbers), numbers
    assert camera.skipped == {}
    times = [shot.captured_at for shot in camera.shots]
    assert times == sorted(times)
    assert (times[5] - times[0]).total_seconds() > 0.25  # at the camera's pace of 10 a second, not in a heap
    assert numbers[0] <= 20  # and without a long look at the stream, which begins when somebody watches


def test_a_camera_that_is_killed_and_started_again_goes_on_and_owes_what_it_missed(numbered_pictures: Path) -> None:
    with rtsp_server(numbered_pictures) as server, watched(server.url) as camera:
        camera.wait_for(10)
        server.kill()
        seen = len(camera.shots)
        time.sleep(3)
        assert len(camera.shots) <= seen + 2
        assert camera.skipped["camera_away"] >= 15  # told while it is away
        server.start()
        seen = len(camera.shots)
        assert camera.wait_for(seen + 10) < 10
    gap = max(
        (after.captured_at - before.captured_at).total_seconds()
        for before, after in zip(camera.shots, camera.shots[1:], strict=False)
    )
    assert set(camera.skipped) == {"camera_away"}
    assert gap * 10 * 0.8 - 2 <= camera.skipped["camera_away"] <= gap * 10  # a lower bound, and not far below


def test_a_camera_that_hangs_with_its_connection_open_is_left_and_opened_again(numbered_pictures: Path) -> None:
    with rtsp_server(numbered_pictures) as server, watched(server.url) as camera:
        camera.wait_for(5)
        server.hang()
        began = time.monotonic()
        while not camera.skipped:
            assert time.monotonic() - began < 3 * TIMEOUT_S, "it is not left"
            time.sleep(0.05)
        server.go_on()
        camera.wait_for(len(camera.shots) + 10)
    assert set(camera.skipped) == {"camera_away"}


def test_frames_a_second_are_thinned_where_they_are_read_and_what_is_left_out_is_not_skipped(
    numbered_pictures: Path,
) -> None:
    with rtsp_server(numbered_pictures) as server, watched(server.url, fps=2) as camera:
        camera.wait_for(6)
    span_s = (camera.shots[5].captured_at - camera.shots[0].captured_at).total_seconds()
    assert 2.2 < span_s < 3.5
    assert camera.skipped == {}


def test_a_password_with_every_awkward_character_opens_a_camera(numbered_pictures: Path) -> None:
    with rtsp_server(numbered_pictures, "--user", "vi wer@x", "--password", PASSWORD) as server:
        address = parsed_address(server.url, user="vi wer@x", password=PASSWORD)
        capture = open_rtsp(address, timeout_s=5)
        assert capture.grab()
        capture.release()


def told(url: str, *, user: str | None = None, password: str | None = None, timeout_s: float = 1.0) -> CameraAwayError:
    began = time.monotonic()
    with pytest.raises(CameraAwayError) as caught:
        open_rtsp(parsed_address(url, user=user, password=password), timeout_s=timeout_s)
    assert time.monotonic() - began < 2 * timeout_s + 1
    for secret in (PASSWORD, "wrong-pass", "p%40ss"):
        assert secret not in str(caught.value)
    return caught.value


def test_a_wrong_password_and_a_missing_one_are_told_apart_from_a_wrong_path(numbered_pictures: Path) -> None:
    with rtsp_server(numbered_pictures, "--user", "viewer", "--password", PASSWORD) as server:
        wrong = told(server.url, user="viewer", password="wrong-pass")
        assert isinstance(wrong, CameraLoginError)
        assert "password is wrong" in str(wrong)
        missing = told(server.url)
        assert isinstance(missing, CameraLoginError)
        assert "asks for a user name" in str(missing)
    with rtsp_server(numbered_pictures) as server:
        assert "no stream of that path" in str(told(server.url + "s"))


def test_a_wrong_address_is_told() -> None:
    assert "refused" in str(told(f"rtsp://viewer:wrong-pass@127.0.0.1:{free_port()}/camera"))
    assert "host name is not known" in str(told("rtsp://viewer:wrong-pass@nowhere.invalid/camera"))


def test_a_server_that_accepts_and_says_nothing_is_given_up_in_time() -> None:
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as silent:
        answer = told(f"rtsp://viewer:wrong-pass@127.0.0.1:{silent.getsockname()[1]}/camera")
    assert "no answer within 1 s" in str(answer)


def test_a_server_that_speaks_something_else_is_told() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(WAIT_S)

    def answer() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                connection.recv(4096)
                connection.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\n")
                connection.close()

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        assert "speaks no RTSP" in str(told(f"rtsp://127.0.0.1:{listener.getsockname()[1]}/camera"))
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(WAIT_S)


def test_pictures_that_come_in_pieces_are_said(numbered_pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with rtsp_server(numbered_pictures, "--threads", "4") as server, watched(server.url) as camera:
        camera.wait_for(25)
    assert "picture_in_pieces" in capsys.readouterr().out


def test_a_wait_for_a_camera_that_is_not_there_ends_when_asked(numbered_pictures: Path) -> None:
    server = RtspServer(numbered_pictures)
    with watched(server.url) as camera:
        time.sleep(1)
        camera.stop.set()
        began = time.monotonic()
        camera.thread.join(WAIT_S)
        assert time.monotonic() - began < 3
    assert camera.skipped == {}  # nobody knows its pace
