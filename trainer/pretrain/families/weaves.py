"""Weaves: threads over and under each other, with light on them."""

import math

import numpy as np

from trainer.pretrain.fields import clouds, coordinates, turned
from trainer.pretrain.lighting import Picture, expose, shade
from trainer.pretrain.palette import paint
from trainer.pretrain.program import Program


def weaves(rng: np.random.Generator) -> Program:
    """Warp and weft by a small random binding."""
    count, repeat = int(rng.integers(8, 36)), int(rng.integers(2, 5))
    binding = np.array(
        [[(column + shift) % repeat < repeat / 2 for column in range(repeat)] for shift in range(repeat)]
    )
    binding = binding[rng.permutation(repeat)] if rng.random() < 0.5 else binding
    warp, weft = paint(rng, 60), paint(rng, 60)
    angle, relief, waviness = rng.uniform(0, math.pi), rng.uniform(0.4, 1.5), rng.uniform(0, 0.35)
    azimuth, gap = rng.uniform(0, 2 * math.pi), rng.uniform(0.6, 1.3)

    def draw(chance: np.random.Generator, size_px: int) -> Picture:
        x, y = turned(*coordinates(size_px), angle + chance.normal(0, 0.03))
        across = x * count + chance.uniform(0, repeat) + waviness * clouds(chance, size_px, 6)
        down = y * count + chance.uniform(0, repeat) + waviness * clouds(chance, size_px, 6)
        over = binding[np.floor(down).astype(int) % repeat, np.floor(across).astype(int) % repeat]
        of_warp, of_weft = np.abs(np.sin(math.pi * across)) ** gap, np.abs(np.sin(math.pi * down)) ** gap
        height = np.where(over, of_warp + 0.5 * of_weft, of_weft + 0.5 * of_warp).astype(np.float32) / (3 * count)
        tone = 1 + 0.05 * clouds(chance, size_px, 40) + 0.05 * clouds(chance, size_px, 5)
        light = shade(height, azimuth, relief=relief) * tone * (0.55 + 0.45 * np.maximum(of_warp, of_weft))
        return expose(chance, np.where(over[..., None], warp, weft) * light[..., None].astype(np.float32))

    return draw
