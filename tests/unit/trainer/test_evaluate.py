import json
from pathlib import Path

import numpy as np
import pytest

from infra.errors import TrainingSetError
from infra.pictures import encode_png
from scorer.detector import Extractor
from trainer.evaluate import evaluate, separation
from trainer.presets import Preset


def test_separation_by_hand() -> None:
    classes = np.array(["good"] * 4 + ["crack"] * 2 + ["dent"] * 2)
    scores = np.array([1.0, 2.0, 3.0, 6.0, 7.0, 8.0, 5.0, 0.0])
    found = separation(scores, classes)
    assert found.per_class == {"crack": 1.0, "dent": 3 / 8}
    assert found.auroc == pytest.approx((4 + 4 + 3 + 0) / 16)
    assert found.recall_at_1pct == found.recall_at_none == 2 / 4  # 1 % of four is no false alarm at all


def test_one_false_alarm_in_a_hundred_is_allowed_and_no_more() -> None:
    classes = np.array(["good"] * 100 + ["crack"] * 4)
    good = np.arange(100.0)
    defects = [97.5, 98.0, 98.5, 99.5]
    found = separation(np.array([*good, *defects]), classes)
    assert (found.recall_at_1pct, found.recall_at_none) == (2 / 4, 1 / 4)


def test_scores_that_are_not_finite_have_no_order() -> None:
    with pytest.raises(TrainingSetError, match="1 of 3"):
        separation(np.array([1.0, np.nan, 2.0]), np.array(["good", "good", "crack"]))


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory, part) -> Path:  # type: ignore[no-untyped-def]
    folder = tmp_path_factory.mktemp("labelled")
    pictures = {"train/good": 16, "test/good": 4, "test/bar": 3}
    for name, count in pictures.items():
        (folder / name).mkdir(parents=True)
        for index in range(count):
            picture = part(hash_of(name) + index, name == "test/bar")
            (folder / name / f"{index}.png").write_bytes(encode_png(picture))
    (folder / "test/bar/broken.jpg").write_bytes(b"")
    return folder


def hash_of(name: str) -> int:
    return sum(name.encode()) * 1000


def test_evaluation_reports_what_the_command_prints(labelled: Path, tiny: Preset, extractor: Extractor) -> None:
    report = evaluate(labelled, tiny, extractor, views=1)
    printed = json.loads(report.model_dump_json())
    assert {"auroc", "recall_at_1pct", "per_class", "seconds"} <= printed.keys()
    assert report.auroc == report.per_class["bar"] == 1.0  # black bars on grey: anything less is a fault
    assert report.recall_at_1pct == 1.0
    assert set(report.baselines) == {"one_nearest_neighbour", "one_class_svm"}
    assert report.baselines["one_nearest_neighbour"].auroc == 1.0
    assert report.counts.train == 16
    assert report.counts.test == {"bar": 3, "good": 4}
    assert [Path(path).name for path in report.counts.skipped] == ["broken.jpg"]
    assert (report.preset, report.views, report.extractor) == ("tiny", 1, "random")
    assert 0 < sum(report.seconds_by_stage.values()) <= report.seconds + 0.01


def test_another_layout_is_refused(labelled: Path, tiny: Preset, extractor: Extractor, tmp_path: Path) -> None:
    with pytest.raises(TrainingSetError, match="train/good is not a folder"):
        evaluate(tmp_path, tiny, extractor)
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "good").symlink_to(labelled / "train" / "good")
    with pytest.raises(TrainingSetError, match="needs a folder good"):
        evaluate(tmp_path, tiny, extractor)
    for name in ("good", "dent"):
        (tmp_path / "test" / name).mkdir(parents=True)
        (tmp_path / "test" / name / "a.png").write_bytes(b"")
    with pytest.raises(TrainingSetError, match="dent holds no usable pictures"):
        evaluate(tmp_path, tiny, extractor)
