import subprocess
import sys
from importlib.metadata import EntryPoint, entry_points, version

import pytest

from infra import cli
from infra.errors import EngineError

COMMANDS = sorted(entry.name for entry in entry_points(group="differline.commands"))
HEAVY = {"torch", "torchvision", "streamlit", "pandas", "sklearn"}


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int | str | None:
    """Run the command in this process; returns its exit code."""
    monkeypatch.setattr(sys, "argv", ["differline", *arguments])
    try:
        cli.main()
    except SystemExit as leave:
        return leave.code
    return 0


def engine_broken(arguments: list[str], prog_name: str) -> None:
    raise EngineError(f"{prog_name} got {arguments}")


def test_an_unknown_command_is_one_line_and_exit_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "scoer") == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "differline: no command 'scoer'; `differline --help` lists them\n"


def test_an_error_of_ours_is_one_line_and_exit_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    entry = EntryPoint("broken", f"{__name__}:engine_broken", "differline.commands")
    monkeypatch.setattr(EntryPoint, "load", lambda _: engine_broken)
    monkeypatch.setattr(cli, "entry_points", lambda group: [entry] if group == "differline.commands" else [])
    assert run(monkeypatch, "broken", "--now") == 2
    assert capsys.readouterr().err == "differline: differline broken got ['--now']\n"


def test_any_other_error_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def burst(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(EntryPoint, "load", lambda _: burst)
    with pytest.raises(ZeroDivisionError):
        run(monkeypatch, "ledger")


def test_the_version_is_the_packages(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "--version") == 0
    assert capsys.readouterr().out == f"differline {version('differline')}\n"


@pytest.mark.parametrize("arguments", [(), ("--help",), ("-h",), ("help",)])
def test_help_lists_every_command_with_what_it_does(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    assert run(monkeypatch, *arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert {"demo", "ingest", "train", "score", "dashboard", "ledger"} <= set(COMMANDS)
    for name in COMMANDS:
        (line,) = [line for line in lines if line.startswith(f"  {name} ")]
        assert len(line.split()) > 3


@pytest.mark.parametrize("name", COMMANDS)
def test_a_commands_help_waits_for_no_heavy_library(name: str) -> None:
    assert modules_of(name, "--help") & HEAVY == set()


def test_only_the_command_that_is_called_is_imported() -> None:
    services = {"dashboard", "ingest", "scorer", "trainer"}
    assert modules_of("ledger", "--help") & services == set()
    assert modules_of("--version") & services == set()
    assert modules_of("ingest", "--help") & services == {"ingest"}


def modules_of(*arguments: str) -> set[str]:
    """The top-level modules that a command has imported when it ends."""
    program = (
        "import atexit, sys; sys.argv[0] = 'differline'; from infra.cli import main;"
        "atexit.register(lambda: print('MODULES', *{name.partition('.')[0] for name in sys.modules})); main()"
    )
    ended = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True)
    return set(ended.stdout.split("MODULES")[1].split())
