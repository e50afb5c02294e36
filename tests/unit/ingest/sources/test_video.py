"""Real video files, written by OpenCV below tmp_path."""

import os
import threading
from pathlib import Path

import numpy as np
import pytest
from structlog.testing import capture_logs

from infra.errors import SourceError
from ingest.sources.video import VideoFile
from ingest.trigger import OuterTrigger, Thinning

from ....rtsp_camera import number_on, write_video


def numbers(path: Path, thinning: Thinning | None = None, trigger: OuterTrigger | None = None) -> list[int]:
    video = VideoFile(path, threading.Event(), thinning=thinning or Thinning(), trigger=trigger)
    return [number_on(shot.pixels) for shot in video]


@pytest.mark.parametrize(("name", "codec"), [("v.avi", "MJPG"), ("v.mp4", "mp4v"), ("v.mkv", "FFV1")])
def test_every_frame_comes_once_and_in_order(tmp_path: Path, name: str, codec: str) -> None:
    assert numbers(write_video(tmp_path / name, 30, codec)) == list(range(30))


def test_what_the_environment_says_of_streams_loses_no_frame_of_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = "rtsp_transport;tcp|fflags;nobuffer"
    monkeypatch.setenv("OPENCV_FFMPEG_CAPTURE_OPTIONS", options)
    assert numbers(write_video(tmp_path / "v.avi", 12)) == list(range(12))
    assert os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] == options


def test_every_nth_frame(tmp_path: Path) -> None:
    assert numbers(write_video(tmp_path / "v.avi", 10), Thinning(every=4)) == [0, 4, 8]


def test_frames_have_names_and_the_time_of_reading(tmp_path: Path) -> None:
    shots = list(VideoFile(write_video(tmp_path / "v.avi", 2), threading.Event(), thinning=Thinning()))
    assert [shot.name for shot in shots] == ["v.avi frame 1", "v.avi frame 2"]
    assert shots[0].captured_at <= shots[1].captured_at


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (Path.exists, "is not a file"),
        (Path.mkdir, "is not a file"),
        (lambda path: path.write_bytes(b""), "no video"),
        (lambda path: path.write_bytes(b"not a video at all" * 100), "no video"),
        (os.mkfifo, "is not a file"),
    ],
)
def test_what_is_no_video_is_said_at_once(tmp_path: Path, make: "object", why: str) -> None:
    path = tmp_path / "v.avi"
    assert callable(make)
    make(path)
    with pytest.raises(SourceError, match=why):
        VideoFile(path, threading.Event(), thinning=Thinning())


def test_a_video_that_was_cut_off_gives_what_it_has_and_says_so(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "whole.avi", 40)
    cut = tmp_path / "cut.avi"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with capture_logs() as logs:
        found = numbers(cut)
    assert 10 <= len(found) < 30
    assert found == list(range(len(found)))
    assert [entry["event"] for entry in logs] == ["video_ends_early"]


def test_a_request_to_stop_ends_it(tmp_path: Path) -> None:
    stop = threading.Event()
    seen = []
    for shot in VideoFile(write_video(tmp_path / "v.avi", 30), stop, thinning=Thinning()):
        seen.append(number_on(shot.pixels))
        if len(seen) == 3:
            stop.set()
    assert seen == [0, 1, 2]


def test_one_frame_for_each_trigger_until_the_triggers_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "parts").write_text("A\nB\nC\n")
    with (tmp_path / "parts").open() as standard_input:
        monkeypatch.setattr("sys.stdin", standard_input)
        with OuterTrigger("-", patience_s=float("inf")) as trigger:
            video = VideoFile(
                write_video(tmp_path / "v.avi", 30), threading.Event(), thinning=Thinning(), trigger=trigger
            )
            shots = list(video)
    assert [number_on(shot.pixels) for shot in shots] == [0, 1, 2]
    assert [shot.trigger.part_id for shot in shots if shot.trigger] == ["A", "B", "C"]


def test_a_frame_is_decoded_only_where_it_is_taken(tmp_path: Path) -> None:
    assert np.ptp(numbers(write_video(tmp_path / "v.avi", 9), Thinning(every=8))) == 8
