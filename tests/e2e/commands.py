"""Runs the command `differline` as a user does, in a data folder of the test's own."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

COMMAND_TIMEOUT_S = 280


@dataclass(frozen=True)
class Differline:
    """The command, with its settings."""

    data_dir: Path

    def start(self, *arguments: str, **settings: str) -> "subprocess.Popen[str]":
        """Start a command."""
        return subprocess.Popen(
            [sys.executable, "-m", "infra", *arguments],
            env=self._environment(settings),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.data_dir,
        )

    def run(self, *arguments: str, expect: int = 0, **settings: str) -> "subprocess.CompletedProcess[str]":
        """Run a command to its end and check its exit code."""
        done = subprocess.run(
            [sys.executable, "-m", "infra", *arguments],
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

    def _environment(self, settings: dict[str, str]) -> dict[str, str]:
        plain = {name: value for name, value in os.environ.items() if not name.startswith("DIFFERLINE_")}
        return {**plain, "DIFFERLINE_DATA_DIR": str(self.data_dir), **settings}
