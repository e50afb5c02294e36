"""The demo as a new user runs it: trains, streams, and ends by itself with a balanced ledger."""

import re
from pathlib import Path

import pytest

from .commands import Differline


@pytest.mark.timeout(900)
def test_the_demo_trains_streams_and_balances(engine_folder: Path) -> None:
    demo = Differline(engine_folder).start("demo", "--frames", "11", "--no-dashboard")
    output, errors = demo.communicate(timeout=880)
    assert demo.returncode == 0, errors[-4000:]
    assert "11 of 11 frames accounted for: the ledger balances" in output
    for product in ("gear", "flange"):
        assert f"{product} version 1 is in force" in output
        assert re.search(rf"AUROC[^\n]*{product}", output)
    assert not list((engine_folder / "postgres").glob("postmaster.pid")), "the engines were left running"
