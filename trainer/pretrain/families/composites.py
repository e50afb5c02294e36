"""Composites: pictures of two other texture programs, parted by a border or laid over each other."""

import numpy as np

from trainer.pretrain.families.cells import cells
from trainer.pretrain.families.gratings import gratings
from trainer.pretrain.families.leaves import leaves
from trainer.pretrain.families.noises import noises
from trainer.pretrain.families.strokes import strokes
from trainer.pretrain.fields import clouds, coordinates, soft_step, turned
from trainer.pretrain.lighting import Picture
from trainer.pretrain.program import Program

_PARTS = (cells, gratings, leaves, noises, strokes)


def composites(rng: np.random.Generator) -> Program:
    """Two programs, and a border between them that is straight, round or wavy."""
    first, second = (_PARTS[k](rng) for k in rng.integers(0, len(_PARTS), 2))
    angle, place, wave = rng.uniform(0, 2 * np.pi), rng.uniform(-0.25, 0.25), rng.uniform(0, 0.06)
    around, opaque = rng.random() < 0.4, rng.random() < 0.7
    weight = 1.0 if opaque else rng.uniform(0.3, 0.7)

    def draw(chance: np.random.Generator, size_px: int) -> Picture:
        x, y = coordinates(size_px)
        x, y = x + np.float32(chance.normal(0, 0.02)), y + np.float32(chance.normal(0, 0.02))
        from_border = 0.3 + place - np.hypot(x, y) if around else turned(x, y, angle)[0] - place
        share = weight * soft_step(from_border + wave * clouds(chance, size_px, 4), 2 / size_px)[..., None]
        mixed = (1 - share) * first(chance, size_px) + share * second(chance, size_px)
        return mixed.astype(np.uint8)

    return draw
