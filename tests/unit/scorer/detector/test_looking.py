import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from scorer.detector import Detector, EarlyExit, Extractor, ViewPlan, load_extractor, score_together

from .conftest import make_detector, with_cameras, with_local_model

Pictures = list[NDArray[np.uint8]]
ODD = [(1, 1), (3, 1200), (448, 448), (37, 911)]


@pytest.fixture
def odd() -> Pictures:
    """One pixel, very wide, grey, constant."""
    rng = np.random.default_rng(6)
    found = [rng.integers(0, 256, (*shape, 3), dtype=np.uint8) for shape in ODD]
    grey = rng.integers(0, 256, (200, 300, 1), dtype=np.uint8).repeat(3, axis=2)
    return [*found, grey, np.full((50, 60, 3), 90, np.uint8)]


@pytest.fixture
def many_views(extractor: Extractor) -> Detector:
    """With 16 views, and an early exit whose interval is what the pictures' own views say."""
    detector = with_local_model(make_detector(extractor))
    return with_rule(detector, reach=1.0)


def with_rule(detector: Detector, reach: float) -> Detector:
    rule = EarlyExit(usual=(0.0,) * 16, steps=(1, 4, 8), reach=(reach,) * 3, floor=0.1)
    plan = ViewPlan(count=16, seed=7)
    detector.manifest = detector.manifest.model_copy(update={"views": plan, "early_exit": rule})
    return detector


def test_products_together_score_as_each_by_itself(extractor: Extractor, odd: Pictures) -> None:
    alone, local = make_detector(extractor), with_local_model(make_detector(extractor))
    other = make_detector(load_extractor("random", seed=6))
    groups = [(alone, odd[:2]), (local, odd[2:5]), (other, odd[5:]), (local, [])]
    together = score_together(groups)
    for (detector, pictures), found in zip(groups, together, strict=True):
        by_itself = detector.score(pictures)
        np.testing.assert_allclose(found.score, by_itself.score, rtol=1e-5, atol=1e-5)
        assert found.defect.tolist() == by_itself.defect.tolist()
        assert (found.maps is None) == (detector.local is None)
    assert score_together([]) == []


def test_one_pass_of_the_extractor_serves_all_products(extractor: Extractor, odd: Pictures) -> None:
    first, second = make_detector(extractor), make_detector(extractor)
    passes: list[int] = []
    hook = extractor.register_forward_pre_hook(lambda _, views: passes.append(len(views[0])))
    score_together([(first, odd[:1]), (second, odd[1:2])])
    hook.remove()
    assert passes == [6]  # three views of each


def test_two_models_of_the_same_pictures_score_as_each_by_itself_and_share_their_views(
    extractor: Extractor, many_views: Detector, odd: Pictures
) -> None:
    other = with_local_model(make_detector(extractor))
    third = make_detector(load_extractor("random", seed=6))
    prepared = many_views.prepare(odd)
    alone = [detector.score(odd) for detector in (many_views, other, third)]
    passes: list[int] = []
    hook = extractor.register_forward_pre_hook(lambda _, views: passes.append(len(views[0])))
    together = score_together([(many_views, prepared), (other, prepared), (many_views, odd[:2]), (third, prepared)])
    hook.remove()
    for found, by_itself in zip((together[0], together[1], together[3]), alone, strict=True):
        np.testing.assert_allclose(found.score, by_itself.score, rtol=1e-5, atol=1e-5)
        assert found.views.tolist() == by_itself.views.tolist()
    np.testing.assert_allclose(together[2].score, alone[0].score[:2], rtol=1e-5, atol=1e-5)
    views = int(alone[0].views.sum() + alone[1].views.sum() + alone[0].views[:2].sum())
    assert sum(passes) < views


def test_repeated_views_are_left_out_and_found_again() -> None:
    views = ViewPlan(count=3, seed=1).draw(2)
    doubled = views.chosen(np.array([4, 0, 4, 5, 0, 1]))
    distinct, places = doubled.distinct()
    assert len(distinct) == 4
    again = distinct.chosen(places)
    for name in ("picture", "angle", "brightness", "contrast"):
        np.testing.assert_array_equal(getattr(again, name), getattr(doubled, name))
    assert places.tolist() == [0, 1, 0, 2, 1, 3]


