"""Holding pictures out, whole production runs together: pictures of one run are more alike than those of two."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Places(NamedTuple):
    """Which of N pictures, by their places in ascending order.

    Attributes:
        kept: To learn from.
        held_out: Never learned from.
    """

    kept: list[int]
    held_out: list[int]


def hold_out(runs: Sequence[str | None], count: int, rng: np.random.Generator) -> Places:
    """Hold out `count` pictures, or somewhat more, so that no production run is on both sides.

    Runs are taken in random order until there are enough pictures; one that would take more than half of all is left to learn
    from. Where no run can be held out whole, because there is only one or all the others are too large, pictures are drawn
    one by one: `on_both_sides` tells.

    Args:
        runs: The production run of each picture; None is a run of its own.
        count: How many are wanted.
        rng: Draws the order.
    """
    order = [int(place) for place in rng.permutation(len(runs))]
    held_out: list[int] = []
    for members in _by_run(runs, order):
        if len(held_out) >= count:
            break
        if len(members) == 1 or 2 * (len(held_out) + len(members)) <= len(runs):
            held_out += members
    if not held_out:
        held_out = order[:count]
    chosen = set(held_out)
    return Places([place for place in range(len(runs)) if place not in chosen], sorted(chosen))


def on_both_sides(kept: Sequence[str | None], held_out: Sequence[str | None]) -> list[str]:
    """Return the production runs that both sides have pictures of, in their order."""
    both = {run for run in kept if run is not None} & {run for run in held_out if run is not None}
    return sorted(both)


def _by_run(runs: Sequence[str | None], order: Sequence[int]) -> list[list[int]]:
    """The places of each run, runs in the order of their first picture; a picture without one stands alone."""
    groups: dict[object, list[int]] = {}
    for place in order:
        run = runs[place]
        groups.setdefault(place if run is None else run, []).append(place)
    return list(groups.values())
