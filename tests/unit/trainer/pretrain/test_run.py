import itertools
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from infra.errors import PretrainingError
from trainer.pretrain import run as run_module
from trainer.pretrain.bank import Bank
from trainer.pretrain.checkpoints import RunState, read_state
from trainer.pretrain.recipe import Recipe
from trainer.pretrain.reports import SILENT, Losses
from trainer.pretrain.run import Budget, PretrainingRun, learning_rate


def budget(seconds: float) -> Budget:
    """A second for each step, and a checkpoint after each."""
    return Budget(seconds, clock=itertools.count().__next__, checkpoint_every_s=1, tell_every_s=1)


def start(folder: Path, bank: Bank, recipe: Recipe, seed: int = 0) -> PretrainingRun:
    return PretrainingRun(folder, bank, recipe, seed, torch.device("cpu"))


class KilledAt:
    """A report that ends the run as a signal would."""

    def __init__(self, step: int) -> None:
        self._step = step
        self.losses: list[Losses] = []

    def drawn(self, done: int, total: int) -> None:
        """Nothing is drawn here."""

    def trained(self, state: RunState, seconds: float, losses: Losses, pictures_per_s: float) -> None:  # noqa: ARG002
        self.losses.append(losses)
        if state.step == self._step:
            raise KeyboardInterrupt


def test_a_killed_run_goes_on_as_if_nothing_had_happened(bank: Bank, recipe: Recipe, tmp_path: Path) -> None:
    whole = start(tmp_path / "whole", bank, recipe) if (tmp_path / "whole").mkdir() is None else None
    assert whole is not None
    whole.train(budget(4), SILENT)

    (tmp_path / "killed").mkdir()
    with pytest.raises(KeyboardInterrupt):
        start(tmp_path / "killed", bank, recipe).train(budget(4), KilledAt(3))
    kept = read_state(tmp_path / "killed")
    assert kept is not None
    assert (kept.step, kept.spent_s) == (2, 2)  # step 3 was made and lost
    resumed = start(tmp_path / "killed", bank, recipe)
    resumed.train(budget(4), SILENT)

    assert resumed.state == whole.state
    assert whole.state.step == 4
    for name, value in whole.network.state_dict().items():
        torch.testing.assert_close(resumed.network.state_dict()[name], value, rtol=0, atol=0, msg=name)


def test_training_changes_the_weights_and_tells_four_losses(bank: Bank, recipe: Recipe, tmp_path: Path) -> None:
    run = start(tmp_path, bank, recipe)
    before = {name: value.clone() for name, value in run.network.named_parameters()}
    report = KilledAt(step=99)
    run.train(budget(2), report)
    assert all((value != before[name]).any() for name, value in run.network.named_parameters())
    assert [str(losses).count(".") for losses in report.losses] == [4, 4]
    assert run.state.pictures == 4 * recipe.programs(0) + 4 * recipe.programs(1)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (RuntimeError("CUDA error: device-side\nassert"), "CUDA error: device-side assert"),
        (OSError(28, "No space left on device"), "No space left on device"),
    ],
)
def test_what_ends_a_run_is_said_in_one_line_with_what_is_kept(  # noqa: PLR0917 - pytest's fixtures
    error: Exception, said: str, bank: Bank, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = start(tmp_path, bank, recipe)
    monkeypatch.setattr(run_module, "picture_loss", fails_after(2, run_module.picture_loss, error))
    with pytest.raises(PretrainingError) as stopped:
        run.train(budget(9), SILENT)
    assert "\n" not in str(stopped.value)
    assert said in str(stopped.value)
    assert "the checkpoint of step 2 is kept" in str(stopped.value)
    assert start(tmp_path, bank, recipe).state.step == 2


def test_nan_stops_at_once_and_the_last_good_checkpoint_stays(
    bank: Bank, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = start(tmp_path, bank, recipe)
    monkeypatch.setattr(run_module, "novelty_loss", fails_after(1, run_module.novelty_loss, torch.tensor(torch.nan)))
    with pytest.raises(PretrainingError, match="the loss is not a number; the checkpoint of step 1 is kept"):
        run.train(budget(9), SILENT)
    kept = start(tmp_path, bank, recipe)
    assert kept.state.step == 1
    assert all(torch.isfinite(value).all() for value in kept.network.state_dict().values())


def test_another_recipe_or_seed_is_refused(bank: Bank, recipe: Recipe, tmp_path: Path) -> None:
    start(tmp_path, bank, recipe).train(budget(1), SILENT)
    with pytest.raises(PretrainingError, match="another recipe or seed"):
        start(tmp_path, bank, recipe, seed=1)
    with pytest.raises(PretrainingError, match="another recipe or seed"):
        start(tmp_path, bank, recipe.model_copy(update={"learning_rate": 0.5}))


def test_the_learning_rate_rises_and_falls_to_zero() -> None:
    rates = [learning_rate(Recipe(), spent) for spent in (0, 0.01, 0.02, 0.5, 1.0, 1.1)]
    assert rates[0] < rates[1] < rates[2] == Recipe().learning_rate > rates[3] > rates[4] == rates[5] == 0


def fails_after(calls: int, works: Callable[..., torch.Tensor], with_: Exception | torch.Tensor):  # type: ignore[no-untyped-def]
    counter = itertools.count()

    def loss(*arguments: object) -> torch.Tensor:
        if next(counter) < calls:
            return works(*arguments)
        if isinstance(with_, Exception):
            raise with_
        return with_

    return loss
