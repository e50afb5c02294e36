"""Checkpoints: weights, optimiser and state of a run in one safetensors file, replaced in one step."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from infra.errors import PretrainingError
from trainer.pretrain.recipe import Recipe

FILE = "checkpoint.safetensors"
_STATE = "state"
_NETWORK, _OPTIMISER = "network.", "optimiser."


class RunState(BaseModel):
    """How far a run is.

    Attributes:
        recipe: Its recipe.
        seed: Its seed.
        step: Steps that were made.
        pictures: Pictures that were looked at.
        spent_s: Seconds that were spent on steps.
    """

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    recipe: Recipe
    seed: int
    step: int = 0
    pictures: int = 0
    spent_s: float = 0.0


def write_checkpoint(folder: Path, state: RunState, network: nn.Module, optimiser: torch.optim.Optimizer) -> None:
    """Write a checkpoint; whatever happens meanwhile, the file is the old one or the new one, whole.

    Raises:
        PretrainingError: A weight is not finite: the old checkpoint stays.
        OSError: The disk is full or away: the old checkpoint stays.
    """
    tensors = {_NETWORK + name: value for name, value in network.state_dict().items()}
    for number, values in optimiser.state_dict()["state"].items():
        tensors |= {f"{_OPTIMISER}{number}.{name}": torch.as_tensor(value) for name, value in values.items()}
    tensors = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    for name, value in tensors.items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise PretrainingError(f"{name} is not finite at step {state.step}")
    replace_file(folder / FILE, save(tensors, metadata={_STATE: state.model_dump_json()}))


def read_state(folder: Path) -> RunState | None:
    """Read how far the run in a folder is; None, if there is none.

    Raises:
        PretrainingError: The checkpoint cannot be read.
    """
    path = folder / FILE
    if not path.exists():
        return None
    try:
        with safe_open(path, "pt") as file:
            return RunState.model_validate_json((file.metadata() or {}).get(_STATE, ""))
    except (OSError, SafetensorError, ValidationError) as error:
        raise PretrainingError(f"cannot read the checkpoint {path}: {' '.join(str(error).split())}") from error


def read_weights(folder: Path, network: nn.Module, optimiser: torch.optim.Optimizer | None = None) -> None:
    """Load the weights, and the optimiser's state, of the checkpoint in a folder.

    Raises:
        PretrainingError: The checkpoint cannot be read or is of another network.
    """
    path = folder / FILE
    try:
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
        network.load_state_dict(_below(tensors, _NETWORK))
        if optimiser is not None:
            optimiser.load_state_dict({**optimiser.state_dict(), "state": _optimiser_state(tensors)})
    except (OSError, SafetensorError, RuntimeError, ValueError) as error:
        raise PretrainingError(f"cannot read the checkpoint {path}: {' '.join(str(error).split())}") from error


def replace_file(path: Path, content: bytes) -> None:
    """Write a file beside its final place and move it there once it is safely on disk.

    Raises:
        OSError: The disk is full or away; what was at `path` stays.
    """
    unfinished = path.with_suffix(".tmp")
    try:
        with unfinished.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def _below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _optimiser_state(tensors: Mapping[str, Tensor]) -> dict[int, dict[str, Any]]:
    state: dict[int, dict[str, Any]] = {}
    for name, value in _below(tensors, _OPTIMISER).items():
        number, key = name.split(".", 1)
        state.setdefault(int(number), {})[key] = value
    return state
