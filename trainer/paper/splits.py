"""Who is learned from and who is tested."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from infra.errors import TrainingSetError
from trainer.images import LEAST_PICTURES
from trainer.paper.labelled import LabelledSet

GROUPED = "grouped"
GIVEN = "given"
HELD_OUT = 5  # one group in five


@dataclass(frozen=True)
class Split:
    """One division of a labelled set, as indices into it.

    Attributes:
        protocol: `grouped` (no group on both sides) or `given` (the folders' own; for MTD, the paper's).
        number: Which of the protocol's splits.
        train: Defect-free pictures to learn from, in ascending order.
        test: Defect-free and defective pictures to test on, in ascending order.
    """

    protocol: str
    number: int
    train: NDArray[np.int64]
    test: NDArray[np.int64]

    def learning_from(self, count: int, seed: int) -> "Split":
        """The same with `count` of its training pictures, drawn by seed; a larger count includes the smaller ones."""
        chosen = np.random.default_rng(seed).permutation(self.train)[:count]
        return Split(self.protocol, self.number, np.sort(chosen), self.test)


def given_split(labelled: LabelledSet) -> Split:
    """The split that the folders make."""
    return Split(GIVEN, 0, np.flatnonzero(labelled.in_train), np.flatnonzero(~labelled.in_train))


def grouped_splits(labelled: LabelledSet, count: int, seed: int = 0) -> tuple[Split, ...]:
    """Splits that no group straddles: each tests on a fifth of the groups and on all defects, and learns from the rest.

    Groups are dealt by seed into five hands, so the held-out pictures of up to five splits are disjoint.

    Args:
        labelled: With groups.
        count: How many of the five.
        seed: Seed of the deal.

    Raises:
        TrainingSetError: No groups, a count out of range, or too few pictures on the training side.
    """
    if labelled.groups is None:
        raise TrainingSetError("no groups: which pictures show the same part is not known")
    if not 1 <= count <= HELD_OUT:
        raise TrainingSetError(f"there are 1 to {HELD_OUT} splits by group, not {count}")
    groups = np.random.default_rng(seed).permutation(np.unique(labelled.groups[labelled.good]))
    splits = []
    for number, hand in enumerate(np.array_split(groups, HELD_OUT)[:count]):
        held_out = np.isin(labelled.groups, hand)
        train = labelled.good[~held_out[labelled.good]]
        if len(train) < LEAST_PICTURES:
            raise TrainingSetError(f"a split by group learns from {len(train)} pictures, {LEAST_PICTURES} are needed")
        test = np.sort(np.concatenate([np.flatnonzero(held_out), labelled.defects]))
        splits.append(Split(GROUPED, number, train, test))
    return tuple(splits)
