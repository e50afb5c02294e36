from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from trainer.pretrain import bank as bank_module
from trainer.pretrain.bank import Bank, draw_bank
from trainer.pretrain.families import TRAINING
from trainer.pretrain.recipe import Recipe


def test_the_bank_holds_all_programs(bank: Bank, recipe: Recipe) -> None:
    assert bank.programs == len(TRAINING) * recipe.programs_per_family
    for program in (0, bank.programs - 1):
        assert bank.pictures(program).shape == (3, 64, 64, 3)
    flat = np.concatenate([bank.pictures(program) for program in range(bank.programs)]).reshape(bank.programs * 3, -1)
    assert len(np.unique(flat, axis=0)) == len(flat)


def test_what_was_drawn_is_not_drawn_again(
    bank: Bank, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, file in enumerate(bank.files[1:], 1):
        np.save(tmp_path / f"{number:04}.npy", file)
    (tmp_path / "0000.9999.tmp").write_bytes(b"of a run that was killed")
    ordered = []
    monkeypatch.setattr(bank_module, "ProcessPoolExecutor", in_this_process(ordered))
    again = draw_bank(tmp_path, recipe, seed=0, workers=1)
    assert [order.path.name for order in ordered] == ["0000.npy"]
    np.testing.assert_array_equal(again.pictures(0), bank.pictures(0))


def test_a_bank_of_another_recipe_is_refused(bank: Bank, recipe: Recipe, tmp_path: Path) -> None:
    for number, file in enumerate(bank.files):
        np.save(tmp_path / f"{number:04}.npy", file[:, :2])
    with pytest.raises(OSError, match="another recipe"):
        draw_bank(tmp_path, recipe, seed=0, workers=1)


def in_this_process(ordered: list) -> type:  # type: ignore[type-arg]
    class Pool(ThreadPoolExecutor):
        def __init__(self, max_workers: int, mp_context: object) -> None:  # noqa: ARG002
            super().__init__(max_workers)

        def submit(self, work, order):  # type: ignore[no-untyped-def]
            ordered.append(order)
            return super().submit(work, order)

    return Pool
