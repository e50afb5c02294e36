"""What the drift page is told: distances by the models that judged, and what stands first."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from dashboard.drift_distances import (
    MOST_DISTANCES,
    MOST_STEPS,
    distance,
    distance_of_sums,
    distances_over_time,
    standings,
    step_of_tests,
)
from infra.distances import p_value_law, psi_by_chance
from infra.store.rollups import P_VALUE_BINS, RollupSeries, RollupSum
from infra.store.tables import DriftKind

from .drift_seen import NEW, OLD, SINCE, WIDTH, alarmed, bucket, standing

MODELS = {1: OLD, 2: NEW}
LOW = (50, *(0,) * (P_VALUE_BINS - 1))


def summed(camera: str, model_id: int | None, p_values: tuple[int, ...], frames: int = 50) -> RollupSum:
    return RollupSum(camera, "tile", model_id, frames, 0, 0, p_values, SINCE, SINCE)


def test_scores_as_at_calibration_have_no_distance() -> None:
    found = distance(p_value_law(199, P_VALUE_BINS) * 10, [(2, 1)], MODELS)
    assert found is not None
    assert (found.frames, found.ks.at_least) == (2000, pytest.approx(0.0))
    assert found.psi == pytest.approx(0.0, abs=1e-3)
    assert found.chance == psi_by_chance(199, 2000)


def test_frames_of_two_models_are_compared_with_both_as_heavy_as_they_are() -> None:
    few = replace(OLD, frames=9)  # its p-values are tenths
    laws = [p_value_law(size, P_VALUE_BINS) / (size + 1) for size in (9, 199)]
    mixed = np.rint(1000 * (3 * laws[0] + laws[1]) / 4).astype(int)
    found = distance(mixed, [(1, 3), (2, 1)], {1: few, 2: NEW})
    assert found is not None
    assert found.ks.at_least < 0.002
    other = distance(mixed, [(1, 1), (2, 3)], {1: few, 2: NEW})
    assert other is not None
    assert other.ks.at_least > 0.02


def test_what_cannot_be_compared_has_no_distance() -> None:
    assert distance((0,) * P_VALUE_BINS, [(2, 1)], MODELS) is None
    assert distance(LOW, [], MODELS) is None
    assert distance(LOW, [(2, 1), (3, 1)], MODELS) is None
    assert distance_of_sums([summed("cam", None, (0,) * P_VALUE_BINS)], MODELS) is None


def test_distances_over_time_are_of_many_frames_and_few() -> None:
    buckets = tuple(bucket(number) for number in range(144))
    found = distances_over_time(RollupSeries(WIDTH, buckets), MODELS)
    assert len(found) == 48 <= MOST_DISTANCES
    assert {one.width for one in found} == {3 * WIDTH}
    assert {one.distance.frames for one in found} == {150}
    assert [one.at for one in found[:2]] == [SINCE, SINCE + 3 * WIDTH]


def test_a_time_without_frames_and_one_without_a_model_are_left_out() -> None:
    gap = RollupSeries(WIDTH, (bucket(0), bucket(9, None), bucket(20)))
    assert [one.at for one in distances_over_time(gap, MODELS)] == [SINCE, SINCE + 20 * WIDTH]
    assert distances_over_time(RollupSeries(WIDTH, ()), MODELS) == ()


def test_what_has_alarmed_stands_first_and_a_camera_without_a_test_is_there() -> None:
    tests = [standing("a"), alarmed("b", DriftKind.QUALITY, "lens_or_light"), standing("b")]
    lines = standings(tests, [summed("a", 2, LOW), summed("c", None, LOW)], MODELS)
    assert [line.camera for line in lines] == ["b", "a", "c"]
    assert lines[0].alarmed is tests[1]
    assert (lines[0].frames, lines[0].distance) == (0, None)
    assert lines[1].distance is not None
    assert lines[1].distance.psi > 0.25
    assert (lines[2].scores, lines[2].pictures, lines[2].frames) == (None, None, 50)


def test_the_distance_in_the_table_is_of_the_model_in_the_test() -> None:
    (line,) = standings([standing("a")], [summed("a", 1, LOW), summed("a", 2, (1,) * P_VALUE_BINS, 70)], MODELS)
    assert line.distance is not None
    assert (line.distance.frames, line.frames) == (P_VALUE_BINS, 120)
    assert line.distance.psi < 0.05


def test_steps_are_whole_minutes_and_not_too_many() -> None:
    assert step_of_tests(SINCE, SINCE + timedelta(minutes=5)) == timedelta(minutes=1)
    assert step_of_tests(SINCE, SINCE + timedelta(hours=8)) == timedelta(minutes=2)
    assert timedelta(days=30) / step_of_tests(SINCE, SINCE + timedelta(days=30)) <= MOST_STEPS
