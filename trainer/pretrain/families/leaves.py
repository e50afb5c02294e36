"""Dead leaves: shapes that cover each other, each with a tone and a texture of its own."""

import cv2
import numpy as np

from trainer.pretrain.fields import clouds, power_law, shaped_noise
from trainer.pretrain.lighting import Picture, expose
from trainer.pretrain.palette import coloured, palette
from trainer.pretrain.program import Program

_CORNERS = 12


def leaves(rng: np.random.Generator) -> Program:
    """Polygons or ellipses of sizes from a power law."""
    colours = palette(rng)
    count = int(rng.integers(60, 260))
    smallest, exponent = rng.uniform(0.01, 0.05), rng.uniform(1.0, 2.5)
    corners = int(rng.integers(3, _CORNERS))
    stretch, texture = rng.uniform(1, 4), rng.uniform(0.0, 0.25)
    grain = power_law(rng.uniform(0.2, 1.5), rng.uniform(1, 8))
    aligned, direction = rng.random() < 0.4, rng.uniform(0, np.pi)

    def draw(chance: np.random.Generator, size_px: int) -> Picture:
        canvas = (clouds(chance, size_px, 3) * 20 + 128).clip(0, 255).astype(np.uint8)
        sizes = np.minimum(smallest * chance.random(count) ** (-1 / exponent), 0.3) * size_px
        order = np.argsort(-sizes) if chance.random() < 0.2 else np.arange(count)
        places, tones = chance.uniform(0, size_px, (count, 2)), chance.uniform(0, 255, count)
        turns = np.where(aligned, direction, chance.uniform(0, np.pi, count))
        ring = np.linspace(0, 2 * np.pi, corners, endpoint=False)
        for k in order:
            shape = np.stack([np.cos(ring) * sizes[k] * stretch, np.sin(ring) * sizes[k]], axis=1)
            cosine, sine = np.cos(turns[k]), np.sin(turns[k])
            outline = shape @ np.array([[cosine, sine], [-sine, cosine]]) + places[k]
            cv2.fillPoly(canvas, [(outline * 16).astype(np.int32)], float(tones[k]), lineType=cv2.LINE_AA, shift=4)
        values = canvas.astype(np.float32) / 255 + texture * shaped_noise(chance, size_px, grain)
        return expose(chance, coloured(np.clip(values, 0, 1), colours))

    return draw
