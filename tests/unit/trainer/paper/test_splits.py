import numpy as np
import pytest

from infra.errors import TrainingSetError
from trainer.paper.labelled import LabelledSet
from trainer.paper.splits import given_split, grouped_splits


def test_no_group_is_on_both_sides_and_every_defect_is_tested(labelled: LabelledSet) -> None:
    groups = labelled.groups
    assert groups is not None
    splits = grouped_splits(labelled, 5)
    for split in splits:
        held_out = split.test[labelled.classes[split.test] == "good"]
        assert not set(groups[split.train]) & set(groups[held_out])
        assert sorted([*split.train, *held_out]) == labelled.good.tolist()
        assert set(labelled.defects) <= set(split.test)
        assert len(set(groups[held_out])) in (2, 3)  # a fifth of 12
    tested = np.concatenate([split.test[labelled.classes[split.test] == "good"] for split in splits])
    assert sorted(tested) == labelled.good.tolist()  # each is held out once


def test_the_deal_is_drawn_by_seed(labelled: LabelledSet) -> None:
    first, again, other = (grouped_splits(labelled, 1, seed)[0].train.tolist() for seed in (0, 0, 1))
    assert first == again != other


def test_the_given_split_is_the_folders(labelled: LabelledSet) -> None:
    split = given_split(labelled)
    assert split.train.tolist() == list(range(30))
    assert split.test.tolist() == list(range(30, 40))


def test_a_larger_subset_includes_the_smaller_ones(labelled: LabelledSet) -> None:
    split = given_split(labelled)
    small, large = split.learning_from(4, seed=1), split.learning_from(16, seed=1)
    assert len(small.train) == 4
    assert set(small.train) < set(large.train) < set(split.train)
    assert set(small.train) != set(split.learning_from(4, seed=2).train)


def test_without_groups_and_with_six_splits_there_is_no_split(labelled: LabelledSet) -> None:
    with pytest.raises(TrainingSetError, match="1 to 5"):
        grouped_splits(labelled, 6)
    bare = LabelledSet(labelled.folder, labelled.pictures, labelled.classes, labelled.in_train)
    with pytest.raises(TrainingSetError, match="no groups"):
        grouped_splits(bare, 1)
