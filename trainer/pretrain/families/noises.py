"""Noise: clouded, brushed and grained surfaces by their amplitude spectrum."""

import math

import numpy as np

from trainer.pretrain.fields import band, power_law, shaped_noise, unit
from trainer.pretrain.lighting import Picture, expose
from trainer.pretrain.palette import coloured, palette
from trainer.pretrain.program import Program


def noises(rng: np.random.Generator) -> Program:
    """Power-law noise, stretched or not, with a band of frequencies laid over it."""
    colours = palette(rng)
    coarse = power_law(rng.uniform(0.4, 2.2), float(np.exp(rng.uniform(0, math.log(20)))), rng.uniform(0, math.pi))
    spread = rng.uniform(0.1, 0.5) if rng.random() < 0.5 else math.inf
    centre = float(np.exp(rng.uniform(math.log(4), math.log(60))))
    fine = band(centre, centre * rng.uniform(0.1, 0.5), rng.uniform(0, math.pi), spread)
    share = rng.uniform(0, 0.8) * (rng.random() < 0.7)
    contrast = rng.uniform(0.25, 1.0)

    def draw(chance: np.random.Generator, size_px: int) -> Picture:
        field = (1 - share) * shaped_noise(chance, size_px, coarse) + share * shaped_noise(chance, size_px, fine)
        return expose(chance, coloured(0.5 + contrast * (unit(field) - 0.5), colours))

    return draw
