"""Children of a process that is killed: they end with it, and run on while it lives."""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from infra.children import ending_with_us

PARENT = """
import subprocess, sys, time
from infra.children import ending_with_us
child = [sys.executable, "-c", "import os, time; print(os.getpid(), flush=True); time.sleep(600)"]
subprocess.Popen(ending_with_us(child), start_new_session=True)
time.sleep(600)
"""


def test_a_child_ends_with_a_parent_that_is_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        with pytest.raises(psutil.TimeoutExpired):
            child.wait(0.3)
        parent.kill()
        child.wait(10)


def test_a_child_whose_parent_was_gone_before_it_asked_does_not_begin(tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    command = ending_with_us([sys.executable, "-c", f"open({str(begun)!r}, 'w')"])
    command[command.index(str(os.getpid()))] = "1"
    assert subprocess.run(command, check=False, timeout=30).returncode == 128 + 15
    assert not begun.exists()
