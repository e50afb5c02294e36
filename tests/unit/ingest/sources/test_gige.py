"""Pixels, time stamps and messages of a GigE Vision camera, without one."""

import json
import os
import struct
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from infra.errors import CameraAwayError, SettingsError, SourceError
from ingest.camera_file import camera_from_options
from ingest.cameras import GigeCamera
from ingest.sources.gige.capture import GigeCapture, GigeOptions, open_gige
from ingest.sources.gige.pixel_formats import FORMATS, NAMES, picture
from ingest.sources.gige.stamps import StampClock

S = 1_000_000_000
CODES = {form.name: code for code, form in FORMATS.items()}
BLUE, GREEN, RED = (255, 0, 0), (0, 255, 0), (0, 0, 255)


@pytest.mark.parametrize("name", ["BayerRG8", "BayerGR8", "BayerGB8", "BayerBG8"])
@pytest.mark.parametrize("colour", [BLUE, GREEN, RED])
def test_a_bayer_pattern_has_the_colours_that_its_name_says(name: str, colour: tuple[int, int, int]) -> None:
    first = {"R": 2, "G": 1, "B": 0}
    row = [first[letter] for letter in name[5:7]]  # the first row of the pattern, in channels of BGR
    second = {"RG": "GB", "GR": "BG", "GB": "RG", "BG": "GR"}[name[5:7]]
    channels = np.array([row, [first[letter] for letter in second]])
    mosaic = np.tile(np.array(colour, np.uint8)[channels], (8, 8))
    seen = picture(CODES[name], 16, 16, mosaic.tobytes())
    assert seen is not None
    assert seen.shape == (16, 16, 3)
    assert (seen[4:12, 4:12] == np.array(colour, np.uint8)).all()


def test_grey_and_colour_are_what_was_sent_and_what_follows_is_left_out() -> None:
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4)
    seen = picture(CODES["Mono8"], 4, 3, grey.tobytes() + b"chunk")
    assert seen is not None
    assert (seen == grey).all()
    colours = np.arange(36, dtype=np.uint8).reshape(3, 4, 3)
    rgb, bgr = picture(CODES["RGB8"], 4, 3, colours.tobytes()), picture(CODES["BGR8"], 4, 3, colours.tobytes())
    assert rgb is not None
    assert bgr is not None
    assert (rgb == colours[:, :, ::-1]).all()
    assert (bgr == colours).all()
    assert cv2.imencode(".png", rgb)[0]


def test_a_picture_that_is_not_whole_is_none() -> None:
    assert picture(CODES["Mono8"], 4, 3, bytes(11)) is None
    assert picture(CODES["Mono8"], 0, 0, b"") is None


def test_the_cameras_clock_gives_even_times_whatever_the_network_adds() -> None:
    clock, began, ours = StampClock(), 77 * S, 1_000_000 * S
    delays = [5, 3, 40, 3, 900, 3]  # milliseconds
    times = [
        clock.captured_ns(began + n * S, ours + n * S + delay * 1_000_000) - n * S for n, delay in enumerate(delays)
    ]
    assert all(abs(at - times[1]) < 2_000_000 for at in times[1:])
    assert abs(times[1] - ours) <= 5_000_000


def test_clocks_that_drift_or_jump_are_followed() -> None:
    clock = StampClock()
    for second in range(3600):
        at = clock.captured_ns(S + int(second * S * (1 - 100e-6)), 5 * S + second * S)
    assert abs(at - (5 * S + 3599 * S)) < 2_000_000
    assert clock.captured_ns(S + 3600 * S, 99_999 * S) == 99_999 * S
    assert clock.captured_ns(1 * S, 100_001 * S) == 100_001 * S
    assert clock.captured_ns(0, 123) == 123


def spoken(*messages: tuple[dict[str, object], bytes], then: str = "") -> "subprocess.Popen[bytes]":
    raw = b"".join(
        struct.pack(">II", len(json.dumps(head)), len(body)) + json.dumps(head).encode() + body
        for head, body in messages
    )
    program = f"import sys, time; sys.stdout.buffer.write(bytes.fromhex('{raw.hex()}')); sys.stdout.flush(); {then}"
    return subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)


def frame(number: int, code: int = CODES["Mono8"]) -> tuple[dict[str, object], bytes]:
    head = {"kind": "frame", "number": number, "stamp_ns": 1, "system_ns": time.time_ns(), "width": 2, "height": 1}
    return {**head, "format": code}, b"ab"


OPENED: tuple[dict[str, object], bytes] = ({"kind": "opened", "vendor": "v", "model": "m", "format": "Mono8"}, b"")


