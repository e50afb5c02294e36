import numpy as np
import pytest
from numpy.typing import NDArray

from scorer.detector import Detector, Extractor, ParityError, check_parity, parity_pictures

from .conftest import make_detector, with_cameras


@pytest.fixture(scope="module")
def judge(extractor: Extractor) -> Detector:
    return make_detector(extractor)


@pytest.fixture(scope="module")
def made(judge: Detector) -> NDArray[np.float64]:
    """Scores of the gate's pictures, in its own batches, where they are the same bit for bit."""
    seen: list[NDArray[np.float64]] = []

    def score(pictures: list[NDArray[np.uint8]]) -> NDArray[np.float64]:
        seen.append(judge.score(pictures).score)
        return seen[-1]

    check_parity(judge, score)
    return np.concatenate(seen)


@pytest.fixture
def scores(made: NDArray[np.float64]) -> NDArray[np.float64]:
    """A copy, for tests that change one."""
    return made.copy()


def with_scores(judge: Detector, scores: tuple[float, ...], threshold: float) -> Detector:
    changed = {"calibration_scores": scores, "calibration_sha256": ("1" * 64,) * len(scores), "threshold": threshold}
    manifest = judge.manifest.model_copy(update=changed)
    return Detector(manifest, judge.extractor, judge.flow)


class Told:
    """Scores that were made before, batch after batch."""

    def __init__(self, scores: NDArray[np.float64]) -> None:
        self.left = scores

    def __call__(self, pictures: list[NDArray[np.uint8]]) -> NDArray[np.float64]:
        given, self.left = self.left[: len(pictures)], self.left[len(pictures) :]
        return given


def test_the_pictures_are_odd_and_always_the_same() -> None:
    first, second = parity_pictures(), parity_pictures()
    assert all(np.array_equal(one, other) for one, other in zip(first, second, strict=True))
    shapes = [picture.shape[:2] for picture in first]
    assert len(shapes) >= 12
    assert (1, 1) in shapes
    assert max(width / height for height, width in shapes) > 100
    assert any((picture == picture[0, 0]).all() for picture in first)


@pytest.mark.parametrize("factor", [1 + 9e-4, 1 - 9e-4])
def test_what_differs_by_less_passes_and_the_figure_is_told(
    judge: Detector, scores: NDArray[np.float64], factor: float
) -> None:
    lenient = with_scores(judge, (5e3, 5e3 + 1), 5e3 + 1)
    found = check_parity(lenient, Told(scores * factor))
    assert found.pictures == len(parity_pictures())
    assert found.difference == pytest.approx(9e-4, rel=1e-3)


def test_what_differs_by_more_is_refused_in_one_line_with_the_figure(
    judge: Detector, scores: NDArray[np.float64]
) -> None:
    scores[11] *= 1.002
    with pytest.raises(
        ParityError, match=r"^picture 12 of the parity gate scores .* instead of .*: 0\.002 apart"
    ) as refused:
        check_parity(judge, Told(scores))
    assert "\n" not in str(refused.value)


def test_a_score_near_zero_is_measured_by_the_spread_of_calibration(
    judge: Detector, scores: NDArray[np.float64]
) -> None:
    spread = 1e5  # far above the scores, as that of a fused score may be
    wide = with_scores(judge, (1e6 - spread, 1e6 + spread), 1e6 + spread)
    assert check_parity(wide, Told(scores + 0.9e-3 * spread)).difference == pytest.approx(0.9e-3)
    with pytest.raises(ParityError):
        check_parity(wide, Told(scores + 1.1e-3 * spread))


def test_another_verdict_is_refused_however_close_the_scores(judge: Detector, scores: NDArray[np.float64]) -> None:
    threshold = float(scores[4])  # at the threshold, which is GOOD; a hair above it is not
    at_the_edge = with_scores(judge, (threshold,), threshold)
    assert check_parity(at_the_edge, Told(scores.copy())).difference == 0.0
    scores[4] *= 1 + 1e-7
    with pytest.raises(ParityError, match="picture 5 of the parity gate gets another verdict"):
        check_parity(at_the_edge, Told(scores))


@pytest.mark.parametrize("odd", [np.nan, np.inf])
def test_no_score_on_one_side_is_refused(judge: Detector, scores: NDArray[np.float64], odd: float) -> None:
    scores[2] = odd
    with pytest.raises(ParityError, match=r"picture 3 .* inf apart"):
        check_parity(judge, Told(scores))


def test_other_pictures_are_compared_too(judge: Detector, pictures: list[NDArray[np.uint8]]) -> None:
    every = [*parity_pictures(), *pictures]
    scores = judge.score(every).score
    assert check_parity(judge, Told(scores), pictures).pictures == len(every)
    scores[-1] *= 2
    with pytest.raises(ParityError, match=f"picture {len(every)} "):
        check_parity(judge, Told(scores), pictures)


def test_another_verdict_by_the_threshold_of_a_camera_is_refused_too(
    judge: Detector, scores: NDArray[np.float64]
) -> None:
    edge, above = float(scores[4]), float(scores.max()) + 1.0
    of_cameras = with_cameras(judge, {"oven-1": (edge,), "oven-2": (above,)}, 0.5)
    assert of_cameras.manifest.threshold == above
    assert check_parity(of_cameras, Told(scores.copy())).difference == 0.0
    scores[4] *= 1 + 1e-7
    with pytest.raises(ParityError, match=f"picture 5 .* another verdict: .*, threshold {edge:.9g}"):
        check_parity(of_cameras, Told(scores))
