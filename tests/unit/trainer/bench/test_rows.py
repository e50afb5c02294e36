"""Each row at a size of seconds: that its figures are there and add up, never how fast they are."""

import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from infra.pictures import encode_png
from scorer.detector import Detector, FlowSpec, Scores, ViewPlan
from trainer.bench import workers
from trainer.bench.early_exit import compare, measure_early_exit
from trainer.bench.floor import EXTRACTOR_MACS, flow_macs, measure_floor
from trainer.bench.plain_scoring import flipped, measure_plain_scoring
from trainer.bench.plain_training import measure_plain_training
from trainer.bench.row import NotMeasuredError
from trainer.bench.scoring import leaves_early, score_bodies
from trainer.bench.setting import Setting
from trainer.bench.timing import in_turns, median_ratio
from trainer.bench.workers import measure_workers


def test_p1_compares_scores_as_well_as_rates(setting: Setting) -> None:
    row = measure_plain_scoring(setting)
    assert (row.frames, row.views) == (4, 4)
    assert row.ratio > 0
    assert row.early_exit_ratio
    assert row.early_exit_views
    assert 1 <= row.early_exit_views <= 4
    assert "early exit" in row.details()[0]
    assert row.plain_frames_s > 0
    assert row.error_max < 0.01
    assert row.rank_correlation == pytest.approx(1.0)
    assert "rank correlation 1.0000" in row.figures()


def test_p1_counts_flips_by_the_scores_that_decide() -> None:
    wanted, got = np.array([98.0, 99.0, 101.0, 102.0]), np.array([101.0, 99.0, 99.5, 103.0])
    assert flipped(wanted, got, 100.0) == (2, pytest.approx(2.0))
    assert flipped(wanted, wanted, 100.0) == (0, 0.0)


def test_p2_has_a_share_for_each_number_of_views(setting: Setting) -> None:
    row = measure_floor(setting)
    assert list(row.share) == [1, 2]
    assert row.ratio == row.share[2]
    for views, share in row.share.items():
        floor_s = views * 2 * (EXTRACTOR_MACS + row.flow_macs) / (1e9 * row.matmul_gflops)
        assert share == pytest.approx(floor_s * row.frames_s[views])
    assert "% at 2 views" in row.figures()


def test_multiply_adds_of_a_flow_are_those_of_its_matrices(setting: Setting) -> None:
    flow = setting.speed.detector.flow
    assert flow_macs(flow.spec) == sum(each.numel() for each in flow.parameters() if each.dim() == 2)
    assert flow_macs(FlowSpec()) == pytest.approx(172e6, rel=0.01)


class Leaves:
    """A detector with early exit whose scores are the pictures' mean grey; one verdict differs."""

    def score(self, pictures: object, plan: ViewPlan | None = None, *, early_exit: bool = True) -> Scores:
        grey = np.array([float(picture.mean()) for picture in pictures])  # type: ignore[attr-defined]
        defect = grey > 100
        if early_exit:
            defect = defect | (grey == 99)
        views = np.where(grey == 0, 4, 16) if early_exit else np.full(len(grey), plan.count if plan else 64)
        return Scores(grey, grey, defect, views, 0.0, 0.0, 0.0)


def body(level: int) -> bytes:
    return encode_png(np.full((8, 8, 3), level, np.uint8))


def test_p4_counts_views_and_verdicts() -> None:
    row = compare(Leaves(), 100.0, [body(level) for level in (0, 0, 99, 200)])
    assert (row.frames, row.views, row.mean_views) == (4, 64, 10.0)
    assert row.ratio == pytest.approx(6.4)
    assert (row.agreement, row.differ) == (0.75, 1)
    assert row.distance_percent == pytest.approx(1.0)
    assert (row.mean_views_good, row.mean_views_defect) == (8.0, 16.0)


def test_p4_is_of_a_detector_as_a_plant_has_it(setting: Setting) -> None:
    row = measure_early_exit(setting)
    assert (row.frames, row.views) == (4, 4)
    assert row.ratio >= 1
    assert 0 <= row.agreement <= 1


def test_p4_needs_a_calibrated_rule(setting: Setting) -> None:
    detector = setting.plant
    bare = Detector(detector.manifest.model_copy(update={"early_exit": None}), detector.extractor, detector.flow)
    assert leaves_early(detector)
    assert not leaves_early(bare)
    with pytest.raises(NotMeasuredError, match="too few pictures"):
        measure_early_exit(SimpleNamespace(plant=bare))  # type: ignore[arg-type]


def test_p5_trains_both_loops_and_extrapolates_one(setting: Setting) -> None:
    row = measure_plain_training(setting)
    views = row.pictures * row.epoch_views
    steps = math.ceil(views / setting.size.training.batch)
    assert row.plain_s == pytest.approx(row.epochs * (views * row.plain_view_s + steps * row.plain_step_s))
    assert row.ratio == pytest.approx(row.plain_s / row.ours_s)
    for aurocs in (row.small_auroc_plain, row.small_auroc_ours):
        assert len(aurocs) == setting.size.small_seeds
        assert all(0 <= auroc <= 1 for auroc in aurocs)
    assert "extrapolated" in row.figures()
    assert "mean of 2 seeds" in row.figures()


def test_p7_runs_processes_side_by_side(setting: Setting) -> None:
    row = measure_workers(setting)
    assert list(row.frames_s) == [1, 2]
    assert row.efficiency[1] == 1.0
    assert row.ratio == row.efficiency[2] == row.frames_s[2] / row.frames_s[1]


def test_p7_says_when_a_process_dies(tmp_path: Path) -> None:
    with pytest.raises(NotMeasuredError, match="did not end in order"):
        workers.side_by_side(workers.Share(tmp_path / "no-model", (), 1, 1, torch.float32), 1)


def test_p7_is_of_cores() -> None:
    with pytest.raises(NotMeasuredError, match="not a GPU"):
        measure_workers(SimpleNamespace(device=torch.device("cuda")))  # type: ignore[arg-type]


def test_sides_take_turns_and_turn_around() -> None:
    called: list[tuple[str, int]] = []
    sides = {name: (lambda number, name=name: called.append((name, number))) for name in "ab"}
    taken = in_turns(3, sides)  # type: ignore[arg-type]
    assert called == [("a", 0), ("b", 0), ("b", 1), ("a", 1), ("a", 2), ("b", 2)]
    assert {name: len(each) for name, each in taken.items()} == {"a": 3, "b": 3}
    assert median_ratio([1.0, 8.0, 9.0], [1.0, 2.0, 3.0]) == 3.0


def test_bodies_are_scored_in_their_order_over_several_batches() -> None:
    levels = list(range(0, 190, 10))
    scores = score_bodies(Leaves(), [body(level) for level in levels], early_exit=False)
    assert scores.score.tolist() == levels
    assert (scores.views == 64).all()
