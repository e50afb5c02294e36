from pathlib import Path

import pytest

from infra.errors import TrainingSetError
from infra.pictures import encode_jpeg, encode_png
from trainer.bench.pictures import DRAWN_PX, BenchPictures, EncodedPicture, drawn, read


def test_drawn_pictures_are_encoded_and_the_same_each_time() -> None:
    pictures = drawn(2, 1, 1)
    assert (len(pictures.training), len(pictures.good), len(pictures.defective)) == (2, 1, 1)
    assert pictures.training[0].body.startswith(b"\xff\xd8")
    assert pictures.training[0].load().shape == (DRAWN_PX, DRAWN_PX, 3)
    assert drawn(2, 1, 1).training[1].sha256 == pictures.training[1].sha256


def test_a_folder_is_read_byte_for_byte_and_thinned_evenly(tmp_path: Path, part) -> None:  # type: ignore[no-untyped-def]
    for folder, count, first in (
        ("train/good", 20, 0),
        ("test/good", 4, 100),
        ("test/crack", 2, 200),
        ("test/dent", 2, 300),
    ):
        (tmp_path / folder).mkdir(parents=True)
        for number in range(count):
            encode = encode_png if number % 2 else encode_jpeg
            (tmp_path / folder / f"{number:02}.{'png' if number % 2 else 'jpg'}").write_bytes(
                encode(part(first + number))
            )
    pictures = read(tmp_path, 10, 100, 3)
    assert [len(each) for each in (pictures.training, pictures.good, pictures.defective)] == [10, 4, 3]
    assert pictures.training[1].body == (tmp_path / "train/good/02.jpg").read_bytes()
    assert pictures.defective[2].body == (tmp_path / "test/dent/00.jpg").read_bytes()
    assert len(pictures.training_set()) == 10
    assert len(pictures.training_set(3)) == 3


def test_a_folder_without_defects_is_refused(tmp_path: Path, part) -> None:  # type: ignore[no-untyped-def]
    for folder in ("train/good", "test/good"):
        (tmp_path / folder).mkdir(parents=True)
        for number in range(16):
            (tmp_path / folder / f"{number}.png").write_bytes(encode_png(part(number)))
    with pytest.raises(TrainingSetError, match="defective"):
        read(tmp_path, 16, 4, 4)


def test_a_stream_spreads_its_defective_pictures() -> None:
    good, bad = (EncodedPicture(b"g1"), EncodedPicture(b"g2")), (EncodedPicture(b"b"),)
    pictures = BenchPictures("some", (), good, bad)
    assert pictures.stream(6) == [b"g1", b"b", b"g2", b"b", b"g1", b"b"]
    assert pictures.stream(20, 0.05).count(b"b") == 1
    assert pictures.stream(3, 0.0) == [b"g1", b"g2", b"g1"]
