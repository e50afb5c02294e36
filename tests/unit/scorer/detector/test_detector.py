import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from scorer.detector import Detector, ViewPlan, make_views

from .conftest import with_cameras

Pictures = list[NDArray[np.uint8]]


def test_score_is_the_mean_negative_log_prior_over_views(detector: Detector, pictures: Pictures) -> None:
    views = make_views(detector.prepare(pictures), detector.manifest.views)
    with torch.no_grad():
        z, _ = detector.flow(detector.extractor(views))
    standard = torch.distributions.Normal(0.0, 1.0)
    expected = -standard.log_prob(z.double()).sum(dim=1).view(3, 3).mean(dim=1)
    scores = detector.score(pictures)
    assert scores.score.dtype == np.float64
    assert scores.views.tolist() == [3] * len(scores.score)
    np.testing.assert_allclose(scores.score, expected.numpy(), rtol=1e-6)


def test_same_input_same_score_and_a_batch_of_one_is_a_batch_of_n(detector: Detector, pictures: Pictures) -> None:
    together = detector.score(pictures).score
    assert (detector.score(pictures).score == together).all()
    alone = np.concatenate([detector.score([picture]).score for picture in pictures])
    np.testing.assert_allclose(alone, together, rtol=1e-6)
    assert len(set(together)) == 3


def test_verdicts_follow_the_threshold(detector: Detector, pictures: Pictures) -> None:
    scores = detector.score(pictures)
    assert scores.defect.tolist() == (scores.score > detector.manifest.threshold).tolist()
    assert scores.p_value.tolist() == detector.calibration.p_values(scores.score).tolist()


def test_chunks_change_memory_and_not_the_result(detector: Detector, pictures: Pictures) -> None:
    whole = detector.score(pictures).score
    detector.views_per_chunk = 2
    np.testing.assert_allclose(detector.score(pictures).score, whole, rtol=1e-6)
    heat = detector.heatmap(pictures)
    detector.views_per_chunk = 64
    np.testing.assert_allclose(detector.heatmap(pictures), heat, rtol=1e-3, atol=1e-4 * heat.max())


def test_a_score_that_is_not_finite_is_handed_on(detector: Detector, pictures: Pictures) -> None:
    detector.flow.inn[1].subnet1[0].weight.data.fill_(math.nan)
    scores = detector.score(pictures[:1])
    assert not np.isfinite(scores.score).any()
    assert np.isnan(scores.p_value).all()
    assert not scores.defect.any()


def test_no_pictures_no_scores(detector: Detector) -> None:
    assert detector.score([]).score.shape == (0,)
    assert detector.heatmap([]).shape == (0, 112, 112)


def test_other_views_can_be_measured(detector: Detector, pictures: Pictures) -> None:
    scores = detector.score(pictures, ViewPlan(count=1))
    assert scores.views.tolist() == [1] * len(scores.score)
    assert scores.features_s > 0


def test_heatmaps_are_in_units_of_the_heat_scale(detector: Detector, pictures: Pictures) -> None:
    heat = detector.heatmap(pictures[:1])
    detector.manifest = detector.manifest.model_copy(update={"heat_scale": 4.0})
    np.testing.assert_allclose(detector.heatmap(pictures[:1]), heat / 2, rtol=1e-6)
    assert heat.shape == (1, 112, 112)
    assert heat.min() >= 0


def test_each_picture_is_judged_by_the_calibration_of_its_camera(
    detector: Detector, pictures: list[NDArray[np.uint8]]
) -> None:
    (score,) = detector.score(pictures[:1]).score
    low, high = ([float(score) + shift + step for step in range(3)] for shift in (-50, 50))
    judge = with_cameras(detector, {"low": low, "high": high, "few": [float(score) + 1]}, 0.25)
    cameras = ["low", "high", "few", "unheard-of", None]
    found = judge.score(pictures[:1] * 5, cameras=cameras)
    by_itself = [judge.score(pictures[:1], cameras=[camera]) for camera in cameras]
    assert found.defect.tolist() == [each.defect[0] for each in by_itself] == [True, False, False, False, False]
    assert found.p_value.tolist() == [each.p_value[0] for each in by_itself] == [1 / 4, 1, 5 / 8, 5 / 8, 5 / 8]
    assert judge.score(pictures[:1]).p_value == [5 / 8]
    with pytest.raises(ValueError, match="2 cameras of 1 pictures"):
        judge.score(pictures[:1], cameras=["low", "low"])
