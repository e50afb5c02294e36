from pathlib import Path

import numpy as np
import pytest

from infra.errors import TrainingSetError
from infra.pictures import encode_png
from trainer.groups import read_cameras, with_runs
from trainer.images import PictureSet, StoredPicture, read_folder


@pytest.fixture
def pictures(tmp_path: Path) -> PictureSet:
    for index, name in enumerate(("a/1.png", "a/2.png", "b/1.png")):
        path = tmp_path / "good" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_png(np.full((8, 8, 3), 60 + index, np.uint8)))
    return read_folder(tmp_path / "good")


def named(tmp_path: Path, *rows: str) -> Path:
    file = tmp_path / "parts.csv"
    file.write_text("\n".join(["file,part", *rows]))
    return file


def test_pictures_are_named_by_themselves_or_by_their_path(pictures: PictureSet, tmp_path: Path) -> None:
    file = named(tmp_path, "a/1.png,one", "b/1.png,two", "2.png,one")
    found = with_runs(pictures, file, tmp_path / "good")
    assert found.runs == ["one", "one", "two"]
    assert [picture.sha256 for picture in found.pictures] == [picture.sha256 for picture in pictures.pictures]


def test_a_picture_that_nobody_named_is_one_clear_line(pictures: PictureSet, tmp_path: Path) -> None:
    with pytest.raises(TrainingSetError, match=r"does not say of which part or run b/1\.png is"):
        with_runs(pictures, named(tmp_path, "a/1.png,one", "2.png,one"), tmp_path / "good")
    with pytest.raises(TrainingSetError, match=r"none\.csv"):
        with_runs(pictures, tmp_path / "none.csv", tmp_path / "good")
    with pytest.raises(TrainingSetError, match="two columns"):
        with_runs(pictures, named(tmp_path, "a/1.png"), tmp_path / "good")


def test_every_picture_has_a_camera(pictures: PictureSet, tmp_path: Path) -> None:
    stored = [picture for picture in pictures.pictures if isinstance(picture, StoredPicture)]
    file = named(tmp_path, "a/1.png,one", "b/1.png,two", "2.png,one")
    assert read_cameras(file, tmp_path / "good", stored).tolist() == ["one", "one", "two"]
    with pytest.raises(TrainingSetError, match=r"has no camera for a/2\.png"):
        read_cameras(named(tmp_path, "a/1.png,one", "b/1.png,two"), tmp_path / "good", stored)
    with pytest.raises(TrainingSetError, match=r"several pictures are called 1\.png"):
        read_cameras(named(tmp_path, "1.png,one", "2.png,one"), tmp_path / "good", stored)
