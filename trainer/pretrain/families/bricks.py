"""Bricks: rectangles in courses, tiles and planks, with joints and a texture of their own."""

import math

import numpy as np

from trainer.pretrain.fields import clouds, coordinates, power_law, shaped_noise, soft_step, turned
from trainer.pretrain.lighting import Picture, expose
from trainer.pretrain.palette import coloured, palette
from trainer.pretrain.program import Program


def bricks(rng: np.random.Generator) -> Program:
    """Courses of bricks with a bond."""
    colours = palette(rng)
    courses, ratio, bond = int(rng.integers(3, 24)), rng.uniform(0.25, 1.0), rng.choice([0.0, 0.5, 0.33])
    joint, joint_tone, tones = rng.uniform(0.02, 0.15), rng.uniform(-0.5, 0.5), rng.uniform(0, 0.5)
    angle, texture, waviness = rng.uniform(0, math.pi), rng.uniform(0.02, 0.25), rng.uniform(0, 0.08)
    grain = power_law(rng.uniform(0.3, 1.6), rng.uniform(1, 8), angle)

    def draw(chance: np.random.Generator, size_px: int) -> Picture:
        x, y = turned(*coordinates(size_px), angle + chance.normal(0, 0.03))
        down = y * courses + chance.uniform(0, 8) + waviness * clouds(chance, size_px, 8)
        course = np.floor(down)
        across = x * courses * ratio + chance.uniform(0, 8) + bond * course
        column = np.floor(across)
        number = (course.astype(int) * 131 + column.astype(int) * 17) % 4096
        tone = chance.random(4096).astype(np.float32)[number]
        from_joint = np.minimum(0.5 - np.abs(down - course - 0.5), (0.5 - np.abs(across - column - 0.5)) / ratio)
        inside = soft_step(from_joint - joint, 1.5 * courses / size_px)
        values = 0.5 + tones * (tone - 0.5) + texture * shaped_noise(chance, size_px, grain)
        values = inside * values + (1 - inside) * (0.5 + joint_tone)
        return expose(chance, coloured(np.clip(values, 0, 1).astype(np.float32), colours))

    return draw
