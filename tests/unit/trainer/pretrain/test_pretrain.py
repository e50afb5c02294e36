import io
import itertools
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from infra.errors import PretrainingError
from scorer.detector import load_extractor
from trainer.pretrain.bank import Bank
from trainer.pretrain.checkpoints import RunState
from trainer.pretrain.pretrain import WEIGHTS_FILE, half_precision, pretrain
from trainer.pretrain.recipe import Recipe
from trainer.pretrain.reports import Lines, Losses
from trainer.pretrain.run import Budget


@pytest.fixture
def folder(bank: Bank, tmp_path: Path) -> Path:
    """A folder whose bank is drawn already."""
    (tmp_path / "bank-0").mkdir()
    for number, file in enumerate(bank.files):
        np.save(tmp_path / "bank-0" / f"{number:04}.npy", file)
    return tmp_path


def budget(seconds: float) -> Budget:
    return Budget(seconds, clock=itertools.count().__next__)


def test_pretraining_leaves_weights_in_half_precision(folder: Path, recipe: Recipe) -> None:
    finished = pretrain(folder, budget(1), recipe=recipe)
    assert finished.path == folder / WEIGHTS_FILE
    assert finished.state.step == 1
    assert finished.path.stat().st_size < 6 * 2**20
    weights = safetensors.torch.load(finished.path.read_bytes())
    assert {value.dtype for value in weights.values()} == {torch.float16}


def test_a_run_is_only_continued_when_asked(folder: Path, recipe: Recipe) -> None:
    pretrain(folder, budget(1), recipe=recipe)
    with pytest.raises(PretrainingError, match="go on with --resume"):
        pretrain(folder, budget(2), recipe=recipe)
    assert pretrain(folder, budget(2), recipe=recipe, resume=True).state.step == 2


def test_a_place_that_cannot_be_written_is_one_clear_line(folder: Path, recipe: Recipe) -> None:
    with pytest.raises(PretrainingError, match=r"pretraining stopped: .*No such file"):
        pretrain(folder, budget(1), recipe=recipe, out=folder / "nowhere" / "weights.safetensors")


def test_weights_beyond_half_precision_are_refused() -> None:
    with pytest.raises(PretrainingError, match=r"0\.weight is not finite in half precision"):
        half_precision({"0.weight": torch.tensor([1e6])})


def test_lines_tell_how_far_it_is() -> None:
    told = io.StringIO()
    lines = Lines(told)
    for done in range(41):
        lines.drawn(done, 40)
    lines.trained(RunState(recipe=Recipe(), seed=0, step=7, pictures=700, spent_s=90), 600, Losses(1, 2, 3, 4), 55.5)
    written = told.getvalue().splitlines()
    assert len(written) == 22
    assert written[-2:] == [
        "drawing pictures: 40 of 40 files",
        "minute 1.5 of 10: step 7, 700 pictures, 56 a second; classes 1.000, picture 2.000, positions 3.000, novelty 4.000",
    ]


def test_the_detector_loads_what_was_pretrained(folder: Path, recipe: Recipe) -> None:
    path = pretrain(folder, budget(1), recipe=recipe).path
    extractor = load_extractor(str(path))
    assert torch.isfinite(extractor(torch.rand(1, 3, 448, 448))).all()
