from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import numpy as np
import pytest

import scorer.judge
from infra.archive import open_archive
from infra.bus import Partition, Record
from infra.frames import FrameMessage, to_headers
from infra.pictures import RgbPicture, encode_png
from infra.settings import Settings
from infra.store.models import RegisteredModel
from infra.store.results import VerdictRow
from infra.store.tables import NoVerdictReason
from scorer.decode import DecodedFrame, decode_record
from scorer.detector import Detector, Scores, load_extractor, score_together
from scorer.judge import Judge
from scorer.models import LoadedModel, ModelShelf
from scorer.shadows import Shadows
from tests.unit.scorer.detector.conftest import make_detector, with_cameras

NOON = datetime(2026, 3, 3, 12, tzinfo=UTC)
FRAMES = Partition("frames", 0)
BLACK = np.zeros((60, 80, 3), np.uint8)


class Shelf:
    """Has the models that it is given; of other products none is known."""

    def __init__(self, models: Mapping[str, LoadedModel | NoVerdictReason]) -> None:
        self.models = models

    def judge_of(self, product: str) -> LoadedModel | NoVerdictReason:
        return self.models.get(product, NoVerdictReason.UNKNOWN_PRODUCT)


class Looking:
    """Has the candidates that it is given."""

    def __init__(self, candidates: Mapping[str, LoadedModel]) -> None:
        self.candidates = candidates

    def of(self, product: str) -> LoadedModel | None:
        return self.candidates.get(product)


@pytest.fixture(scope="module")
def detector() -> Detector:
    return make_detector(load_extractor("random", seed=5))


NewJudge = Callable[..., Judge]
Groups = Sequence[tuple[Detector, Sequence[RgbPicture]]]


@pytest.fixture
def new_judge(detector: Detector) -> NewJudge:
    """Make a judge at noon, of the products `tile` and `cap`, with settings of the test's own."""

    def make(candidates: Mapping[str, LoadedModel] | None = None, **settings: Any) -> Judge:
        models = {
            product: LoadedModel(RegisteredModel(number, product, 1, "", "", "", 0.0), detector)
            for number, product in enumerate(("tile", "cap"), 1)
        }
        shelf = cast("ModelShelf", Shelf(models | {"bare": NoVerdictReason.NO_MODEL}))
        shadows = cast("Shadows", Looking(candidates or {}))
        return Judge(Settings(**settings), shelf, open_archive("memory://pictures"), lambda: NOON, shadows)

    return make


def frame(
    number: int, product: str = "tile", age_s: float = 1.0, picture: RgbPicture | None = None, camera: str = "cam"
) -> DecodedFrame:
    if picture is None:
        picture = np.random.default_rng(number).integers(0, 255, (60, 80, 3), np.uint8)
    body = encode_png(picture)
    message = FrameMessage(f"frame {number}", camera, product, NOON - timedelta(seconds=age_s), body)
    decoded = decode_record(Record(FRAMES, number, camera.encode(), to_headers(message), body, NOON), 10**6)
    assert isinstance(decoded, DecodedFrame)
    return decoded


def fates(judge: Judge, *frames: DecodedFrame) -> list[VerdictRow]:
    rows = {row.frame_id: row for row in judge.judge(judge.score(frames), []).verdicts}
    return [rows[each.message.frame_id] for each in frames]


def test_a_frame_that_is_too_old_is_not_scored(new_judge: NewJudge) -> None:
    judge = new_judge(late_after_s=5, heatmap_sample=1)
    batch = judge.judge(judge.score([frame(0, age_s=5.001)]), [])
    (row,) = batch.verdicts
    assert (row.state, row.reason) == ("NO_VERDICT", "late")
    assert (row.model_id, row.score, row.views, row.scored_at) == (None, None, None, None)
    assert row.archive_ref is not None
    assert batch.heatmaps == []
    assert batch.next_offsets == {FRAMES: 1}
    assert judge.stages.features == 0


def test_frames_that_are_young_enough_are_scored_beside_it(new_judge: NewJudge) -> None:
    frames = [
        frame(0),
        frame(1, age_s=60),
        frame(2, age_s=5),
        frame(3, age_s=-60),
    ]  # the last from a clock that is ahead
    first, late, third, ahead = fates(new_judge(late_after_s=5), *frames)
    assert late.reason == "late"
    scores = [row.score for row in fates(new_judge(), *frames)]
    assert [first.score, third.score, ahead.score] == pytest.approx([scores[0], scores[2], scores[3]], rel=1e-5)


def test_without_a_limit_no_frame_is_late(new_judge: NewJudge) -> None:
    (row,) = fates(new_judge(), frame(0, age_s=10**8))
    assert row.score is not None


