import numpy as np
import pytest

from trainer.splitting import hold_out, on_both_sides


def drawn(runs: list[str | None], count: int, seed: int = 0) -> tuple[list[int], list[int]]:
    return hold_out(runs, count, np.random.default_rng(seed))


@pytest.mark.parametrize("seed", range(20))
def test_no_production_run_is_on_both_sides_and_no_picture_is_lost(seed: int) -> None:
    runs = [f"run {place % 12}" for place in range(60)] + [None] * 5
    kept, held_out = drawn(runs, 13, seed)
    assert sorted(kept + held_out) == list(range(65))
    assert on_both_sides([runs[place] for place in kept], [runs[place] for place in held_out]) == []
    assert 13 <= len(held_out) < 13 + 5


def test_without_runs_it_is_a_plain_draw() -> None:
    kept, held_out = drawn([None] * 100, 20, 3)
    order = np.random.default_rng(3).permutation(100).tolist()
    assert held_out == sorted(order[:20])
    assert kept == sorted(order[20:])


@pytest.mark.parametrize("seed", range(10))
def test_a_run_with_most_of_the_pictures_is_learned_from(seed: int) -> None:
    runs: list[str | None] = ["long"] * 80 + ["short"] * 10 + ["other"] * 10
    kept, held_out = drawn(runs, 20, seed)
    assert set(range(80)) <= set(kept)
    assert held_out == list(range(80, 100))


def test_a_single_run_is_drawn_from_picture_by_picture_and_that_can_be_told() -> None:
    runs: list[str | None] = ["monday"] * 50
    kept, held_out = drawn(runs, 10)
    assert len(held_out) == 10
    assert on_both_sides([runs[place] for place in kept], [runs[place] for place in held_out]) == ["monday"]


def test_pictures_without_a_run_are_on_no_side_together() -> None:
    assert on_both_sides([None, "a"], [None, "b"]) == []
