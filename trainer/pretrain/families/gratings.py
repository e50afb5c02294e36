"""Gratings: stripes of a profile in one direction, a little wavy, dirty and worn."""

import math

import numpy as np

from trainer.pretrain.fields import clouds, coordinates, turned
from trainer.pretrain.lighting import Picture, expose
from trainer.pretrain.palette import coloured, palette
from trainer.pretrain.program import Program


def gratings(rng: np.random.Generator) -> Program:
    """One or two gratings with an own profile each."""
    colours = palette(rng)
    count = int(rng.integers(1, 3))
    frequencies = np.exp(rng.uniform(math.log(4), math.log(50), count))
    angles, sharpness = rng.uniform(0, math.pi, count), np.exp(rng.uniform(-0.5, 2.0, count))
    waviness, dirt, cells = rng.uniform(0, 0.6), rng.uniform(0.02, 0.25), int(rng.integers(2, 8))

    def draw(chance: np.random.Generator, size_px: int) -> Picture:
        x, y = coordinates(size_px)
        tilt = chance.normal(0, 0.03)
        total = np.zeros_like(x)
        for frequency, angle, sharp in zip(frequencies, angles, sharpness, strict=True):
            along, _ = turned(x, y, angle + tilt)
            phase = 2 * math.pi * frequency * along + waviness * clouds(chance, size_px, cells)
            total += np.tanh(sharp * np.sin(phase + chance.uniform(0, 2 * math.pi))) / math.tanh(sharp)
        total = 0.5 + total / (2.4 * count) + dirt * 0.4 * clouds(chance, size_px, 24)
        return expose(chance, coloured(np.clip(total, 0, 1), colours))

    return draw
