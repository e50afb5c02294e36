"""The fault tests can fail: with one of the things taken out that the promises rest on, the oracle sees it."""

import pytest

from ..commands import SOAK
from . import scenarios
from .conftest import Table
from .plant import Plant

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(1200 if SOAK else 300)]


def test_without_the_fence_a_stale_write_shows(plant: Plant, table: Table) -> None:
    with plant.line(partitions=1, kafka_session_timeout_s=2.0) as line:
        fenced = scenarios.stale_overlap(line, sabotage="fence removed")
        line.stop_scorers()
        found = line.judge().violations
        assert fenced == 0
        assert found
        table.row("the same with the fence removed", "1 stop", f"red: {'; '.join(found)[:160]}")


def test_positions_that_are_committed_before_the_results_lose_frames(plant: Plant, table: Table) -> None:
    with plant.line(partitions=1, kafka_session_timeout_s=2.0) as line:
        scenarios.one_kill_with(line, "commit before write", point="copying")
        found = line.judge()
        assert found.lost
        table.row("the same with commit before write", "1 kill", f"red: {'; '.join(found.violations)[:160]}")


def test_a_reset_to_the_newest_record_loses_frames(plant: Plant, table: Table) -> None:
    with plant.line(partitions=1, kafka_session_timeout_s=2.0) as line:
        scenarios.one_kill_with(line, "reset to latest", point="committed")
        found = line.judge()
        assert found.lost
        table.row("the same with reset to latest", "1 kill", f"red: {'; '.join(found.violations)[:160]}")
