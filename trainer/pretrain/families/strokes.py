"""Strokes: many straight or bent lines, as in fibres, felt, grinding marks and wood."""

import cv2
import numpy as np

from trainer.pretrain.fields import clouds
from trainer.pretrain.lighting import Picture, expose
from trainer.pretrain.palette import coloured, palette
from trainer.pretrain.program import Program


def strokes(rng: np.random.Generator) -> Program:
    """Lines around one direction, with a length, a bend, a width and a range of tones."""
    colours = palette(rng)
    count = int(np.exp(rng.uniform(np.log(60), np.log(700))))
    length, spread, bend = rng.uniform(0.05, 0.8), np.exp(rng.uniform(-4, 0.5)), rng.uniform(0, 1.2)
    direction, width = rng.uniform(0, np.pi), rng.uniform(0.003, 0.012)
    base, dark = rng.uniform(80, 180), rng.uniform(0, 1)

    def draw(chance: np.random.Generator, size_px: int) -> Picture:
        canvas = (base + 14 * clouds(chance, size_px, 5)).clip(0, 255).astype(np.uint8)
        start = chance.uniform(-0.2, 1.2, (count, 2))
        turn = direction + spread * chance.normal(0, 1, count)
        steps = np.linspace(-0.5, 0.5, 6)
        bends = bend * chance.normal(0, 1, count)
        angles = turn[:, None] + bends[:, None] * steps
        away = length * chance.uniform(0.4, 1.0, count)[:, None] * steps
        lines = start[:, None] + np.stack([np.cos(angles) * away, np.sin(angles) * away], axis=2)
        points = (lines * size_px * 16).astype(np.int32)
        tones = np.where(
            chance.random(count) < dark, base - chance.uniform(0, 110, count), base + chance.uniform(0, 90, count)
        )
        thick = max(1, round(width * size_px))
        for line, tone in zip(points, tones, strict=True):
            cv2.polylines(canvas, [line], False, float(np.clip(tone, 0, 255)), thick, cv2.LINE_AA, shift=4)
        return expose(chance, coloured(canvas.astype(np.float32) / 255, colours))

    return draw
