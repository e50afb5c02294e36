"""The command `differline`: a thin dispatcher.

Services register their subcommands as entry points (`differline.commands` in pyproject.toml); only the one that is called is
imported, so nothing here knows a service and no command waits for another one's libraries.
"""

import sys
from importlib.metadata import EntryPoint, entry_points, version

from infra.errors import DifferlineError

_GROUP = "differline.commands"
EXIT_ERROR = 2


def main() -> None:
    """Run a command; an error that differline raises on purpose is one line and exit code 2."""
    commands = {entry.name: entry for entry in entry_points(group=_GROUP)}
    name, arguments = (sys.argv[1] if len(sys.argv) > 1 else "--help"), sys.argv[2:]
    if name in ("--help", "-h", "help"):
        sys.stdout.write(_help(commands))
    elif name == "--version":
        sys.stdout.write(f"differline {version('differline')}\n")
    elif name not in commands:
        sys.stderr.write(f"differline: no command {name!r}; `differline --help` lists them\n")
        sys.exit(EXIT_ERROR)
    else:
        _run(commands[name], arguments)


def _run(command: EntryPoint, arguments: list[str]) -> None:
    try:
        command.load()(arguments, prog_name=f"differline {command.name}")
    except DifferlineError as error:
        sys.stderr.write(f"differline: {error}\n")
        sys.exit(EXIT_ERROR)


def _help(commands: dict[str, EntryPoint]) -> str:
    lines = ["Usage: differline COMMAND [OPTIONS]", "", "Watches production lines: camera frames in, verdicts out.", ""]
    lines += [f"  {name:<12}{entry.load().info.help}" for name, entry in sorted(commands.items())]
    return "\n".join([*lines, "", "`differline COMMAND --help` tells more.", ""])
