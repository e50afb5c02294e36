from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client import generate_latest

from infra.bus import Partition
from infra.errors import BusAwayError, DatabaseAwayError, TransientError
from infra.store.drift import DriftRow
from infra.store.results import Batch, DeadLetterRow, VerdictRow, Written
from infra.store.tables import DriftKind
from scorer.watch import LOOK_EVERY_S, ScorerWatch

from ...fake_time import FakeTime

NOON = datetime(2025, 5, 5, 12, tzinfo=UTC)


@pytest.fixture
def time() -> FakeTime:
    return FakeTime()


@pytest.fixture
def watch(time: FakeTime) -> ScorerWatch:
    return ScorerWatch(60, lambda: NOON, time.monotonic)


def batch(*states: str, dead: tuple[str, ...] = (), captured_s_ago: float = 3.0) -> Batch:
    empty = dict.fromkeys(VerdictRow.__dataclass_fields__)
    captured = NOON - timedelta(seconds=captured_s_ago)
    nothing = dict.fromkeys(DeadLetterRow.__dataclass_fields__)
    return Batch(
        verdicts=[VerdictRow(**{**empty, "state": state, "captured_at": captured}) for state in states],  # type: ignore[arg-type]
        heatmaps=[],
        dead_letters=[DeadLetterRow(**{**nothing, "reason": reason}) for reason in dead],  # type: ignore[arg-type]
        next_offsets={Partition("frames", 0): 1},
    )


def value(watch: ScorerWatch, series: str) -> float:
    lines = generate_latest(watch.metrics.registry).decode().splitlines()
    return float(next(line.split()[-1] for line in lines if line.startswith(series + " ")))


def test_a_committed_batch_is_counted_once(watch: ScorerWatch) -> None:
    watch.stored(batch("GOOD", "GOOD", "DEFECT", dead=("broken_image",)), Written(3, 1), {"decode": 0.5})
    watch.stored(batch("GOOD"), Written(1, 0), {"decode": 0.75})
    assert value(watch, 'differline_scorer_frames_total{state="GOOD"}') == 3
    assert value(watch, 'differline_scorer_frames_total{state="DEFECT"}') == 1
    assert value(watch, 'differline_scorer_frames_total{state="NO_VERDICT"}') == 0
    assert value(watch, 'differline_scorer_dead_letters_total{reason="broken_image"}') == 1
    assert value(watch, "differline_scorer_duplicate_frames_total") == 1
    assert value(watch, "differline_scorer_batch_frames_sum") == 5
    assert value(watch, 'differline_scorer_stage_seconds_total{stage="decode"}') == 0.75


def drift(camera: str, wealth: float, kind: DriftKind = DriftKind.SCORE) -> DriftRow:
    return DriftRow(camera, "tile", kind, 1, {}, 9, wealth, None, None)


def test_drift_is_shown_by_camera_product_and_kind_and_newer_values_replace_older_ones(watch: ScorerWatch) -> None:
    watch.drifts(drift("a", 1.5))
    watch.drifts(drift("a", 0.25, DriftKind.QUALITY))
    watch.drifts(drift("a", 2.5))
    assert value(watch, 'differline_scorer_drift_log10_wealth{camera="a",kind="score",product="tile"}') == 2.5
    assert value(watch, 'differline_scorer_drift_log10_wealth{camera="a",kind="quality",product="tile"}') == 0.25


def test_names_that_come_with_frames_do_not_fill_the_memory(watch: ScorerWatch) -> None:
    for number in range(3000):
        watch.drifts(drift(f"cam {number}", 0.5))
    watch.drifts(drift("cam 0", 2.0))
    assert value(watch, 'differline_scorer_drift_log10_wealth{camera="cam 0",kind="score",product="tile"}') == 2
    assert generate_latest(watch.metrics.registry).decode().count("drift_log10_wealth{") == 1000


def test_latency_runs_from_the_capture(watch: ScorerWatch) -> None:
    watch.stored(batch("GOOD", "GOOD"), Written(2, 0), {})
    assert value(watch, "differline_scorer_latency_seconds_sum") == 6
    watch.stored(batch("GOOD", captured_s_ago=-1), Written(1, 0), {})  # the camera's clock is ahead
    assert value(watch, "differline_scorer_latency_seconds_sum") == 6


def test_without_work_on_a_bus_that_answers_it_is_healthy(watch: ScorerWatch, time: FakeTime) -> None:
    for _ in range(10):
        time.now += 50
        watch.looked(partitions=4, waiting=0)
        assert watch.health() is None
    assert value(watch, "differline_scorer_partitions") == 4


def test_with_frames_waiting_only_a_committed_batch_keeps_it_healthy(watch: ScorerWatch, time: FakeTime) -> None:
    for _ in range(3):
        time.now += 50
        watch.looked(partitions=4, waiting=7)
        watch.stored(batch("GOOD"), Written(1, 0), {})
        assert watch.health() is None
    time.now += 50
    watch.looked(partitions=4, waiting=7)
    assert watch.health() is None
    time.now += 50
    watch.looked(partitions=4, waiting=9)
    assert watch.health() == "no result for 100 s: 9 frames wait and none is judged"
    assert value(watch, "differline_scorer_waiting_frames") == 9


@pytest.mark.parametrize(("error", "server"), [(DatabaseAwayError("pg"), "database"), (BusAwayError("bus"), "bus")])
def test_a_server_that_is_away_is_told(watch: ScorerWatch, time: FakeTime, error: TransientError, server: str) -> None:
    away = f'differline_scorer_server_away{{server="{server}"}}'
    assert value(watch, away) == 0
    watch.server_away(error)
    assert value(watch, away) == 1
    time.now += 61
    assert watch.health() == f"no result for 61 s: {error}"
    watch.server_back()
    assert value(watch, away) == 0
    assert watch.health() is not None  # an answer is no result yet


def test_the_bus_is_asked_now_and_then(watch: ScorerWatch, time: FakeTime) -> None:
    assert watch.look_due()
    assert not watch.look_due()
    time.now += LOOK_EVERY_S
    assert watch.look_due()
