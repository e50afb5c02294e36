from dataclasses import replace
from itertools import count

import numpy as np
import pytest
import torch

from infra.errors import SettingsError, TrainingSetError
from scorer.detector import ADAPTED, load_extractor
from trainer import adaptation
from trainer.adaptation import AdaptationBudget, adapt, minutes_of_adaptation
from trainer.images import PictureSet, drawn_pictures
from trainer.presets import Preset
from trainer.progress import Stage
from trainer.training import TrainingRun


@pytest.fixture
def run(tiny: Preset) -> TrainingRun:
    return TrainingRun(tiny, load_extractor("bundled"), 3, torch.device("cpu"))


@pytest.fixture(scope="module")
def pictures(part) -> PictureSet:  # type: ignore[no-untyped-def]
    return drawn_pictures([part(index) for index in range(6)])


def ticks(step: float = 1.0) -> AdaptationBudget:
    """Six looks at the clock."""
    return AdaptationBudget(6.0, count(0.0, step).__next__)


def test_all_convolutions_are_tuned_and_rounded_to_what_is_kept(run: TrainingRun, pictures: PictureSet, told) -> None:  # type: ignore[no-untyped-def]
    before = run.extractor.sha256
    tuned = adapt(replace(run, progress=told), pictures, ticks())
    assert (tuned.name, run.extractor.sha256) == (ADAPTED, before)
    weights = tuned.convolutions.state_dict()
    for name, value in run.extractor.convolutions.state_dict().items():
        assert not torch.equal(value, weights[name])
        assert torch.equal(weights[name], weights[name].half().float())
    assert not any(weight.requires_grad for weight in tuned.parameters())
    assert told.calls[-1] == (Stage.ADAPT, 6, 6)
    assert told.details[-1] == "5 steps"


def test_half_of_the_crops_have_a_defect_that_is_marked(pictures: PictureSet) -> None:
    crops = adaptation._draw([*adaptation.squares(pictures)], 0, 4)
    assert crops.pictures.shape == (16, 224, 224, 3)
    assert not crops.changed[:8].any()
    assert np.count_nonzero(crops.changed[8:].any(axis=(1, 2))) >= 6


def test_a_loss_that_is_no_number_stops_it_with_one_line(
    run: TrainingRun, pictures: PictureSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adaptation, "_LEARNING_RATE", float("nan"))
    with pytest.raises(TrainingSetError, match=r"^adaptation stopped: .*not a number|not finite"):
        adapt(run, pictures, ticks())


def test_a_device_that_goes_away_stops_it_with_one_line(
    run: TrainingRun, pictures: PictureSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object) -> None:
        raise RuntimeError("CUDA error:\n device lost")

    monkeypatch.setattr(adaptation, "_step", gone)
    with pytest.raises(TrainingSetError, match="adaptation stopped: CUDA error: device lost"):
        adapt(run, pictures, ticks())


def test_minutes_are_read_and_nonsense_is_refused() -> None:
    assert [minutes_of_adaptation(text) for text in ("off", "0", "2.5")] == [0.0, 0.0, 2.5]
    assert minutes_of_adaptation("auto") > 0
    for text in ("much", "-1", "nan", "inf", "1e9"):
        with pytest.raises(SettingsError, match="--adapt takes"):
            minutes_of_adaptation(text)
