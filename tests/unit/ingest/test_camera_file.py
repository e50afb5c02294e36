from pathlib import Path

import pytest

from infra.errors import SettingsError
from ingest.camera_file import camera_from_options, read_cameras
from ingest.cameras import FolderCamera, LiveKind, RtspCamera, UsbCamera, VideoCamera
from ingest.part_id import PartCode
from ingest.shaping import Region, Shaping, Size

ALL_KINDS = """
[[camera]]
name = "oven-1"
product = "tile"
kind = "rtsp"
url = "rtsp://viewer:${OVEN_PASSWORD}@10.0.0.17/stream1"
fps = 2
region = "100,40,640,480"
size = "320x240"
png = true
part_code = "qr"

[[camera]]
name = "bench"
product = "cap"
kind = "usb"
device = "/dev/video0"
capture_size = "1920x1080"
trigger = "/run/differline/bench"
spool = false

[[camera]]
name = "trial"
product = "cap"
kind = "video"
file = "trial.mp4"
every = 5
job = "trial 7"

[[camera]]
name = "cell"
product = "cap"
kind = "folder"
folder = "/srv/cell"
part_pattern = '(?P<job>[^/]+)/(?P<part>\\d+)'
"""
RTSP = '[[camera]]\nname = "a"\nproduct = "p"\nkind = "rtsp"\nurl = "rtsp://u:geheim@cam/1"\n'


def mistakes(tmp_path: Path, text: str) -> list[str]:
    path = tmp_path / "cameras.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SettingsError) as caught:
        read_cameras(path)
    lines = str(caught.value).splitlines()
    assert "geheim" not in str(caught.value)
    assert all(line.startswith(str(path)) for line in lines)
    return [line.removeprefix(f"{path}").removeprefix(": ") for line in lines]


def test_every_kind_is_read(tmp_path: Path) -> None:
    path = tmp_path / "cameras.toml"
    path.write_text(ALL_KINDS)
    oven, bench, trial, cell = read_cameras(path)
    assert isinstance(oven, RtspCamera)
    assert isinstance(bench, UsbCamera)
    assert isinstance(trial, VideoCamera)
    assert isinstance(cell, FolderCamera)
    assert oven.shaping == Shaping(Region(100, 40, 640, 480), Size(320, 240), None)
    assert (oven.part_code, oven.fps, oven.spool, bench.spool, trial.spool) == (PartCode.QR, 2, True, False, False)
    assert bench.capture_size == Size(1920, 1080)
    assert (trial.every, trial.job, cell.watch) == (5, "trial 7", True)
    assert cell.part_pattern is not None
    assert cell.part_pattern.identity("o7/0012.jpg") is not None


def test_one_line_for_each_mistake_with_the_camera_it_is_in(tmp_path: Path) -> None:
    text = RTSP + 'fsp = 3\nevery = 0\n[[camera]]\nname = "b"\nproduct = ""\nkind = "usb"\n'
    assert mistakes(tmp_path, text) == [
        "camera 1 (a): every: Input should be greater than or equal to 1",
        "camera 1 (a): fsp: there is no such key",
        "camera 2 (b): product: is empty",
        "camera 2 (b): device: is missing",
    ]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ('region = "1,2,3"', "region: a region is X,Y,WIDTH,HEIGHT"),
        ("region = [1, 2, 3, 4]", "region: must be a text"),
        ('size = "big"', "size: a size is WIDTHxHEIGHT"),
        ("jpeg_quality = 101", "jpeg_quality: Input should be less than or equal to 100"),
        ("fps = 0", "fps: Input should be greater than 0"),
        ("fps = nan", "fps: Input should be a finite number"),
        ("timeout_s = 0", "timeout_s: Input should be greater than"),
        ('part_code = "dotcode"', "part_code: Input should be 'qr' or 'barcode'"),
        ('trigger = "-"\nfps = 2', "trigger takes one picture for each line"),
        ('password_env = "A"\npassword_file = "b"', "two ways to say the same"),
        ("user = 3", "user: Input should be a valid string"),
    ],
)
def test_a_value_out_of_range_is_named(tmp_path: Path, line: str, why: str) -> None:
    (found,) = mistakes(tmp_path, RTSP + line + "\n")
    assert found.startswith(f"camera 1 (a): {why}") or why in found


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "there is no camera"),
        ("camera = []", "there is no camera"),
        ("camera = 3", "camera: Input should be a valid list"),
        ("camera = [3]", "camera 1: Input should be"),
        ('[[camera]]\nname = "a"\nproduct = "p"\n', "camera 1 (a): kind: is missing"),
        (
            '[[camera]]\nname = "a"\nkind = "lidar"\n',
            "camera 1 (a): kind: must be one of video, rtsp, usb, gige, folder",
        ),
        ('[[cameras]]\nname = "a"\n', "cameras: there is no such key"),
        ("[[camera]\n", "is not TOML"),
        (RTSP + RTSP, "two cameras are called a"),
        ('[[camera]]\nname = "a\\u0000"\nproduct = "p"\nkind = "usb"\ndevice = "x"\n', "name: holds control"),
    ],
)
def test_a_file_that_is_wrong_as_a_whole_is_said(tmp_path: Path, text: str, why: str) -> None:
    assert any(why in line for line in mistakes(tmp_path, text)), mistakes(tmp_path, text)


def test_a_file_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="No such file"):
        read_cameras(tmp_path / "none.toml")
    with pytest.raises(SettingsError, match="Is a directory"):
        read_cameras(tmp_path)
    (tmp_path / "latin").write_bytes('name = "Förderband"'.encode("latin-1"))
    with pytest.raises(SettingsError, match="is not UTF-8"):
        read_cameras(tmp_path / "latin")
    (tmp_path / "large").write_bytes(b"#" * (2**20 + 1))
    with pytest.raises(SettingsError, match="no file of cameras"):
        read_cameras(tmp_path / "large")


def test_options_that_were_not_given_keep_their_defaults_and_mistakes_name_the_option() -> None:
    camera = camera_from_options(UsbCamera, name="a", product="p", device=Path("/dev/video0"), fps=None, spool=None)
    assert isinstance(camera, LiveKind)
    assert (camera.fps, camera.spool, camera.timeout_s) == (None, True, 5.0)
    with pytest.raises(SettingsError) as caught:
        camera_from_options(RtspCamera, name="", product="p", url="rtsp://u:geheim@c/1", jpeg_quality=0, timeout_s=99)
    assert [line.partition(":")[0] for line in str(caught.value).splitlines()] == [
        "--camera",
        "--jpeg-quality",
        "--timeout-s",
    ]
    assert "geheim" not in str(caught.value)


def test_a_password_comes_from_the_environment_or_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OVEN_PASSWORD", "p@ss")
    kinds = {"name": "a", "product": "p", "url": "rtsp://cam/1", "user": "u"}
    assert RtspCamera(**kinds, password_env="OVEN_PASSWORD").address().secret == "rtsp://u:p%40ss@cam/1"
    (tmp_path / "password").write_text("p@ss\n")
    assert RtspCamera(**kinds, password_file=tmp_path / "password").address().secret == "rtsp://u:p%40ss@cam/1"
    (tmp_path / "empty").write_text("\n")
    for wrong, why in (
        ({"password_env": "NOT_SET"}, "NOT_SET"),
        ({"password_file": tmp_path / "none"}, "cannot be read"),
        ({"password_file": tmp_path / "empty"}, "is empty"),
    ):
        with pytest.raises(SettingsError, match=why):
            RtspCamera(**kinds, **wrong).address()
