"""A plant that the fault tests share, their sizes, and the table that they fill."""

import contextlib
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from infra.store.tables import verdicts
from trainer.fit import FittedModel

from ...servers import LocalServers, ServersError
from ...small_model import fitted
from ..commands import SOAK
from .plant import Nursery, Plant

__all__ = ["fitted"]  # a fixture

_BROKER = "group.min.session.timeout.ms=1000\n"
_rows = pytest.StashKey[list[str]]()


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much of each fault; `make soak` takes the full size."""

    random_kills: int
    random_frames: int
    kills_a_point: int
    stops: int
    changes: int
    broker_faults: int
    database_faults: int
    database_away_s: float
    redis_faults: int
    redis_away_s: float
    replayed: int
    mutated: int


IN_CI = Sizes(3, 240, 1, 1, 5, 2, 3, 6.0, 2, 5.0, 120, 600)
FULL = Sizes(20, 5_000, 50, 20, 30, 10, 10, 60.0, 10, 300.0, 1_000, 10_000)


@pytest.fixture(scope="session")
def sizes() -> Sizes:
    return FULL if SOAK else IN_CI


@pytest.fixture(scope="session")
def plant(fitted: FittedModel) -> Iterator[Plant]:
    """Servers of the fault tests' own, pictures, and the scores of an undisturbed run."""
    with contextlib.ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="differline-faults-")))
        folder.chmod(0o755)  # PostgreSQL runs under an account of its own
        extra = folder / "extra.properties"
        extra.write_text(_BROKER)
        servers = LocalServers(folder, {"LOCAL_KAFKA_EXTRA": str(extra)})
        opened.callback(servers.down)
        try:
            exports = servers.up()
        except ServersError as error:
            pytest.fail(f"the fault tests need PostgreSQL, Redis and Kafka: {error}", pytrace=False)
        nursery = opened.enter_context(contextlib.closing(Nursery()))
        plant = Plant(folder, servers, exports, fitted, nursery)
        plant.draw_pictures()
        plant.make_template()
        _run_undisturbed(plant)
        yield plant


def _run_undisturbed(plant: Plant) -> None:
    """Score every picture once on a line that nothing happens to."""
    with plant.line() as line:
        frames = len(plant.pictures["scored"])
        line.send(line.scored_plan(frames)).wait(60)
        line.start()
        line.wait_for(frames, 120)
        assert line.stop_scorers() == [0]
        with line.database.connect() as connection:
            plant.scores.update(
                (row.sha256, row.score) for row in connection.execute(verdicts.select()) if row.score is not None
            )
        assert len(plant.scores) == frames
        assert line.judge().violations == []


@dataclass
class Table:
    """Takes the rows that stand at the end of the run."""

    rows: list[str]
    started: float

    def row(self, fault: str, size: str, figures: str) -> None:
        """Add a row."""
        self.rows.append(f"| {fault} | {size} | {figures} | {time.monotonic() - self.started:.0f} |")


@pytest.fixture
def table(request: pytest.FixtureRequest) -> Table:
    return Table(request.config.stash.setdefault(_rows, []), time.monotonic())


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the fault table."""
    rows = config.stash.get(_rows, [])
    if rows:
        terminalreporter.write_line("\n| fault | size | found | seconds |\n| --- | --- | --- | --- |")
    for row in rows:
        terminalreporter.write_line(row)