def test_what_would_not_be_scored_anyway_keeps_its_reason(new_judge: NewJudge) -> None:
    frames = [
        frame(0, age_s=60, picture=BLACK),
        frame(1, "bare", age_s=60),
        frame(2, "unheard-of", age_s=60),
    ]
    assert [row.reason for row in fates(new_judge(late_after_s=5), *frames)] == ["black", "no_model", "unknown_product"]


def test_the_products_of_a_batch_are_scored_in_one_pass(new_judge: NewJudge, monkeypatch: pytest.MonkeyPatch) -> None:
    passes = []

    def noted(groups: Groups, **options: bool) -> list[Scores]:
        passes.append([len(pictures) for _, pictures in groups])
        return score_together(groups, **options)

    monkeypatch.setattr(scorer.judge, "score_together", noted)
    products = ["tile", "cap", "bare", "tile", "tile", "cap"]
    frames = [frame(number, product) for number, product in enumerate(products)]
    frames[4] = frame(4, "tile", picture=BLACK)
    judge = new_judge()
    rows = fates(judge, *frames)
    assert passes == [[2, 2]]
    assert [row.model_id for row in rows] == [1, 2, None, 1, None, 2]
    assert [row.reason for row in rows] == [None, None, "no_model", None, "black", None]
    alone = [fates(new_judge(), each)[0].score for each in frames]
    assert [row.score for row in rows] == [score and pytest.approx(score, rel=1e-5) for score in alone]
    assert [row.views for row in rows] == [3, 3, None, 3, None, 3]


def test_rows_lie_product_by_product_in_the_order_of_the_bus(new_judge: NewJudge) -> None:
    products = ["cap", "tile", "bare", "cap", "tile"]
    judge = new_judge()
    frames = [frame(number, product) for number, product in enumerate(products)]
    batch = judge.judge(judge.score(frames[:2]) + judge.score(frames[2:]), [])
    assert [row.bus_offset for row in batch.verdicts] == [0, 3, 1, 4, 2]


