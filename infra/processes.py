"""Children that a parent keeps running, as a fleet of scorers or a crew of cameras: how they start and how they end."""

import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from signal import SIGTERM
from typing import TypeVar

from infra.children import ending_with_us

ORDERLY = (0, -SIGTERM)  # the second: it was told to end before it had begun anything
Name = TypeVar("Name")


def start(command: Sequence[str], environment: Mapping[str, str]) -> "subprocess.Popen[bytes]":
    """Start a command that ends with this thread; Ctrl-C reaches us alone, and we stop it."""
    return subprocess.Popen(  # noqa: S603 - our own command
        ending_with_us(command), env=environment, stdin=subprocess.DEVNULL, process_group=0
    )


def end_all(
    processes: Mapping[Name, "subprocess.Popen[bytes]"], timeout_s: float, killed: Callable[[Name], None]
) -> dict[Name, int]:
    """Tell all to end, wait for so many seconds, and kill what is left.

    Args:
        processes: By any name.
        timeout_s: For all of them together.
        killed: Told the name of each that had to be killed.

    Returns:
        Their exit codes.
    """
    for process in processes.values():
        process.terminate()
    deadline = time.monotonic() + timeout_s
    codes = {}
    for name, process in processes.items():
        try:
            codes[name] = process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            killed(name)
            process.kill()
            codes[name] = process.wait()
    return codes
