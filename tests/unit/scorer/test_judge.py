from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import numpy as np
import pytest

from infra.archive import open_archive
from infra.bus import Partition, Record
from infra.frames import FrameMessage, to_headers
from infra.pictures import encode_png
from infra.settings import Settings
from infra.store.models import RegisteredModel
from infra.store.results import VerdictRow
from infra.store.tables import NoVerdictReason
from scorer.decode import DecodedFrame, decode_record
from scorer.detector import Detector, load_extractor
from scorer.judge import Judge
from scorer.models import LoadedModel, ModelShelf
from tests.unit.scorer.detector.conftest import make_detector

NOON = datetime(2026, 3, 3, 12, tzinfo=UTC)
FRAMES = Partition("frames", 0)
BLACK = np.zeros((60, 80, 3), np.uint8)


class Shelf:
    """Has the models that it is given; of other products none is known."""

    def __init__(self, models: Mapping[str, LoadedModel | NoVerdictReason]) -> None:
        self.models = models

    def judge_of(self, product: str) -> LoadedModel | NoVerdictReason:
        return self.models.get(product, NoVerdictReason.UNKNOWN_PRODUCT)


@pytest.fixture(scope="module")
def detector() -> Detector:
    return make_detector(load_extractor("random", seed=5))


NewJudge = Callable[..., Judge]


@pytest.fixture
def new_judge(detector: Detector) -> NewJudge:
    """Make a judge at noon, of the products `tile` and `cap`, with settings of the test's own."""

    def make(**settings: Any) -> Judge:
        models = {
            product: LoadedModel(RegisteredModel(number, product, 1, "", "", "", 0.0), detector)
            for number, product in enumerate(("tile", "cap"), 1)
        }
        shelf = cast("ModelShelf", Shelf(models | {"bare": NoVerdictReason.NO_MODEL}))
        return Judge(Settings(**settings), shelf, open_archive("memory://pictures"), lambda: NOON)

    return make


def frame(
    number: int, product: str = "tile", age_s: float = 1.0, picture: np.typing.NDArray[np.uint8] | None = None
) -> DecodedFrame:
    if picture is None:
        picture = np.random.default_rng(number).integers(0, 255, (60, 80, 3), np.uint8)
    body = encode_png(picture)
    message = FrameMessage(f"frame {number}", "cam", product, NOON - timedelta(seconds=age_s), body)
    decoded = decode_record(Record(FRAMES, number, b"cam", to_headers(message), body, NOON), 10**6)
    assert isinstance(decoded, DecodedFrame)
    return decoded


def fates(judge: Judge, *frames: DecodedFrame) -> list[VerdictRow]:
    rows = {row.frame_id: row for row in judge.judge(frames, []).verdicts}
    return [rows[each.message.frame_id] for each in frames]


def test_a_frame_that_is_too_old_is_not_scored(new_judge: NewJudge) -> None:
    judge = new_judge(late_after_s=5, heatmap_sample=1)
    batch = judge.judge([frame(0, age_s=5.001)], [])
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
