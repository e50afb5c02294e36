"""Cameras through to the bus: what `run_camera` sends, and what stands on the books."""

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import redis

from infra.clock import utc_now
from infra.engines import Engines
from infra.errors import SettingsError, SourceError
from infra.frames import FrameMessage, from_headers
from infra.ledger_report import current_ledger
from infra.settings import Settings
from ingest.camera_file import camera_from_options
from ingest.cameras import Camera, FolderCamera, RtspCamera, VideoCamera
from ingest.running import checked, run_camera

from ..rtsp_camera import number_on, numbered, rtsp_server, with_qr, write_video
from ..servers import free_port

pytestmark = pytest.mark.usefixtures("database")
WAIT_S = 40.0


def frames(settings: Settings) -> list[FrameMessage]:
    """What is on the bus."""
    client = redis.Redis.from_url(settings.redis_url or "")
    found = []
    for number in range(settings.partitions):
        for _, fields in client.xrange(f"differline:bus:{settings.frames_topic}:{number}"):
            body = fields.pop(b"body")
            key = fields.pop(b"key")
            headers = tuple((name.decode(), value) for name, value in fields.items())
            found.append(from_headers(headers, body, key=key, fallback_id="", received_at=utc_now()))
    client.close()
    return sorted(found, key=lambda frame: frame.sequence or 0)


def pixels(frame: FrameMessage) -> Any:
    return cv2.imdecode(np.frombuffer(frame.body, np.uint8), cv2.IMREAD_UNCHANGED)


def run_until(settings: Settings, camera: Camera, done: Callable[[], bool]) -> None:
    """Run a camera in a thread until something holds."""
    stop = threading.Event()
    failures: list[BaseException] = []

    def run() -> None:
        try:
            run_camera(settings, camera, stop)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        began = time.monotonic()
        while not done():
            assert not failures, failures
            assert time.monotonic() - began < WAIT_S
            time.sleep(0.1)
    finally:
        stop.set()
        thread.join(WAIT_S)
    assert not thread.is_alive()
    assert not failures, failures


def test_a_video_is_thinned_cut_resized_and_encoded_as_asked(settings: Settings, tmp_path: Path) -> None:
    camera = camera_from_options(
        VideoCamera,
        name="trial",
        product="tile",
        file=write_video(tmp_path / "v.avi", 9),
        every=4,
        region="0,0,320,120",
        size="160x60",
        png=True,
        job="order 7",
    )
    report = run_camera(settings, camera, threading.Event())
    assert (report.accepted, report.stopped) == (3, False)
    sent = frames(settings)
    assert [number_on(cv2.resize(pixels(frame), (320, 120))) for frame in sent] == [0, 4, 8]
    assert {(frame.camera, frame.product, frame.job_id, frame.content_type) for frame in sent} == {
        ("trial", "tile", "order 7", "image/png")
    }
    assert [frame.sequence for frame in sent] == [0, 1, 2]
    assert {pixels(frame).shape for frame in sent} == {(60, 160, 3)}


