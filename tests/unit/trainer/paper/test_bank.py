from pathlib import Path

import numpy as np
import pytest
import torch

from infra.errors import TrainingSetError
from scorer.detector import Extractor, Views, extract, load_extractor, prepare
from trainer.images import DrawnPicture, PictureSet, drawn_pictures
from trainer.paper import bank as bank_module
from trainer.paper.bank import FeatureBank, Photometry, normalised
from trainer.paper.store import ArrayStore


@pytest.fixture(scope="module")
def pictures(part) -> PictureSet:  # type: ignore[no-untyped-def]
    return drawn_pictures([part(index) for index in range(3)])


class Counting:
    """Counts the views that an extractor is asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.views = 0
        monkeypatch.setattr(bank_module, "extract", self)

    def __call__(self, extractor: Extractor, prepared: torch.Tensor, views: Views) -> object:
        self.views += len(views)
        return extract(extractor, prepared, views)


def bank(pictures: PictureSet, extractor: Extractor, folder: Path, **more: Photometry) -> FeatureBank:
    return FeatureBank(pictures, extractor, ArrayStore(folder), torch.device("cpu"), **more)


def test_the_first_view_is_the_picture_as_it_is(pictures: PictureSet, extractor: Extractor, tmp_path: Path) -> None:
    features = bank(pictures, extractor, tmp_path).features([2, 0], 2)
    assert features.shape == (2, 2, 768)
    assert not torch.allclose(features[:, 0], features[:, 1], rtol=1e-3)
    with torch.inference_mode():
        upright = extractor(prepare([pictures.pictures[2].load(), pictures.pictures[0].load()]).float() / 255)
    torch.testing.assert_close(features[:, 0], upright)


def test_an_interrupted_bank_goes_on_and_more_views_begin_with_the_known_ones(
    pictures: PictureSet, extractor: Extractor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counting = Counting(monkeypatch)
    first = bank(pictures, extractor, tmp_path).features([0, 1], 2)
    assert counting.views == 4
    again = bank(pictures, extractor, tmp_path)
    assert torch.equal(again.features([0, 1], 2), first)
    assert counting.views == 4  # nothing twice
    longer = again.features([0, 1, 2], 3)
    assert counting.views == 4 + 1 + 1 + 3
    assert torch.equal(longer[:2, :2], first)
    torch.testing.assert_close(longer, bank(pictures, extractor, tmp_path / "fresh").features([0, 1, 2], 3))


def test_features_of_other_weights_or_photometry_are_not_used(
    pictures: PictureSet, extractor: Extractor, tmp_path: Path
) -> None:
    own = bank(pictures, extractor, tmp_path).features([0], 1)
    other = load_extractor("random", seed=1)
    assert not torch.equal(bank(pictures, other, tmp_path).features([0], 1), own)
    lit = bank(pictures, extractor, tmp_path, photometry=Photometry.NORMALISED).features([0], 1)
    assert not torch.equal(lit, own)
    assert torch.equal(bank(pictures, extractor, tmp_path).features([0], 1), own)


def test_half_a_file_is_no_array(tmp_path: Path) -> None:
    store, key = ArrayStore(tmp_path / "kept"), {"what": "test"}
    assert store.read(key) is None
    store.write(key, np.arange(1000.0))
    (file,) = (tmp_path / "kept").rglob("*.npy")
    file.write_bytes(file.read_bytes()[:500])
    assert store.read(key) is None
    store.write(key, np.arange(3.0))
    assert store.read(key) is not None
    assert [path.name for path in (tmp_path / "kept").rglob("*") if path.is_file()] == [file.name]


def test_a_store_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("a file where the folder should be")
    with pytest.raises(TrainingSetError, match="cannot keep what was computed"):
        ArrayStore(tmp_path / "kept").write({}, np.zeros(1))


def test_features_that_are_not_finite_are_refused_and_not_kept(pictures: PictureSet, tmp_path: Path) -> None:
    broken = load_extractor("random", seed=2)
    with torch.no_grad():
        next(broken.convolutions.parameters()).fill_(float("nan"))
    with pytest.raises(TrainingSetError, match="features are not finite"):
        bank(pictures, broken, tmp_path).features([0], 1)
    assert not list(tmp_path.rglob("*.npy"))


def test_normalised_pictures_have_one_grey_and_one_deviation() -> None:
    rng = np.random.default_rng(0)
    dark = rng.normal(60, 8, (40, 40, 3)).clip(0, 255).astype(np.uint8)
    picture = normalised(dark)
    assert abs(picture.mean() - 128) < 1
    assert abs(picture.std() - 40) < 1
    assert (normalised(np.full((4, 4, 3), 9, np.uint8)) == 128).all()
    assert DrawnPicture(dark).load() is dark