def test_nothing_is_scored_where_no_frame_can_be(new_judge: NewJudge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(scorer.judge, "score_together")
    assert [row.reason for row in fates(new_judge(), frame(0, "bare"), frame(1, picture=BLACK))] == [
        "no_model",
        "black",
    ]


def test_seconds_of_all_products_are_added_up_by_stage(new_judge: NewJudge, monkeypatch: pytest.MonkeyPatch) -> None:
    def timed(groups: Groups, **options: bool) -> list[Scores]:
        return [replace(made, views_s=0.5, features_s=2.0, flow_s=0.25) for made in score_together(groups, **options)]

    monkeypatch.setattr(scorer.judge, "score_together", timed)
    judge = new_judge()
    rows = fates(judge, frame(0, "tile"), frame(1, "cap"), frame(2, "cap"))
    stages = (judge.stages.views, judge.stages.features, judge.stages.flow)
    assert stages == pytest.approx((1.0, 4.0, 0.5), abs=0.2)  # views: with the seconds in which pictures are prepared
    assert [row.score_ms for row in rows] == [2750, 1375, 1375]


def test_heatmaps_are_made_of_defects_and_of_a_sample(new_judge: NewJudge, monkeypatch: pytest.MonkeyPatch) -> None:
    def second_is_defect(groups: Groups, **options: bool) -> list[Scores]:
        return [replace(made, defect=np.arange(len(made.score)) == 1) for made in score_together(groups, **options)]

    monkeypatch.setattr(scorer.judge, "score_together", second_is_defect)
    frames = [frame(number, product) for number, product in enumerate(["tile", "bare", "cap", "tile"])]
    judge = new_judge(heatmap_sample=10**9)
    batch = judge.judge(judge.score(frames), [])
    assert [row.frame_id for row in batch.verdicts if row.state == "DEFECT"] == ["frame 3"]
    assert [heat.frame_id for heat in batch.heatmaps] == ["frame 3"]
    judge = new_judge(heatmap_sample=1)
    batch = judge.judge(judge.score(frames), [])
    assert [heat.frame_id for heat in batch.heatmaps] == ["frame 0", "frame 3", "frame 2"]


def test_a_score_that_is_not_finite_spoils_no_other(new_judge: NewJudge, monkeypatch: pytest.MonkeyPatch) -> None:
    def spoilt(groups: Groups, **options: bool) -> list[Scores]:
        first, *others = score_together(groups, **options)
        return [replace(first, score=np.where(np.arange(len(first.score)) == 1, np.nan, first.score)), *others]

    monkeypatch.setattr(scorer.judge, "score_together", spoilt)
    rows = fates(
        new_judge(), *(frame(number, product) for number, product in enumerate(["tile", "tile", "cap", "tile"]))
    )
    assert [row.reason for row in rows] == [None, "score_not_finite", None, None]
    assert [row.model_id for row in rows] == [1, 1, 2, 1]
    assert rows[1].score is None


@pytest.fixture
def candidate(detector: Detector) -> LoadedModel:
    """Calls a defect whatever the model in force calls good: its threshold is lower than any score."""
    manifest = detector.manifest
    low = min(manifest.calibration_scores) - 1e6
    strict = manifest.model_copy(update={"calibration_scores": (low, low), "threshold": low, "early_exit": None})
    other = Detector(strict, detector.extractor, detector.flow, local=detector.local)
    return LoadedModel(RegisteredModel(7, "tile", 2, "", "", "", low), other)


def test_a_candidate_in_shadow_is_on_record_and_changes_nothing(new_judge: NewJudge, candidate: LoadedModel) -> None:
    frames = [frame(0), frame(1, "cap"), frame(2), frame(3, "tile", picture=BLACK)]
    alone, beside = new_judge(), new_judge({"tile": candidate})
    without = alone.judge(alone.score(frames), [])
    batch = beside.judge(beside.score(frames), [])

    def fate(row: VerdictRow) -> tuple[object, ...]:
        return row.frame_id, row.state, row.reason, row.model_id, row.views, row.threshold

    assert [fate(row) for row in batch.verdicts] == [fate(row) for row in without.verdicts]
    scores = [[row.score for row in each.verdicts if row.score is not None] for each in (batch, without)]
    assert scores[0] == pytest.approx(scores[1], rel=1e-5)
    assert len(batch.heatmaps) == len(without.heatmaps)
    assert without.seconds == []
    assert [(row.frame_id, row.model_id, row.state, row.source) for row in batch.seconds] == [
        ("frame 0", 7, "DEFECT", "shadow"),
        ("frame 2", 7, "DEFECT", "shadow"),
    ]
    own = {row.frame_id: row.score for row in batch.verdicts}
    assert [row.score for row in batch.seconds] == pytest.approx([own["frame 0"], own["frame 2"]], rel=1e-5)


def test_features_are_computed_once_for_both(new_judge: NewJudge, candidate: LoadedModel, detector: Detector) -> None:
    passes: list[int] = []
    hook = detector.extractor.register_forward_pre_hook(lambda _, views: passes.append(len(views[0])))
    try:
        new_judge().score([frame(0), frame(1)])
        alone, passes[:] = sum(passes), []
        new_judge({"tile": candidate}).score([frame(0), frame(1)])
    finally:
        hook.remove()
    assert sum(passes) == alone > 0


def test_a_candidate_whose_score_is_not_a_number_says_nothing(
    new_judge: NewJudge, candidate: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(groups: Groups, **options: Any) -> list[Scores]:
        first, second = score_together(groups, **options)
        return [first, replace(second, score=np.full_like(second.score, np.nan))]

    monkeypatch.setattr(scorer.judge, "score_together", broken)
    judge = new_judge({"tile": candidate})
    batch = judge.judge(judge.score([frame(0)]), [])
    assert batch.verdicts[0].score is not None
    assert batch.seconds == []


def test_a_batch_of_several_cameras_is_judged_by_the_calibration_of_each_in_one_pass(
    new_judge: NewJudge, detector: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    (usual,) = fates(new_judge(), frame(0))
    assert usual.score is not None
    high, low = usual.score + 1000, usual.score - 1000
    row = RegisteredModel(1, "tile", 1, "", "", "", 0.0)
    judge = new_judge({"tile": LoadedModel(replace(row, id=7), with_cameras(detector, {"a": [high], "b": [low]}, 0.5))})
    in_force = LoadedModel(row, with_cameras(detector, {"a": [low], "b": [high]}, 0.5))
    cast("Shelf", judge.shelf).models = {"tile": in_force}
    passes = []

    def noted(groups: Groups, **options: Any) -> list[Scores]:
        passes.append([len(pictures) for _, pictures in groups])
        return score_together(groups, **options)

    monkeypatch.setattr(scorer.judge, "score_together", noted)
    batch = judge.judge(judge.score([frame(number, camera=camera) for number, camera in enumerate("abcba")]), [])
    assert passes == [[5, 5]]  # in force and in shadow
    assert [(each.camera, each.state, each.threshold, each.p_value) for each in batch.verdicts] == [
        ("a", "DEFECT", low, 0.5),
        ("b", "GOOD", high, 1.0),
        ("c", "GOOD", high, pytest.approx(2 / 3)),
        ("b", "GOOD", high, 1.0),
        ("a", "DEFECT", low, 0.5),
    ]
    assert [(each.camera, each.state, each.threshold) for each in batch.seconds] == [
        ("a", "GOOD", high),
        ("b", "DEFECT", low),
        ("c", "GOOD", high),
        ("b", "DEFECT", low),
        ("a", "GOOD", high),
    ]