def test_the_part_is_read_from_the_picture_before_it_is_cut(settings: Settings, tmp_path: Path) -> None:
    writer = cv2.VideoWriter(str(tmp_path / "v.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 10, (300, 300))
    for number in range(3):
        writer.write(with_qr(f"SN-{number}"))
    writer.release()
    options = {"file": tmp_path / "v.avi", "part_code": "qr", "region": "0,0,20,20"}
    run_camera(settings, camera_from_options(VideoCamera, name="c", product="p", **options), threading.Event())
    assert [frame.part_id for frame in frames(settings)] == ["SN-0", "SN-1", "SN-2"]


def test_a_region_beyond_the_pictures_ends_the_camera_with_both_sizes(settings: Settings, tmp_path: Path) -> None:
    file = write_video(tmp_path / "v.avi", 2)
    camera = camera_from_options(VideoCamera, name="c", product="p", file=file, region="300,0,40,40")
    with pytest.raises(SourceError, match="320x240"):
        run_camera(settings, camera, threading.Event())
    assert frames(settings) == []


def test_part_and_job_of_a_folder_come_from_the_names_of_its_files_and_bodies_stay(
    settings: Settings, tmp_path: Path
) -> None:
    folder = tmp_path / "order7"
    folder.mkdir()
    for number in range(2):
        cv2.imwrite(str(folder / f"{number:04d}_top.jpg"), numbered(number))
    (folder / "readme.jpg").write_bytes(b"no picture")
    pattern = r"(?P<job>[^/]+)/(?P<part>\d+)_"
    camera = camera_from_options(
        FolderCamera, name="cell", product="p", folder=tmp_path, watch=False, part_pattern=pattern, part_code="qr"
    )
    run_camera(settings, camera, threading.Event())
    sent = frames(settings)
    assert [(frame.part_id, frame.job_id) for frame in sent] == [
        ("0000", "order7"),
        ("0001", "order7"),
        ("order7/readme", None),
    ]
    assert [frame.body for frame in sent] == [path.read_bytes() for path in sorted(folder.iterdir())]


def test_an_rtsp_camera_gives_one_frame_for_each_trigger_with_its_part(
    settings: Settings, tmp_path: Path, numbered_pictures: Path
) -> None:
    pipe = tmp_path / "trigger"
    os.mkfifo(pipe)
    with rtsp_server(numbered_pictures) as server:
        camera = camera_from_options(RtspCamera, name="c", product="p", url=server.url, trigger=str(pipe))
        named: list[str] = []

        def triggered() -> bool:
            named.append(f"SN-{len(named)}")
            pipe.write_text(f"{named[-1]}\torder 7\n")
            time.sleep(1.0)
            return len(frames(settings)) >= 3

        run_until(settings, camera, triggered)
    got = frames(settings)
    parts = [frame.part_id or "" for frame in got]
    assert {frame.job_id for frame in got} == {"order 7"}
    first = named.index(parts[0])  # those before it found the camera not open yet
    assert parts == named[first : first + len(parts)]


def test_what_an_rtsp_camera_owes_stands_in_the_ledger_as_its_own(
    settings: Settings, engines: Engines, numbered_pictures: Path
) -> None:
    with rtsp_server(numbered_pictures) as server:
        camera = camera_from_options(RtspCamera, name="c", product="p", url=server.url, timeout_s=1)
        states = iter(("kill", "start"))
        seen = [0]

        def story() -> bool:
            count = len(frames(settings))
            if count >= seen[0] + 10:
                seen[0] = count
                match next(states, None):
                    case "kill":
                        server.kill()
                        time.sleep(2)
                        server.start()
                    case None:
                        return True
            return False

        run_until(settings, camera, story)
    (book,) = current_ledger(settings, Engines(settings.database_url or "", engines.redis_url)).cameras
    assert (book.missing, book.spooled, book.received) == (0, 0, len(frames(settings)))
    assert set(book.skipped) == {"camera_away"}
    assert book.skipped["camera_away"] >= 10


def test_what_cannot_be_opened_is_said_for_each_camera_before_anything_starts(
    settings: Settings, tmp_path: Path
) -> None:
    def named(kind: "type[Camera]", name: str, **options: Any) -> Camera:
        return camera_from_options(kind, name=name, product="p", **options)

    cameras = [
        named(VideoCamera, "a", file=tmp_path / "none.mp4"),
        named(FolderCamera, "b", folder=tmp_path / "none"),
        named(RtspCamera, "c", url="rtsp://u:geh@eim@cam/1"),
        named(RtspCamera, "d", url="rtsp://cam/1", user="u", password_env="NOT_SET"),
        named(RtspCamera, "e", url="rtsp://cam/1", trigger=str(tmp_path / "none")),
        named(RtspCamera, "f", url=f"rtsp://127.0.0.1:{free_port()}/1"),  # away is no mistake
    ]
    with pytest.raises(SettingsError) as caught:
        checked(settings, cameras)
    assert [line[:9] for line in str(caught.value).splitlines()] == [f"camera {name}:" for name in "abcde"]
    assert "eim" not in str(caught.value)
