"""Spots: discs or rings strewn at random or in a lattice, as on perforated, speckled or pimpled surfaces."""

import cv2
import numpy as np

from trainer.pretrain.fields import clouds
from trainer.pretrain.lighting import Picture, expose
from trainer.pretrain.palette import coloured, palette
from trainer.pretrain.program import Program


def spots(rng: np.random.Generator) -> Program:
    """Spots of a size and an order between lattice and chance."""
    colours = palette(rng)
    pitch = np.exp(rng.uniform(np.log(0.03), np.log(0.15)))
    order, share = rng.uniform(0, 0.6) ** 2, rng.uniform(0.4, 1.0)
    radius, spread = pitch * rng.uniform(0.15, 0.5), rng.uniform(0, 0.4)
    ring, turn, skew = rng.random() < 0.25, rng.uniform(0, np.pi), rng.uniform(0, 0.5)
    base, tone = rng.uniform(30, 225), rng.uniform(30, 225)
    tone = tone if abs(tone - base) > 40 else (base + 110) % 255
    blur = rng.uniform(0, 0.008)

    def draw(chance: np.random.Generator, size_px: int) -> Picture:
        canvas = (base + 8 * clouds(chance, size_px, 6)).clip(0, 255).astype(np.uint8)
        half = int(0.75 / pitch) + 1
        row, column = np.mgrid[-half : half + 1, -half : half + 1].astype(float)
        lattice = np.stack([column + skew * row, row], axis=2).reshape(-1, 2) * pitch
        lattice += chance.normal(0, order, lattice.shape) * pitch + chance.uniform(-pitch, pitch, 2)
        angle = turn + chance.normal(0, 0.03)
        rotation = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        places = lattice[chance.random(len(lattice)) < share] @ rotation + 0.5
        places = places[(np.abs(places - 0.5) < 0.6).all(axis=1)]
        radii = radius * np.exp(spread * chance.normal(0, 1, len(places)))
        for place, size in zip((places * size_px * 16).astype(int), (radii * size_px * 16).astype(int), strict=True):
            thick = max(1, size_px // 100) if ring else cv2.FILLED
            cv2.circle(canvas, (int(place[0]), int(place[1])), max(int(size), 10), tone, thick, cv2.LINE_AA, shift=4)
        if blur:
            canvas = np.asarray(cv2.GaussianBlur(canvas, (0, 0), max(blur * size_px, 0.3)), np.uint8)
        return expose(chance, coloured(canvas.astype(np.float32) / 255, colours))

    return draw
