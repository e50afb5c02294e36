"""Which pictures show the same part, or are of the same run or camera: read from a CSV."""

import csv
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from infra.errors import TrainingSetError
from trainer.images import Picture, PictureSet, StoredPicture

LEAST_GROUPS = 10


def read_groups(file: Path, folder: Path, pictures: Sequence[StoredPicture]) -> NDArray[np.int64]:
    """Read the group of each picture.

    Args:
        file: CSV with a header and two columns, file and group; a file is named by itself or by its path in `folder`.
        folder: Where the pictures lie.
        pictures: N pictures.

    Returns:
        (N,) int64.

    Raises:
        TrainingSetError: No such file, a picture without a group, equal pictures in two groups, or fewer than 10 groups.
    """
    names = _names_of(file, folder, pictures, "group")
    numbers = {name: number for number, name in enumerate(sorted(set(names)))}
    groups = np.array([numbers[name] for name in names], dtype=np.int64)
    _require_sound(pictures, groups, file)
    return groups


def read_cameras(file: Path, folder: Path, pictures: Sequence[StoredPicture]) -> NDArray[np.str_]:
    """Read the camera of each picture.

    Args:
        file: CSV with a header and two columns, file and camera; a file is named by itself or by its path in `folder`.
        folder: Where the pictures lie.
        pictures: N pictures.

    Returns:
        (N,) names.

    Raises:
        TrainingSetError: No such file, or a picture without a camera.
    """
    return np.array(_names_of(file, folder, pictures, "camera"))


def with_runs(pictures: PictureSet, file: Path, folder: Path) -> PictureSet:
    """Say of which part, or production run, each picture is: those of one are never on both sides of a split.

    Args:
        pictures: Of files below `folder`.
        file: CSV with a header and two columns, file and part or run; a file is named by itself or by its path in `folder`.
        folder: Where the pictures lie.

    Raises:
        TrainingSetError: No such file, or a picture that it does not name.
    """
    named = read_names(file)
    found: list[Picture] = []
    for picture in pictures.pictures:
        assert isinstance(picture, StoredPicture)  # noqa: S101 - the pictures of a folder are
        inside = picture.path.relative_to(folder).as_posix()
        run = named.get(inside, named.get(picture.path.name))
        if run is None:
            raise TrainingSetError(f"{file} does not say of which part or run {inside} is")
        found.append(replace(picture, run=run))
    return PictureSet(tuple(found), pictures.skipped)


def read_names(file: Path) -> dict[str, str]:
    """Read a CSV with a header and two columns, file and group.

    Raises:
        TrainingSetError: No such file, not two columns, or a file in two groups.
    """
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


def _names_of(file: Path, folder: Path, pictures: Sequence[StoredPicture], what: str) -> list[str]:
    named = read_names(file)
    called = Counter(picture.path.name for picture in pictures)
    names = []
    for picture in pictures:
        inside, name = picture.path.relative_to(folder).as_posix(), picture.path.name
        if inside not in named and called[name] > 1:
            raise TrainingSetError(f"{file}: several pictures are called {name}; name them by their path")
        found = named.get(inside, named.get(name))
        if found is None:
            raise TrainingSetError(f"{file} has no {what} for {inside}")
        names.append(found)
    return names


def _require_sound(pictures: Sequence[StoredPicture], groups: NDArray[np.int64], file: Path) -> None:
    """Equal pictures in two groups would be on both sides of a split; a handful of groups splits into nothing."""
    group_of: dict[str, int] = {}
    for picture, group in zip(pictures, groups.tolist(), strict=True):
        if group_of.setdefault(picture.sha256, group) != group:
            raise TrainingSetError(f"{file}: {picture.path} has the bytes of a picture of another group")
    count = len(np.unique(groups))
    if count < LEAST_GROUPS:
        raise TrainingSetError(f"{file} has {count} groups of pictures, at least {LEAST_GROUPS} are needed to split by")
