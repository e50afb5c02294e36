import threading
from pathlib import Path

import pytest

from infra.errors import SettingsError
from ingest.dataset import write_dataset
from ingest.sources.simulator import GOOD, SimulatedCamera


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_training_pictures_go_to_train_good(tmp_path: Path) -> None:
    camera = SimulatedCamera("plate", defect_rate=0, frames=3)
    counts = write_dataset(camera, tmp_path, training=True, stop=threading.Event())
    assert names(tmp_path) == [f"train/good/00000{index}.jpg" for index in range(3)]
    assert counts == {GOOD: 3}


def test_test_pictures_go_to_their_kind_with_the_bytes_that_would_be_sent(tmp_path: Path) -> None:
    camera = SimulatedCamera("plate", seed=4, defect_rate=0.6, frames=12)
    counts = write_dataset(camera, tmp_path, training=False, stop=threading.Event())
    assert names(tmp_path) == sorted(f"test/{camera.truth(index)}/{index:06d}.jpg" for index in range(12))
    assert len(counts) > 2
    for index, picture in enumerate(camera):
        assert (tmp_path / "test" / camera.truth(index) / f"{index:06d}.jpg").read_bytes() == picture.body


def test_two_sets_are_not_mixed_in_one_folder(tmp_path: Path) -> None:
    stop = threading.Event()
    write_dataset(SimulatedCamera("plate", seed=1, defect_rate=0, frames=1), tmp_path, training=True, stop=stop)
    write_dataset(SimulatedCamera("plate", seed=2, defect_rate=1, frames=1), tmp_path, training=False, stop=stop)
    with pytest.raises(SettingsError, match="holds other pictures"):
        write_dataset(SimulatedCamera("plate", seed=3, defect_rate=0, frames=1), tmp_path, training=True, stop=stop)


@pytest.mark.parametrize("rate", [0.0, 0.5])
def test_a_set_that_was_interrupted_can_be_written_again(tmp_path: Path, rate: float) -> None:
    for frames in (2, 5):
        camera = SimulatedCamera("plate", seed=1, defect_rate=rate, frames=frames)
        write_dataset(camera, tmp_path, training=rate == 0, stop=threading.Event())
    assert len(names(tmp_path)) == 5


def test_a_target_that_is_a_file_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("x")
    camera = SimulatedCamera("plate", frames=1)
    with pytest.raises(SettingsError, match="cannot write"):
        write_dataset(camera, tmp_path / "taken", training=False, stop=threading.Event())


def test_a_request_to_stop_ends_the_writing(tmp_path: Path) -> None:
    stop = threading.Event()
    stop.set()
    assert write_dataset(SimulatedCamera("plate"), tmp_path, training=False, stop=stop).total() == 0
