import inspect
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from infra.errors import SettingsError
from ingest import __main__ as main
from ingest.commands import many, one
from ingest.commands.outcome import stop_on_signal

RUN = CliRunner()
NAMED = ["--camera", "c", "--product", "p"]


def refusal(arguments: list[str]) -> str:
    """Return the one-line error that a command ends with."""
    with pytest.raises(SettingsError) as caught:
        RUN.invoke(main.app, arguments, catch_exceptions=False)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("option", ["--camera", "--product", "--job"])
@pytest.mark.parametrize(
    ("name", "why"),
    [("", "empty"), ("  ", "empty"), ("x" * 257, "257 characters"), ("a\0b", "control"), ("caf\udce9", "UTF-8")],
)
def test_a_name_that_no_message_can_carry_is_refused(tmp_path: Path, option: str, name: str, why: str) -> None:
    message = refusal(["folder", str(tmp_path), *NAMED, option, name])
    assert option in message
    assert why in message


def test_a_missing_folder_and_one_without_pictures_are_refused(tmp_path: Path) -> None:
    assert "is not a folder" in refusal(["folder", str(tmp_path / "none"), *NAMED])
    (tmp_path / "notes.txt").write_text("x")
    assert "holds no pictures" in refusal(["folder", str(tmp_path), *NAMED])


@pytest.mark.parametrize("fps", ["0", "-1", "nan", "inf"])
def test_a_pace_that_is_none_is_refused(tmp_path: Path, fps: str) -> None:
    assert "--fps" in refusal(["folder", str(tmp_path), *NAMED, "--fps", fps])


@pytest.mark.parametrize("rate", ["-0.1", "1.1", "nan"])
def test_a_defect_rate_beyond_its_range_is_refused(rate: str) -> None:
    assert "--defect-rate" in refusal(["simulate", *NAMED, "--defect-rate", rate])


def test_simulate_says_what_it_lacks(tmp_path: Path) -> None:
    assert "--camera" in refusal(["simulate", "--product", "p"])
    assert "--frames" in refusal(["simulate", "--product", "p", "--to-folder", str(tmp_path)])


def test_to_folder_needs_no_camera_and_no_engines(tmp_path: Path) -> None:
    arguments = ["simulate", "--product", "p", "--frames", "2", "--defect-rate", "0", "--to-folder", str(tmp_path)]
    result = RUN.invoke(main.app, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    assert "good 2" in result.output
    assert len(list((tmp_path / "train" / "good").glob("*.jpg"))) == 2


@pytest.mark.parametrize(
    "url", ["rtsp://u:geheim@1@cam/1", "http://u:geheim@cam/1", "rtsp://u:geheim/x@cam/1", "rtsp://u:${NOT_SET}@cam"]
)
def test_a_bad_address_is_refused_without_a_word_of_it(url: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert "geheim" not in refusal(["rtsp", url, *NAMED]) + "".join(capfd.readouterr())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_asks_to_stop_and_the_second_acts_as_always(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with stop_on_signal() as stop:
        assert signal.getsignal(number) is not before
        os.kill(os.getpid(), number)
        assert stop.wait(10)
        assert signal.getsignal(number) is before
    assert signal.getsignal(number) is before


@pytest.mark.parametrize("command", [main.folder, main.simulate, one.video, one.rtsp, one.usb, many.cameras])
def test_help_explains_every_option(command: Callable[..., None]) -> None:
    result = RUN.invoke(main.app, [command.__name__, "-h"], env={"COLUMNS": "200", "TERM": "dumb", "NO_COLOR": "1"})
    assert result.exit_code == 0
    for name in inspect.signature(command).parameters:
        assert (f"--{name.replace('_', '-')}" in result.output) or name in ("directory", "file", "url", "device")
