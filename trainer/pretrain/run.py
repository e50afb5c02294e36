"""A pretraining run: steps over episodes until the time is spent, with checkpoints that it can be continued from."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from infra.errors import PretrainingError
from scorer.detector import has_fast_bfloat16
from trainer.pretrain.bank import Bank
from trainer.pretrain.checkpoints import RunState, read_state, read_weights, write_checkpoint
from trainer.pretrain.episodes import Episodes, episodes_ahead
from trainer.pretrain.network import PretrainingNetwork
from trainer.pretrain.objectives import class_loss, novelty_loss, picture_loss, position_loss
from trainer.pretrain.recipe import Recipe
from trainer.pretrain.reports import Losses, Report

_MAX_GRADIENT = 5.0
CHECKPOINT_EVERY_S = 120.0
TELL_EVERY_S = 15.0


@dataclass(frozen=True)
class Budget:
    """How long a run may take, and by which clock.

    Attributes:
        seconds: Seconds of training in all, over all continuations.
        clock: Seconds that only ever grow.
        checkpoint_every_s: Seconds between checkpoints.
        tell_every_s: Seconds between reports.
    """

    seconds: float
    clock: Callable[[], float] = time.monotonic
    checkpoint_every_s: float = CHECKPOINT_EVERY_S
    tell_every_s: float = TELL_EVERY_S


class PretrainingRun:
    """Network, optimiser and state of a run in a folder."""

    def __init__(self, folder: Path, bank: Bank, recipe: Recipe, seed: int, device: torch.device) -> None:
        """Begin a run, or take up the one whose checkpoint lies in the folder.

        Raises:
            PretrainingError: The checkpoint cannot be read, or is of another recipe or seed.
        """
        self._folder = folder
        self._bank = bank
        self._device = device
        self.state = read_state(folder) or RunState(recipe=recipe, seed=seed)
        if (self.state.recipe, self.state.seed) != (recipe, seed):
            raise PretrainingError(f"the checkpoint in {folder} is of another recipe or seed")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.network = PretrainingNetwork(bank.programs).to(device).to(memory_format=torch.channels_last)
        self._optimiser = torch.optim.AdamW(
            self.network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay
        )
        if self.state.step:
            read_weights(folder, self.network, self._optimiser)

    def train(self, budget: Budget, report: Report) -> None:
        """Make steps until the time is spent, then write the last checkpoint.

        Raises:
            PretrainingError: The loss is not a number, the disk is full, or the device went away. The last good checkpoint
                stays and is named.
        """
        good_step = self.state.step
        try:
            for _ in self._checkpoints(budget, report):
                write_checkpoint(self._folder, self.state, self.network, self._optimiser)
                good_step = self.state.step
        except (PretrainingError, OSError, RuntimeError) as error:
            reason = " ".join(str(error).split())
            kept = f"the checkpoint of step {good_step} is kept" if good_step else "there is no checkpoint yet"
            raise PretrainingError(f"pretraining stopped at step {self.state.step}: {reason}; {kept}") from error

    def _checkpoints(self, budget: Budget, report: Report) -> Iterator[None]:
        """Make steps; yield whenever a checkpoint is due, at the end too."""
        state = self.state
        self.network.train()
        last_tell = last_write = spent_until = budget.clock()
        sums, steps, pictures = torch.zeros(4), 0, 0
        with closing(episodes_ahead(self._bank, state.recipe, state.seed, state.step)) as ahead:
            while state.spent_s < budget.seconds:
                episodes = next(ahead)
                sums += self._step(episodes, state.spent_s / budget.seconds)
                now = budget.clock()
                state.step += 1
                looked_at = episodes.pictures.shape[0] * episodes.pictures.shape[1]
                state.pictures += looked_at
                state.spent_s += now - spent_until
                spent_until, steps, pictures = now, steps + 1, pictures + looked_at
                if now - last_tell >= budget.tell_every_s:
                    report.trained(
                        state, budget.seconds, Losses(*(sums / steps).tolist()), pictures / (now - last_tell)
                    )
                    sums, steps, pictures, last_tell = torch.zeros(4), 0, 0, now
                if now - last_write >= budget.checkpoint_every_s:
                    yield
                    last_write = now
        yield

    def _step(self, episodes: Episodes, spent: float) -> Tensor:
        """Make a step and return its four losses, unweighted."""
        recipe, device = self.state.recipe, self._device
        for group in self._optimiser.param_groups:
            group["lr"] = learning_rate(recipe, spent)
        programs, per_episode = episodes.pictures.shape[:2]
        pictures = torch.from_numpy(episodes.pictures).to(device).flatten(0, 1).permute(0, 3, 1, 2)
        changed = torch.from_numpy(episodes.changed).to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=has_fast_bfloat16(device)):
            pooled, positions = self.network(pictures.float() / 255.0)
            where = self.network.positions(positions)[:, 0]
        defective = changed.flatten(2).any(dim=2).float()
        grouped = pooled.view(programs, per_episode, -1)
        level = self.network.level(pooled)
        good = recipe.support + recipe.queries
        known_good = level.view_as(grouped)[:, :good].flatten(0, 1)
        numbers = torch.from_numpy(episodes.programs).to(device).repeat_interleave(good)
        losses = torch.stack(
            [
                class_loss(self.network.classes(known_good), numbers),
                picture_loss(self.network.picture(level)[:, 0], defective.flatten()),
                position_loss(where.float(), changed.flatten(0, 1).float()),
                novelty_loss(grouped, recipe.support, recipe.queries, defective),
            ]
        )
        weights = (recipe.class_weight, recipe.picture_weight, recipe.position_weight, recipe.novelty_weight)
        loss = (losses * torch.tensor(weights, device=device)).sum()
        if not math.isfinite(loss.item()):
            raise PretrainingError("the loss is not a number")
        self._optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), _MAX_GRADIENT)
        self._optimiser.step()
        return losses.detach().cpu()


def learning_rate(recipe: Recipe, spent: float) -> float:
    """The learning rate when a share `spent`, in [0, 1], of the run is over."""
    return recipe.learning_rate * share_of_rate(spent, recipe.warm_up)


def share_of_rate(spent: float, warm_up: float) -> float:
    """Rise in the first part of a run, then fall to zero along half a cosine; both arguments are shares in [0, 1]."""
    if spent < warm_up:
        return 0.05 + 0.95 * spent / warm_up
    return 0.5 * (1 + math.cos(math.pi * min((spent - warm_up) / (1 - warm_up), 1.0)))
