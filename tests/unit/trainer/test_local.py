from dataclasses import replace

import numpy as np
import pytest
import torch

from infra.errors import TrainingSetError
from scorer.detector import CELLS, Extractor, LocalModel, load_extractor, local_features, local_scores, prepare
from trainer import local as local_module
from trainer.images import PictureSet, drawn_pictures
from trainer.local import fit_local
from trainer.presets import LocalRecipe, Preset
from trainer.progress import Stage
from trainer.synthetic import with_turned
from trainer.training import TrainingRun

QUICK = LocalRecipe(pictures=10, few=1, twins=20, cells=3000, steps=60, defective=64, clean=192)


@pytest.fixture(scope="module")
def run(tiny: Preset) -> TrainingRun:
    return TrainingRun(tiny, load_extractor("bundled"), 3, torch.device("cpu"))


@pytest.fixture(scope="module")
def pictures(part) -> PictureSet:  # type: ignore[no-untyped-def]
    return drawn_pictures([part(index) for index in range(12)])


@pytest.fixture(scope="module")
def model(run: TrainingRun, pictures: PictureSet) -> LocalModel:
    return fit_local(run, QUICK, pictures)


def test_both_scores_tell_a_defect_from_a_new_good_part(model: LocalModel, run: TrainingRun, part) -> None:  # type: ignore[no-untyped-def]
    parts = [part(seed, seed >= 104) for seed in range(100, 108)]
    with torch.inference_mode():
        maps = model(local_features(run.extractor, prepare(parts)))
    scores = local_scores(*maps).numpy()
    assert (scores[4:].min(axis=0) > scores[:4].max(axis=0)).all()


def test_what_is_usual_is_learned_at_each_place(model: LocalModel, run: TrainingRun, pictures: PictureSet) -> None:
    with torch.inference_mode():
        known = prepare([picture.load() for picture in pictures.pictures])
        unlike, _ = model(local_features(run.extractor, known))
    assert abs(unlike.mean().item()) < 0.2
    assert 0.5 < unlike.std().item() < 1.5
    assert model.usual.shape == (CELLS, CELLS)
    assert model.usual.std() > 0


def test_the_same_seed_gives_the_same_model(model: LocalModel, run: TrainingRun, pictures: PictureSet) -> None:
    again = fit_local(run, QUICK, pictures).state_dict()
    other = fit_local(replace(run, seed=4), QUICK, pictures).state_dict()
    assert all(torch.equal(value, again[name]) for name, value in model.state_dict().items())
    assert not torch.equal(model.state_dict()["head.0.weight"], other["head.0.weight"])


def test_twins_are_bounded_and_progress_is_told(run: TrainingRun, pictures: PictureSet, told) -> None:  # type: ignore[no-untyped-def]
    assert [LocalRecipe().rounds(count) for count in (9, 60, 400, 5000)] == [20, 10, 2, 2]
    fit_local(replace(run, progress=told), QUICK, pictures)
    assert {stage for stage, done, total in told.calls if done == total} == {Stage.LOCAL, Stage.DEFECT_MAP}
    assert max(total for stage, _, total in told.calls if stage is Stage.LOCAL) == 20


def test_pictures_on_which_no_defect_can_be_seen_are_refused(
    run: TrainingRun, pictures: PictureSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_module, "with_defects", lambda part, *_: (part, np.zeros((len(part), 448, 448), bool)))
    with pytest.raises(TrainingSetError, match="no synthetic defect can be seen"):
        fit_local(run, QUICK, pictures)


def test_a_loss_that_is_no_number_is_one_clear_line(run: TrainingRun, pictures: PictureSet) -> None:
    with pytest.raises(TrainingSetError, match="the loss of the defect map is nan"):
        fit_local(run, replace(QUICK, learning_rate=float("inf")), pictures)


def test_weights_of_any_extractor_will_do(run: TrainingRun, pictures: PictureSet, extractor: Extractor) -> None:
    fitted = fit_local(replace(run, extractor=extractor), QUICK, pictures)
    assert all(torch.isfinite(value).all() for value in fitted.state_dict().values())


def test_few_pictures_are_turned_and_mirrored_as_well_and_many_are_not() -> None:
    rng = np.random.default_rng(3)
    few = drawn_pictures([rng.integers(0, 256, (448, 448, 3), dtype=np.uint8) for _ in range(3)])
    together = with_turned(few, 64)
    assert len(together) == 8 * 3
    assert together.pictures[:3] == few.pictures
    assert len({picture.sha256 for picture in together.pictures}) == 8 * 3
    quarter = np.rot90(few.pictures[0].load())
    assert any(np.array_equal(picture.load(), quarter) for picture in together.pictures)
    some = drawn_pictures([few.pictures[0].load()[:8, :8]] * 40)
    assert len(with_turned(some, 64)) == 80
    many = drawn_pictures([few.pictures[0].load()[:8, :8]] * 64)
    assert with_turned(many, 64) is many