def test_a_picture_leaves_early_where_its_verdict_stands(many_views: Detector, odd: Pictures) -> None:
    every = many_views.score(odd, early_exit=False)
    assert every.views.tolist() == [16] * len(odd)
    for threshold in (every.score.min() - 50.0, every.score.max() + 50.0):
        scores = (threshold, threshold, threshold)
        changed = {"threshold": threshold, "calibration_scores": scores, "calibration_sha256": ("1" * 64,) * 3}
        many_views.manifest = many_views.manifest.model_copy(update=changed)
        many_views.__dict__.pop("calibration", None)
        found = many_views.score(odd)
        assert found.views.max() < 16
        assert found.defect.tolist() == (every.score > threshold).tolist()


def test_a_picture_beside_the_threshold_gets_all_views_and_the_same_score(extractor: Extractor, odd: Pictures) -> None:
    unsure = with_rule(make_detector(extractor), reach=1e9)
    every, found = unsure.score(odd, early_exit=False), unsure.score(odd)
    assert found.views.tolist() == [16] * len(odd)
    np.testing.assert_allclose(found.score, every.score, rtol=1e-5, atol=1e-5)


def test_a_score_that_is_not_finite_stays_that(many_views: Detector, odd: Pictures) -> None:
    many_views.flow.inn[1].subnet1[0].weight.data.fill_(float("nan"))
    found = many_views.score(odd[:2])
    assert not np.isfinite(found.score).any()
    assert not found.defect.any()


def test_heatmaps_of_what_was_found_are_heatmaps_of_the_pictures(many_views: Detector, odd: Pictures) -> None:
    found = many_views.score(odd)
    np.testing.assert_allclose(many_views.heatmap(odd, found.maps), many_views.heatmap(odd), rtol=1e-3, atol=1e-4)


def test_bfloat16_sees_what_float32_sees(odd: Pictures) -> None:
    plain, fast = (load_extractor("bundled") for _ in range(2))
    fast.computing_in(torch.bfloat16)
    assert plain.sha256 == fast.sha256
    for make in (make_detector, lambda extractor: with_local_model(make_detector(extractor))):
        exact, found = make(plain), make(fast)
        assert found.extractor.arithmetic == torch.bfloat16
        scores = exact.score(odd).score
        np.testing.assert_allclose(found.score(odd).score, scores, rtol=5e-3, atol=5e-3 * np.abs(scores).max())
        for one, other in zip(exact.heatmap(odd), found.heatmap(odd), strict=True):
            cosine = (one * other).sum() / np.sqrt((one**2).sum() * (other**2).sum())
            assert cosine >= 0.99
    fast.computing_in(torch.float32)
    np.testing.assert_array_equal(make_detector(fast).score(odd).score, make_detector(plain).score(odd).score)


@pytest.mark.parametrize("local", [True, False])
def test_a_picture_leaves_early_by_the_threshold_of_its_camera(
    extractor: Extractor, odd: Pictures, local: bool
) -> None:
    """Beside the threshold of one camera, far from that of the other: the first needs all views."""
    plain = make_detector(extractor)
    judge = with_rule(with_local_model(plain) if local else plain, reach=1e9)
    picture = odd[4:5]
    score = float(judge.score(picture, early_exit=False).score[0])
    calibrated = with_cameras(judge, {"far": (score + 1e15,), "near": (score + 1.0,)}, 0.5)
    assert calibrated.manifest.early_exit is not None
    passes: list[int] = []
    hook = extractor.register_forward_pre_hook(lambda _, views: passes.append(len(views[0])))
    found = calibrated.score(picture * 3, cameras=["far", "near", "far"])
    hook.remove()
    first, beside, last = found.views.tolist()
    assert first == last < beside == 16
    assert found.defect.tolist() == [False, False, False]
    assert len(passes) <= 1 + len(calibrated.manifest.early_exit.steps) + local
