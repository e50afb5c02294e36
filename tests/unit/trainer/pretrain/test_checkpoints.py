from pathlib import Path

import pytest
import torch

from infra.errors import PretrainingError
from trainer.pretrain.checkpoints import FILE, RunState, read_state, read_weights, replace_file, write_checkpoint
from trainer.pretrain.recipe import Recipe


class Trained:
    """A small network with an optimiser that has made a step."""

    def __init__(self, seed: int) -> None:
        torch.manual_seed(seed)
        self.network = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
        self.optimiser = torch.optim.AdamW(self.network.parameters(), lr=0.1)
        self.step(seed)

    def step(self, seed: int) -> None:
        self.optimiser.zero_grad()
        pictures = torch.randn(8, 3, generator=torch.Generator().manual_seed(seed))
        self.network(pictures).square().sum().backward()
        self.optimiser.step()


def state(step: int = 7) -> RunState:
    return RunState(recipe=Recipe(), seed=3, step=step, pictures=70, spent_s=1.25)


def test_no_checkpoint_is_no_state(tmp_path: Path) -> None:
    assert read_state(tmp_path) is None


def test_a_checkpoint_brings_back_weights_optimiser_and_state(tmp_path: Path) -> None:
    first, second = Trained(1), Trained(2)
    write_checkpoint(tmp_path, state(), first.network, first.optimiser)
    assert read_state(tmp_path) == state()
    read_weights(tmp_path, second.network, second.optimiser)
    for trained in (first, second):
        trained.step(9)  # the next step is the same only if the optimiser's moments are
    for ours, theirs in zip(first.network.state_dict().values(), second.network.state_dict().values(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def test_a_write_that_is_killed_leaves_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = Trained(1)
    write_checkpoint(tmp_path, state(7), trained.network, trained.optimiser)

    def killed(_: Path, __: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        write_checkpoint(tmp_path, state(8), trained.network, trained.optimiser)
    assert read_state(tmp_path) == state(7)


def test_a_full_disk_leaves_the_old_file_and_no_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / FILE
    replace_file(path, b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        replace_file(path, b"new")
    assert path.read_bytes() == b"old"
    assert [found.name for found in tmp_path.iterdir()] == [FILE]


def test_weights_that_are_not_finite_never_replace_good_ones(tmp_path: Path) -> None:
    trained = Trained(1)
    write_checkpoint(tmp_path, state(7), trained.network, trained.optimiser)
    with torch.no_grad():
        trained.network[0].bias[0] = float("nan")  # type: ignore[union-attr,index,operator]
    with pytest.raises(PretrainingError, match=r"network\.0\.bias is not finite at step 8"):
        write_checkpoint(tmp_path, state(8), trained.network, trained.optimiser)
    assert read_state(tmp_path) == state(7)


@pytest.mark.parametrize("content", [b"", b"no header", b"\x10\0\0\0\0\0\0\0{}"])
def test_a_broken_checkpoint_is_one_clear_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(PretrainingError, match="cannot read the checkpoint") as refused:
        read_state(tmp_path)
    assert "\n" not in str(refused.value)
