"""The demo as a new user runs it: it trains (in CI a quick fit), streams, and ends by itself with a balanced ledger."""

import re
from pathlib import Path

import pytest

from .commands import PROGRAM, QUICK_FIT, SOAK, Differline


@pytest.mark.timeout(900)
def test_the_demo_trains_streams_and_balances(engine_folder: Path) -> None:
    line = Differline(engine_folder, program=PROGRAM if SOAK else QUICK_FIT)
    demo = line.start("demo", "--frames", "11", "--no-dashboard")
    output, errors = demo.communicate(timeout=880)
    assert demo.returncode == 0, errors[-4000:]
    assert "11 of 11 frames accounted for: the ledger balances" in output
    for product in ("gear", "flange"):
        assert f"{product} version 1 is in force" in output
        assert re.search(rf"AUROC[^\n]*{product}", output)
    assert not list((engine_folder / "postgres").glob("postmaster.pid")), "the engines were left running"