def reading(
    process: "subprocess.Popen[bytes]", lost: list[int] | None = None, trigger: str = "free", timeout_s: float = 5.0
) -> GigeCapture:
    told = [] if lost is None else lost
    options = GigeOptions(trigger=trigger)
    return GigeCapture(process, options, timeout_s=timeout_s, over=lambda: False, on_lost=told.append)


def test_pictures_that_are_missing_by_the_cameras_count_are_told_once() -> None:
    lost: list[int] = []
    numbers = [65530, 65531, 65534, 65535, 1, 2, 6]
    capture = reading(spoken(OPENED, *map(frame, numbers)), lost)
    capture.opened()
    while capture.grab():
        assert capture.retrieve() is not None
        assert capture.age_s() >= 0
    capture.release()
    assert lost == [2, 3]


def test_a_camera_that_began_anew_owes_nothing_by_its_count() -> None:
    lost: list[int] = []
    capture = reading(spoken(OPENED, frame(500), frame(1)), lost)
    capture.opened()
    assert capture.grab()
    assert capture.grab()
    capture.release()
    assert lost == []


def test_a_camera_that_waits_for_its_line_is_there_as_long_as_it_says_so() -> None:
    alive = ({"kind": "alive"}, b"")
    say = "[(time.sleep(0.3), sys.stdout.buffer.write(bytes.fromhex('{}')), sys.stdout.flush()) for _ in range(5)]"
    raw = struct.pack(">II", len(json.dumps(alive[0])), 0) + json.dumps(alive[0]).encode()
    for trigger, least_s in (("Line1", 1.2), ("free", 0.5)):
        capture = reading(spoken(OPENED, then=say.format(raw.hex())), trigger=trigger, timeout_s=0.6)
        capture._timeout_s = 20.0
        capture.opened()
        capture._timeout_s = 0.6
        began = time.monotonic()
        assert not capture.grab()
        waited_s = time.monotonic() - began
        capture.release()
        assert waited_s >= least_s
        assert trigger == "Line1" or waited_s < 1.2


@pytest.mark.parametrize(
    ("said", "error", "why"),
    [
        (({"kind": "away", "reason": "Device 'X' not found"}, b""), CameraAwayError, "not found"),
        (({"kind": "refused", "reason": "'Mono12' not an entry"}, b""), SourceError, "Mono12"),
        (({**OPENED[0], "format": "Mono16"}, b""), SourceError, "Mono16; what can be read is Mono8, RGB8"),
    ],
)
def test_what_the_camera_cannot_is_said(
    said: tuple[dict[str, object], bytes], error: type[Exception], why: str
) -> None:
    capture = reading(spoken(said))
    with pytest.raises(error, match=why):
        capture.opened()
    capture.release()


def test_a_reader_that_dies_or_talks_nonsense_is_a_camera_that_is_away() -> None:
    for process in (spoken(), spoken(OPENED, then="sys.stdout.buffer.write(b'x' * 100)")):
        capture = reading(process)
        try:
            capture.opened()
            assert not capture.grab()
        except CameraAwayError:
            pass
        capture.release()
        assert process.returncode is not None


def test_a_format_that_nobody_can_read_is_named_even_when_it_comes_later() -> None:
    capture = reading(spoken(OPENED, frame(1, 0x01100007)))
    capture.opened()
    assert capture.grab()
    with pytest.raises(SourceError, match="0x01100007"):
        capture.retrieve()
    capture.release()


def test_a_reader_that_hangs_is_ended() -> None:
    process = spoken(OPENED, then="import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)")
    capture = reading(process)
    capture.opened()
    time.sleep(0.2)
    capture.release()
    assert process.returncode is not None


def test_a_python_that_is_not_there_is_named(tmp_path: Path) -> None:
    def open_with(python: Path) -> None:
        open_gige(GigeOptions(), python=python, timeout_s=5.0, over=lambda: False, on_lost=lambda _: None)

    with pytest.raises(SourceError, match="DIFFERLINE_GIGE_PYTHON"):
        open_with(tmp_path / "none")
    without = tmp_path / "python"
    without.write_text(f'#!/bin/sh\nexec {sys.executable} -S -I "$@"\n')  # no site-packages: no PyGObject
    os.chmod(without, 0o755)  # noqa: PTH101
    with pytest.raises(SourceError, match="Aravis is not installed"):
        open_with(without)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"pixel_format": "Mono16"}, "BayerRG8"),
        ({"camera_trigger": "sometimes"}, "camera-trigger"),
        ({"camera_trigger": "software"}, "capture_fps"),
        ({"camera_trigger": "Line1", "fps": 3.0}, "no pace"),
        ({"id": " "}, "id"),
    ],
)
def test_options_that_no_camera_has_are_refused(options: dict[str, object], why: str) -> None:
    with pytest.raises(SettingsError, match=why):
        camera_from_options(GigeCamera, name="c", product="p", **options)
    assert "Mono16" not in NAMES
