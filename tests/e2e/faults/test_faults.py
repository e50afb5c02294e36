"""No frame lost or judged twice, whatever is killed: real servers, real processes, and an oracle that knows only what was sent.

In CI at a small size; `make soak` runs the full one, and both print a table.
"""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis

from ..commands import SOAK
from . import scenarios
from .breaks import POINTS
from .conftest import Sizes, Table
from .oracle import Judgement
from .plant import Plant

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(7200 if SOAK else 300)]

MEMORY_MB = 150.0  # how much more than in the first outage a scorer may take in a later one


def passed(found: Judgement) -> str:
    """Check the oracle's judgement, and say what it found."""
    assert found.violations == []
    fates = found.fates
    return (
        f"{len(found.lost)} lost, {len(found.twice)} twice: {fates['scored']} scored + {fates['no_verdict']} NO_VERDICT + "
        f"{fates['dead']} dead letters = {found.frames}; scores within {found.worst_score:.0e}"
    )


def _in_words(outages: scenarios.Outages) -> str:
    return f"{outages.memory_mb[0]:.0f} MB in the first, {max(outages.memory_mb):.0f} MB at most"


def test_scorers_that_are_killed_at_random(plant: Plant, sizes: Sizes, table: Table) -> None:
    frames, kills = sizes.random_frames, sizes.random_kills
    with plant.line() as line:
        scenarios.random_kills(line, frames, kills, workers=3)
        assert set(scenarios.end(line, frames)) == {0}
        size = f"{kills} kills, 3 workers, {frames:,} frames"
        table.row("kill -9 of scorers at random", size, passed(line.judge()))


def test_scorers_that_are_killed_at_named_points(plant: Plant, sizes: Sizes, table: Table) -> None:
    def kill(point: str) -> str:
        with plant.line(partitions=1, kafka_session_timeout_s=2.0) as line:
            died = scenarios.kills_at(line, point, sizes.kills_a_point)
            assert died == sizes.kills_a_point
            assert line.stop_scorers() == [0]
            return passed(line.judge())

    with ThreadPoolExecutor(3) as pool:
        for point, found in zip(POINTS, pool.map(kill, POINTS), strict=True):
            table.row(f"kill -9 at the point `{point}`", f"{sizes.kills_a_point} kills", found)


def test_scorers_that_stand_still_past_the_poll_interval(plant: Plant, sizes: Sizes, table: Table) -> None:
    with plant.line(kafka_max_poll_interval_s=6.0) as line:
        fenced = scenarios.stops(line, sizes.stops)
        assert set(line.stop_scorers()) == {0}
        found = passed(line.judge())
        assert fenced == sizes.stops
        table.row(
            "SIGSTOP past max.poll.interval", f"{sizes.stops} stops", f"{fenced} stale writes, all fenced; {found}"
        )


def test_a_stale_batch_that_another_scorer_is_in_the_middle_of(plant: Plant, table: Table) -> None:
    with plant.line(partitions=1, kafka_session_timeout_s=2.0) as line:
        fenced = scenarios.stale_overlap(line)
        assert set(line.stop_scorers()) == {0}
        found = passed(line.judge())
        assert fenced == 1
        table.row("SIGCONT while another scorer is half through the batch", "1 stop", f"1 stale write, fenced; {found}")


def test_workers_that_join_and_leave(plant: Plant, sizes: Sizes, table: Table) -> None:
    with plant.line() as line:
        frames, idle_s = scenarios.changes(line, sizes.changes, per_second=8)
        scenarios.end(line, frames)
        found = passed(line.judge())
        assert idle_s < 30
        table.row("workers join and leave", f"{sizes.changes} changes", f"longest idle {idle_s:.0f} s; {found}")


def test_a_broker_that_is_restarted_and_killed(plant: Plant, sizes: Sizes, table: Table) -> None:
    def restart() -> None:
        plant.servers.down("kafka")
        plant.servers.up("kafka")

    def kill() -> None:
        plant.servers.kill_server("kafka")
        plant.servers.up("kafka")

    faults = [restart if number % 2 else kill for number in range(sizes.broker_faults)]
    frames = 120 + 100 * len(faults)
    with plant.line() as line:
        happened = scenarios.outages(line, faults, frames, per_second=6)
        assert set(line.stop_scorers()) == {0}
        found = line.judge(resent=True)
        table.row(
            "broker restart, broker kill -9",
            f"{len(faults)} faults",
            f"{passed(found)}; {found.duplicates} sent again by a retry; memory {_in_words(happened)}",
        )
        assert happened.grown_mb < MEMORY_MB, happened.memory_mb


def test_a_database_that_is_restarted_killed_and_away(plant: Plant, sizes: Sizes, table: Table) -> None:
    def restart() -> None:
        plant.servers.down("postgres")
        plant.servers.up("postgres")

    def kill() -> None:
        plant.servers.kill_server("postgres")
        plant.servers.up("postgres")

    def away() -> None:
        plant.servers.down("postgres")
        time.sleep(sizes.database_away_s)
        plant.servers.up("postgres")

    faults = [[restart, kill, away][number % 3] for number in range(sizes.database_faults)]
    frames = 120 + 40 * len(faults)
    with plant.line() as line:
        happened = scenarios.outages(line, faults, frames, per_second=5)
        assert set(line.stop_scorers()) == {0}
        found = line.judge()
        size = f"{len(faults)} faults, away for {sizes.database_away_s:.0f} s"
        table.row(
            "PostgreSQL restart, kill -9, away",
            size,
            f"{passed(found)}, none of them false; memory {_in_words(happened)}",
        )
        assert happened.grown_mb < MEMORY_MB, happened.memory_mb


def test_a_redis_that_is_emptied_and_away(plant: Plant, sizes: Sizes, table: Table) -> None:
    def flush() -> None:
        redis.Redis.from_url(plant.exports["DIFFERLINE_REDIS_URL"]).flushall()
        time.sleep(1)

    def away() -> None:
        plant.servers.down("redis")
        time.sleep(sizes.redis_away_s)
        plant.servers.up("redis")

    faults: list[Callable[[], None]] = [*[flush] * (sizes.redis_faults - 1), away]
    frames = int(40 * len(faults) + 5 * sizes.redis_away_s)
    with plant.line() as line:
        scenarios.outages(line, faults, frames, per_second=5)
        assert set(line.stop_scorers()) == {0}
        size = f"{len(faults)} faults, away for {sizes.redis_away_s:.0f} s"
        table.row("Redis FLUSHALL, Redis away", size, passed(line.judge()))


def test_a_producer_that_crashes_and_sends_everything_again(plant: Plant, sizes: Sizes, table: Table) -> None:
    with plant.line() as line:
        sent = scenarios.replay(line, sizes.replayed)
        assert line.stop_scorers() == [0]
        found = line.judge(resent=True)
        assert found.fates.total() == sizes.replayed
        assert found.duplicates >= sent
        table.row(
            "producer crash and replay",
            f"{sizes.replayed:,} frames, killed after {sent}",
            f"{passed(found)}; {found.duplicates} recognised",
        )
