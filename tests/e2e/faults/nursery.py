"""Starts scorers quickly: one process imports torch and the scorer, and each scorer is a fork of it.

Run as a program; it reads one JSON object a line, an environment, and answers with the process id of a scorer that runs
`differline score` under it. When a scorer ends it says so: `{"pid": …, "ended": status}`. It ends with its standard input,
and its scorers with it.
"""

import ctypes
import json
import os
import select
import signal
import sys
from pathlib import Path

_PR_SET_PDEATHSIG = 1
LOG = "DIFFERLINE_TEST_LOG"


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _answer(**message: int) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def _scorer(environment: dict[str, str]) -> None:
    """Become a scorer; never returns."""
    _die_with_parent()
    os.setpgid(0, 0)
    os.environ.update(environment)
    log = os.open(environment[LOG], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for number in (1, 2):
        os.dup2(log, number)
    code = 1
    try:
        from infra.cli import main  # noqa: PLC0415 - imported by the parent, before the fork

        breaks.apply(environment)
        sys.argv = ["differline", "score"]
        main()
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        import traceback  # noqa: PLC0415

        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _reap() -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        _answer(pid=pid, ended=os.waitstatus_to_exitcode(status))


def main() -> None:
    """Answer requests until standard input ends."""
    _die_with_parent()
    requests = os.fdopen(os.dup(0), "rb", buffering=0)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    waiting = b""
    while True:
        ready, _, _ = select.select([requests], [], [], 0.1)
        _reap()
        if not ready:
            continue
        read = requests.read(65536)
        if not read:
            return
        *lines, waiting = (waiting + read).split(b"\n")
        for line in lines:
            environment = json.loads(line)
            pid = os.fork()
            if pid == 0:
                requests.close()
                _scorer(environment)
            _answer(pid=pid)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    import breaks  # with the scorer and torch

    main()
