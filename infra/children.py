"""Child processes that end with their parent, however it ends.

A parent that is killed with kill -9 runs no code of its own any more, so the kernel tells its children: Linux sends them
SIGTERM (prctl PR_SET_PDEATHSIG), on which each of our commands finishes what it has in hand, stops its own children and
leaves. A command is started through this module as a small program that asks for that signal and then becomes the command.
On other systems than Linux a child stays.

The kernel means the thread that started the child: start children from the main thread.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Sequence

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def differline(*arguments: str) -> list[str]:
    """Return the command line of a command of differline."""
    return [sys.executable, "-m", "infra", *arguments]


def ending_with_us(command: Sequence[str]) -> list[str]:
    """Return a command line that runs a command, and gets SIGTERM when this process is gone."""
    return [sys.executable, "-m", "infra.children", str(os.getpid()), *command]


def become(parent: int, command: Sequence[str]) -> None:
    """Turn this process into the command; it gets SIGTERM when its parent is gone.

    Args:
        parent: The process that started this one.
        command: A program by its path, and its arguments.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)  # it outlasts the exec
        if os.getppid() != parent:  # it went before we asked
            sys.exit(128 + signal.SIGTERM)
    os.execv(command[0], list(command))  # noqa: S606 - our own command, no shell


if __name__ == "__main__":
    become(int(sys.argv[1]), sys.argv[2:])
