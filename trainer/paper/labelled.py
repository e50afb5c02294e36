"""The pictures of a report: all in one list, with class, folder, group and mask of each."""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from infra.errors import BadFrameError, TrainingSetError
from infra.pictures import decode
from trainer.evaluate import GOOD, read_test
from trainer.images import MAX_PIXELS, PictureSet, StoredPicture, read_folder, require_enough
from trainer.progress import Progress, silent

LEAST_GROUPS = 10


@dataclass(frozen=True)
class LabelledSet:
    """N pictures in the layout of MVTec AD.

    Attributes:
        folder: Where `train`, `test` and `ground_truth` lie.
        pictures: All of them: `train/good` first, then `test`.
        classes: (N,) str, `good` or the class of the defect.
        in_train: (N,) bool, whether the folders say `train`.
        groups: (N,) int64, the group of a defect-free picture (one part, photographed several times), -1 for defects; None
            where no groups are known.
    """

    folder: Path
    pictures: PictureSet
    classes: NDArray[np.str_]
    in_train: NDArray[np.bool_]
    groups: NDArray[np.int64] | None = None

    @property
    def good(self) -> NDArray[np.int64]:
        """Indices of the defect-free pictures."""
        return np.flatnonzero(self.classes == GOOD)

    @property
    def defects(self) -> NDArray[np.int64]:
        """Indices of the defective pictures."""
        return np.flatnonzero(self.classes != GOOD)

    def path(self, index: int) -> Path:
        """The file of a picture."""
        picture = self.pictures.pictures[index]
        if not isinstance(picture, StoredPicture):
            raise TypeError("a labelled set is read from files")
        return picture.path

    def mask(self, index: int) -> NDArray[np.bool_] | None:
        """The pixels that are defective, (H, W); all False for a defect-free picture, None where there is no mask file.

        Raises:
            TrainingSetError: The mask does not decode.
        """
        if self.classes[index] == GOOD:
            return np.zeros(self.pictures.pictures[index].load().shape[:2], bool)
        path = self.folder / "ground_truth" / str(self.classes[index]) / f"{self.path(index).stem}_mask.png"
        if not path.is_file():
            return None
        try:
            return np.asarray(decode(path.read_bytes(), MAX_PIXELS)[..., 0] > 127)
        except BadFrameError as error:
            raise TrainingSetError(f"{path}: {error}") from error


def read_labelled(
    folder: Path, groups: Path | None = None, max_pixels: int = MAX_PIXELS, progress: Progress = silent
) -> LabelledSet:
    """Read a folder in MVTec AD layout, and the groups of its defect-free pictures.

    Args:
        folder: With `train/good`, `test/good`, `test/<defect>` and, for heatmaps, `ground_truth/<defect>`.
        groups: CSV with a header and two columns, file and group; a file is named by itself or by its path in `folder`.
        max_pixels: Largest width x height that is decoded.
        progress: Told how far it is.

    Raises:
        TrainingSetError: The layout is another one, too few pictures, or groups that do not fit the pictures.
    """
    training = read_folder(folder / "train" / GOOD, max_pixels, progress)
    require_enough(training, str(folder / "train" / GOOD))
    test, classes = read_test(folder / "test", max_pixels, progress)
    pictures = PictureSet(training.pictures + test.pictures, training.skipped + test.skipped)
    labelled = LabelledSet(
        folder,
        pictures,
        np.concatenate([np.full(len(training), GOOD), classes]),
        np.arange(len(pictures)) < len(training),
    )
    if groups is None:
        return labelled
    return LabelledSet(folder, pictures, labelled.classes, labelled.in_train, _groups(labelled, groups))


def _groups(labelled: LabelledSet, file: Path) -> NDArray[np.int64]:
    named = _read_groups(file)
    numbers = {name: number for number, name in enumerate(sorted(set(named.values())))}
    names = [labelled.path(int(index)).name for index in labelled.good]
    groups = np.full(len(labelled.pictures), -1, dtype=np.int64)
    for index, name in zip(labelled.good.tolist(), names, strict=True):
        inside = labelled.path(index).relative_to(labelled.folder).as_posix()
        if inside not in named and names.count(name) > 1:
            raise TrainingSetError(f"{file}: several pictures are called {name}; name them by their path")
        group = named.get(inside, named.get(name))
        if group is None:
            raise TrainingSetError(f"{file} has no group for {inside}")
        groups[index] = numbers[group]
    _require_sound(labelled, groups, file)
    return groups


def _read_groups(file: Path) -> dict[str, str]:
    try:
        with file.open(newline="", encoding="utf-8") as lines:
            rows = [row for row in csv.reader(lines) if row][1:]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise TrainingSetError(f"{file}: {error}") from error
    named: dict[str, str] = {}
    for row in rows:
        if len(row) != 2:
            raise TrainingSetError(f"{file}: a row has two columns, file and group, not {','.join(row)!r}")
        if named.setdefault(row[0], row[1]) != row[1]:
            raise TrainingSetError(f"{file}: {row[0]} is in two groups")
    return named


def _require_sound(labelled: LabelledSet, groups: NDArray[np.int64], file: Path) -> None:
    """Equal pictures in two groups would be on both sides of a split; a handful of groups splits into nothing."""
    group_of: dict[str, int] = {}
    for index in labelled.good.tolist():
        sha256 = labelled.pictures.pictures[index].sha256
        if group_of.setdefault(sha256, int(groups[index])) != groups[index]:
            raise TrainingSetError(f"{file}: {labelled.path(index)} has the bytes of a picture of another group")
    count = len(np.unique(groups[labelled.good]))
    if count < LEAST_GROUPS:
        raise TrainingSetError(f"{file} has {count} groups of pictures, at least {LEAST_GROUPS} are needed to split by")
