import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from infra.errors import TrainingSetError
from infra.pictures import RgbPicture, encode_jpeg, encode_png
from trainer.images import PictureSet, drawn_pictures, read_folder, require_enough
from trainer.progress import Stage

Draw = Callable[[int], RgbPicture]


def test_pictures_are_found_at_any_depth_in_the_order_of_their_paths(part: Draw, tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "one.PNG").write_bytes(encode_png(part(1)))
    (tmp_path / "c.jpeg").write_bytes(encode_jpeg(part(2)))
    (tmp_path / "a.jpg").write_bytes(encode_jpeg(part(3)))
    (tmp_path / "notes.txt").write_text("not a picture, and not looked at")
    found = read_folder(tmp_path)
    assert [picture.path.name for picture in found.pictures] == ["a.jpg", "one.PNG", "c.jpeg"]  # type: ignore[attr-defined]
    assert found.skipped == ()
    assert found.pictures[1].sha256 == hashlib.sha256(encode_png(part(1))).hexdigest()
    assert (found.pictures[1].load() == part(1)).all()


def test_bad_pictures_are_skipped_by_name_with_the_reason(part: Draw, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encode_png(part(1)))
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "text.jpg").write_text("hello")
    (tmp_path / "cut.jpg").write_bytes(encode_jpeg(part(2))[:-200])
    (tmp_path / "large.png").write_bytes(encode_png(np.zeros((200, 200, 3), np.uint8)))
    found = read_folder(tmp_path, max_pixels=64 * 64)
    assert len(found) == 1
    reasons = {skipped.path.name: skipped.reason.split(":")[0] for skipped in found.skipped}
    assert reasons == {
        "cut.jpg": "broken_image",
        "empty.jpg": "empty_body",
        "large.png": "too_many_pixels",
        "text.jpg": "not_an_image",
    }


def test_equal_files_are_learned_from_once(part: Draw, tmp_path: Path) -> None:
    for name in ("a.png", "b.png", "c.png"):
        (tmp_path / name).write_bytes(encode_png(part(1 if name != "c.png" else 2)))
    found = read_folder(tmp_path)
    assert len(found) == 2
    assert [(skipped.path.name, skipped.reason) for skipped in found.skipped] == [
        ("b.png", f"the same bytes as {tmp_path / 'a.png'}")
    ]
    assert len(read_folder(tmp_path, drop_equal=False)) == 3


def test_a_folder_without_pictures_and_no_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingSetError, match="no JPEG or PNG"):
        read_folder(tmp_path)
    with pytest.raises(TrainingSetError, match="not a folder"):
        read_folder(tmp_path / "nowhere")


def test_fewer_than_16_usable_pictures_are_refused_with_the_reason(part: Draw, tmp_path: Path) -> None:
    for index in range(16):
        (tmp_path / f"{index}.png").write_bytes(encode_png(part(index)) if index else b"")
    with pytest.raises(TrainingSetError, match=r"15 usable pictures, at least 16 .* 1 skipped, first .*0\.png"):
        require_enough(read_folder(tmp_path), "here")
    require_enough(drawn_pictures([part(index) for index in range(16)]), "here")


def test_a_file_that_changes_meanwhile_is_refused(part: Draw, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encode_png(part(1)))
    found = read_folder(tmp_path)
    (tmp_path / "a.png").write_bytes(encode_png(part(2)))
    with pytest.raises(TrainingSetError, match="changed"):
        found.pictures[0].load()
    (tmp_path / "a.png").unlink()
    with pytest.raises(TrainingSetError, match="No such file"):
        found.pictures[0].load()


def test_chunks_cover_the_set_in_order(part: Draw) -> None:
    pictures = drawn_pictures([part(index) for index in range(5)])
    chunks = list(pictures.chunks(2))
    assert [len(chunk) for chunk in chunks] == [2, 2, 1]
    assert (chunks[2][0] == part(4)).all()
    assert list(PictureSet(()).chunks(2)) == []
    assert pictures.subset([3, 0]).pictures[0].sha256 == pictures.pictures[3].sha256
    assert len({picture.sha256 for picture in pictures.pictures}) == 5


def test_progress_is_told(part: Draw, tmp_path: Path, told) -> None:  # type: ignore[no-untyped-def]
    for index in range(3):
        (tmp_path / f"{index}.png").write_bytes(encode_png(part(index)))
    read_folder(tmp_path, progress=told)
    assert told.calls == [(Stage.SCAN, done, 3) for done in range(4)]
