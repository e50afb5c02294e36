"""Waves: sinusoids fed into each other, smooth patterns that no other family has."""

import numpy as np

from trainer.pretrain.fields import clouds, coordinates, unit
from trainer.pretrain.lighting import Picture, expose
from trainer.pretrain.palette import coloured, palette
from trainer.pretrain.program import Program


def waves(rng: np.random.Generator) -> Program:
    """Two to four layers of sinusoids, each bending the next."""
    colours = palette(rng)
    layers = int(rng.integers(2, 5))
    vectors, bends = rng.normal(0, 30, (layers, 2)), rng.uniform(0.3, 3.0, layers)
    radial, dirt = rng.uniform(0, 30) * (rng.random() < 0.3), rng.uniform(0, 0.1)

    def draw(chance: np.random.Generator, size_px: int) -> Picture:
        x, y = coordinates(size_px)
        x, y = x + np.float32(chance.normal(0, 0.05)), y + np.float32(chance.normal(0, 0.05))
        field = radial * np.hypot(x, y)
        for (across, down), bend in zip(vectors, bends, strict=True):
            field = np.sin(across * x + down * y + bend * field).astype(np.float32)
        values = unit(field) + dirt * clouds(chance, size_px, 16)
        return expose(chance, coloured(np.clip(values, 0, 1).astype(np.float32), colours))

    return draw
