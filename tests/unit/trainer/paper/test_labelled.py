from pathlib import Path

import numpy as np
import pytest

from infra.errors import TrainingSetError
from trainer.paper.labelled import LabelledSet, read_labelled


def test_pictures_have_classes_groups_and_masks(labelled: LabelledSet) -> None:
    assert labelled.in_train.sum() == 30
    assert (labelled.classes[labelled.in_train] == "good").all()
    assert labelled.groups is not None
    assert len(np.unique(labelled.groups[labelled.good])) == 12
    assert (labelled.groups[labelled.defects] == -1).all()
    bar = int(labelled.defects[0])
    mask, quiet = labelled.mask(bar), labelled.mask(0)
    assert mask is not None
    assert quiet is not None
    assert mask[30, 30]
    assert mask.sum() == 24 * 12
    assert not quiet.any()


def test_a_file_may_be_named_by_its_path(folder: Path, labelled: LabelledSet, tmp_path: Path) -> None:
    lines = (folder / "parts.csv").read_text().splitlines()
    named = [f"{line.split('-')[0]}/good/{line}" if line.startswith("t") else line for line in lines]
    (tmp_path / "parts.csv").write_text("\n".join(named))
    again = read_labelled(folder, tmp_path / "parts.csv")
    assert labelled.groups is not None
    assert again.groups is not None
    assert again.groups.tolist() == labelled.groups.tolist()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda lines: lines[:-1], "has no group for test/good/test-good-5.png"),
        (lambda lines: [*lines, "train-good-0.png,other"], "train-good-0.png is in two groups"),
        (lambda lines: [*lines, "a,b,c"], "two columns, file and group, not 'a,b,c'"),
        (lambda lines: [line.split(",")[0] + ",one" for line in lines], "has 1 groups"),
    ],
)
def test_groups_that_do_not_fit_are_refused(folder: Path, tmp_path: Path, change, said: str) -> None:  # type: ignore[no-untyped-def]
    lines = (folder / "parts.csv").read_text().splitlines()
    (tmp_path / "parts.csv").write_text("\n".join(change(lines)))
    with pytest.raises(TrainingSetError, match=said):
        read_labelled(folder, tmp_path / "parts.csv")


def test_equal_pictures_in_two_groups_would_be_on_both_sides(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    for name in ("train/good", "test/good", "test/bar"):
        (copy / name).mkdir(parents=True)
        for file in (folder / name).iterdir():
            (copy / name / file.name).write_bytes(file.read_bytes())
    (copy / "test/good/test-good-0.png").write_bytes((copy / "train/good/train-good-0.png").read_bytes())
    with pytest.raises(TrainingSetError, match="bytes of a picture of another group"):
        read_labelled(copy, folder / "parts.csv")
