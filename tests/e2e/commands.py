"""Runs the command `differline` as a user does, in a data folder of the test's own."""

import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

COMMAND_TIMEOUT_S = 280
SOAK = os.environ.get("DIFFERLINE_TEST_SOAK") == "on"
"""Whether `make soak` asks for the full size."""

PROGRAM = ("-m", "infra")
QUICK_FIT = (str(Path(__file__).with_name("quick_fit.py")),)
"""The command with a local model fitted in seconds; `make soak` runs the demo as users do."""


@dataclass(frozen=True)
class Differline:
    """The command, with its settings, as the installed program or as another one."""

    data_dir: Path
    settings: dict[str, str] = field(default_factory=dict)
    program: tuple[str, ...] = PROGRAM

    def start(self, *arguments: str, into: IO[str] | None = None, **settings: str) -> "subprocess.Popen[str]":
        """Start a command; what it says goes `into` a file, or is kept for `communicate`."""
        return subprocess.Popen(
            [sys.executable, *self.program, *arguments],
            env=self._environment(settings),
            stdout=into or subprocess.PIPE,
            stderr=into or subprocess.PIPE,
            text=True,
            cwd=self.data_dir,
        )

    def run(self, *arguments: str, expect: int = 0, **settings: str) -> "subprocess.CompletedProcess[str]":
        """Run a command to its end and check its exit code."""
        done = subprocess.run(
            [sys.executable, *self.program, *arguments],
            env=self._environment(settings),
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT_S,
            cwd=self.data_dir,
            check=False,
        )
        assert done.returncode == expect, (
            f"{arguments}: exit {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
        )
        return done

    def exit_code(self, *arguments: str) -> int:
        """Run a command and return its exit code."""
        run = self.start(*arguments)
        run.communicate(timeout=COMMAND_TIMEOUT_S)
        return run.returncode

    def _environment(self, settings: dict[str, str]) -> dict[str, str]:
        plain = {name: value for name, value in os.environ.items() if not name.startswith("DIFFERLINE_")}
        return {**plain, "DIFFERLINE_DATA_DIR": str(self.data_dir), **self.settings, **settings}
