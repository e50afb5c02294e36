"""The pictures of a report: all in one list, with class, folder, group and mask of each."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from infra.errors import BadFrameError, TrainingSetError
from infra.pictures import decode
from trainer.evaluate import GOOD, read_test
from trainer.groups import read_groups
from trainer.images import MAX_PIXELS, PictureSet, StoredPicture, read_folder, require_enough
from trainer.progress import Progress, silent


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
        return self.stored(index).path

    def stored(self, index: int) -> StoredPicture:
        """A picture, as it was found."""
        picture = self.pictures.pictures[index]
        if not isinstance(picture, StoredPicture):
            raise TypeError("a labelled set is read from files")
        return picture

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
    groups = np.full(len(labelled.pictures), -1, dtype=np.int64)
    good = labelled.good.tolist()
    groups[good] = read_groups(file, labelled.folder, [labelled.stored(index) for index in good])
    return groups
