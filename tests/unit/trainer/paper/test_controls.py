import numpy as np
import pytest

from trainer.evaluate import separation
from trainer.images import drawn_pictures
from trainer.paper.controls import CORRELATION, SHAPE, control_scores, picture_statistics
from trainer.paper.splits import GIVEN, Split


def grain(seed: int, grey: float = 120.0, deviation: float = 10.0, width: int = 48) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(grey, deviation, (48, width, 1))
    return noise.clip(0, 255).astype(np.uint8).repeat(3, axis=2)


def auroc(defects: list[np.ndarray], name: str) -> float:
    good = [grain(seed) for seed in range(30)]
    statistics = picture_statistics(drawn_pictures([*good, *defects]))
    split = Split(GIVEN, 0, np.arange(20), np.arange(20, 30 + len(defects)))
    classes = np.array(["good"] * 10 + ["defect"] * len(defects))
    return separation(control_scores(statistics, split)[name], classes).auroc


def test_brightness_knows_a_set_that_it_separates_on_either_side() -> None:
    darker_and_brighter = [grain(seed, grey) for seed, grey in enumerate((90, 95, 100, 140, 145, 150), start=50)]
    assert auroc(darker_and_brighter, "mean brightness") == 1.0
    assert 0.05 < auroc([grain(seed) for seed in range(50, 60)], "mean brightness") < 0.95


def test_sharpness_knows_blurred_and_grainy_pictures() -> None:
    assert auroc([grain(50, deviation=4), grain(51, deviation=25)], "sharpness") == 1.0


def test_shape_knows_wide_pictures() -> None:
    assert auroc([grain(50, width=80), grain(51, width=20)], SHAPE) == 1.0


def test_correlation_knows_a_near_copy_whatever_its_light() -> None:
    good = [grain(seed) for seed in range(20)]
    copy = (good[3] * 0.5 + 60).astype(np.uint8)
    statistics = picture_statistics(drawn_pictures([*good, copy, grain(99), np.full((48, 48, 3), 7, np.uint8)]))
    split = Split(GIVEN, 0, np.arange(20), np.arange(20, 23))
    near, far, flat = control_scores(statistics, split)[CORRELATION]
    assert near < 0.05
    assert far > 0.5
    assert flat == pytest.approx(1.0)
