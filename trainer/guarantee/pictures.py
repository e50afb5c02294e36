"""Which defect-free pictures there are, and how they are dealt: learned from, calibrated on, tested on."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from infra.errors import TrainingSetError
from trainer.evaluate import GOOD
from trainer.groups import read_cameras, read_groups
from trainer.images import MAX_PIXELS, PictureSet, SkippedPicture, StoredPicture, read_folder, require_enough
from trainer.progress import Progress, silent

LEAST_OTHERS = 4  # pictures, or groups, that are left to calibrate and test on


@dataclass(frozen=True)
class GuaranteeOrder:
    """How much is measured.

    Attributes:
        rates: False-alarm rates that are asked for.
        splits: Random splits into calibration and test, over all fits.
        fits: Detectors that are fitted, each to other pictures; the splits are shared out among them.
        learned: Share of the pictures that each fit learns from.
        seed: Seed of all draws.
        mixed: Whether as many detectors more are calibrated on parts that they learned from, and tested on others.
    """

    rates: tuple[float, ...] = (0.1, 0.05, 0.01)
    splits: int = 200
    fits: int = 4
    learned: float = 0.5
    seed: int = 0
    mixed: bool = False


@dataclass(frozen=True)
class GoodPictures:
    """N defect-free pictures of one product.

    Attributes:
        name: What to call them.
        pictures: No two with the same bytes.
        groups: (N,) int64, which part or run a picture is of; None where that is not known.
        cameras: (N,) names of cameras; None where they are not known.
    """

    name: str
    pictures: PictureSet
    groups: NDArray[np.int64] | None = None
    cameras: NDArray[np.str_] | None = None


def read_good(
    folder: Path,
    groups: Path | None = None,
    max_pixels: int = MAX_PIXELS,
    progress: Progress = silent,
    *,
    cameras: Path | None = None,
) -> GoodPictures:
    """Read the pictures in the folders called `good` below a folder: `train/good` and `test/good`, or those of several runs.

    Args:
        folder: Where to look, at any depth.
        groups: CSV of file and group, as of `evaluate --groups`.
        max_pixels: Largest width x height that is decoded.
        progress: Told how far it is.
        cameras: CSV of file and camera.

    Raises:
        TrainingSetError: No folder of that name, too few pictures, or groups or cameras that do not fit them.
    """
    folders = sorted(path for path in folder.rglob(GOOD) if path.is_dir() and path.parent.name != "ground_truth")
    if not folders:
        raise TrainingSetError(f"{folder} has no folder called {GOOD} in it, such as train/{GOOD}")
    pictures: dict[str, StoredPicture] = {}
    skipped: list[SkippedPicture] = []
    for each in folders:
        here = read_folder(each, max_pixels, progress)
        skipped += here.skipped
        for picture in _stored(here):
            first = pictures.setdefault(picture.sha256, picture)
            if first.path != picture.path:
                skipped.append(SkippedPicture(picture.path, f"the same bytes as {first.path}"))
    good = PictureSet(tuple(pictures.values()), tuple(skipped))
    require_enough(good, str(folder))
    found = list(pictures.values())
    numbers = None if groups is None else read_groups(groups, folder, found)
    names = None if cameras is None else read_cameras(cameras, folder, found)
    return GoodPictures(folder.resolve().name, good, numbers, names)


def learned_from(good: GoodPictures, order: GuaranteeOrder, number: int) -> NDArray[np.bool_]:
    """Draw the pictures that a fit learns from: whole groups where they are known, as many as come nearest to the share.

    Returns:
        (N,) bool.

    Raises:
        TrainingSetError: Too few are learned from, or too few pictures or groups are left.
    """
    count = len(good.pictures)
    groups = np.arange(count) if good.groups is None else np.unique(good.groups, return_inverse=True)[1]
    sizes = np.bincount(groups)
    taken = _nearest(sizes, order.learned * count, np.random.default_rng([order.seed, number, 8]))
    learned = np.isin(groups, taken)
    require_enough(good.pictures.subset(np.flatnonzero(learned).tolist()), f"the part of {good.name} to learn from")
    if len(sizes) - len(taken) < LEAST_OTHERS:
        kind = "pictures" if good.groups is None else "groups"
        raise TrainingSetError(
            f"{len(sizes) - len(taken)} {kind} of {good.name} are left to calibrate and test on: {LEAST_OTHERS} are needed"
        )
    return learned


def mixed_with(good: GoodPictures, order: GuaranteeOrder, number: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Draw whole groups to test on, and of all other groups some pictures to learn from; the rest calibrates.

    Both sides get as many pictures as in a split of what `learned_from` leaves.

    Returns:
        (N,) bool, learned from; (N,) bool, tested on.

    Raises:
        TrainingSetError: No groups, or too few pictures.
    """
    if good.groups is None:
        raise TrainingSetError(f"no groups of {good.name}: which pictures show the same part is not known")
    count, rng = len(good.pictures), np.random.default_rng([order.seed, number, 10])
    numbers = np.unique(good.groups, return_inverse=True)[1]
    tested = np.isin(numbers, _nearest(np.bincount(numbers), (1 - order.learned) / 2 * count, rng))
    learned = np.zeros(count, bool)
    learned[rng.permutation(np.flatnonzero(~tested))[: round(order.learned * count)]] = True
    require_enough(good.pictures.subset(np.flatnonzero(learned).tolist()), f"the part of {good.name} to learn from")
    if (learned | tested).all():
        raise TrainingSetError(f"no picture of {good.name} is left to calibrate on")
    return learned, tested


def _nearest(sizes: NDArray[np.int64], wanted: float, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw groups until their pictures are as near to the wanted number as they get."""
    drawn = rng.permutation(len(sizes))
    return drawn[: 1 + int(np.argmin(np.abs(np.cumsum(sizes[drawn]) - wanted)))]


def _stored(found: PictureSet) -> Iterator[StoredPicture]:
    for picture in found.pictures:
        if isinstance(picture, StoredPicture):
            yield picture
