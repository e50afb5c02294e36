"""Plates: sheet metal with holes, slots, countersinks and bends."""

import numpy as np

from trainer.pretrain.fields import Field, blurred, edge_of, soft_step
from trainer.pretrain.lighting import Picture
from trainer.pretrain.program import Program
from trainer.pretrain.setting import draw_setting


def plates(rng: np.random.Generator) -> Program:
    """A rounded rectangle with a few holes on a grid, some of them slots, some countersunk, and beads pressed in."""
    setting = draw_setting(rng, free_share=0.4)
    half = rng.uniform(0.2, 0.46, 2)
    corner, bevel = rng.uniform(0.01, 0.12), rng.uniform(0.002, 0.008)
    grid = rng.integers(1, 6, 2)
    radius = 0.5 * (2 * half / (grid + 1)).min() * rng.uniform(0.2, 0.8)
    slot, sunk = rng.uniform(0, 1.5) * (rng.random() < 0.4), rng.uniform(1.2, 1.8) * (rng.random() < 0.5)
    left_out = rng.random(tuple(grid)) < rng.uniform(0, 0.5)
    beads, bead_depth = rng.uniform(-1, 1, int(rng.integers(0, 4))), rng.uniform(-0.015, 0.015)

    def draw(chance: np.random.Generator, size_px: int) -> Picture:
        x, y = setting.pose(chance, size_px)
        edge = edge_of(size_px)
        mask = soft_step(corner - _outside(x, y, half - corner), edge)
        height = 0.015 * mask
        for row in range(grid[0]):
            for column in range(grid[1]):
                if left_out[row, column]:
                    continue
                at_x = half[0] * (2 * (row + 1) / (grid[0] + 1) - 1)
                at_y = half[1] * (2 * (column + 1) / (grid[1] + 1) - 1)
                away = _outside(x - at_x, y - at_y, np.array([slot * radius, 0.0]))
                mask = mask * soft_step(away - radius, edge)
                if sunk:
                    height = height - 0.012 * soft_step(sunk * radius - away, 0.4 * radius)
        for bead in beads:
            height = height + bead_depth * np.exp(-(((y - bead * half[1]) / 0.02) ** 2)) * (np.abs(x) < 0.8 * half[0])
        height = blurred((height + 0.01 * mask).astype(np.float32), bevel)
        return setting.picture(chance, (x, y), height, mask.astype(np.float32))

    return draw


def _outside(x: Field, y: Field, half: np.ndarray) -> Field:
    """Distance to a rectangle around the origin, 0 inside."""
    return np.asarray(np.hypot(np.clip(np.abs(x) - half[0], 0, None), np.clip(np.abs(y) - half[1], 0, None)))
