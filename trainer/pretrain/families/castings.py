"""Castings: rough solids with ribs, bosses, pockets and raised figures."""

import math

import cv2
import numpy as np

from trainer.pretrain.fields import Field, blurred, power_law, shaped_noise, soft_step, turned
from trainer.pretrain.glyphs import draw_glyphs
from trainer.pretrain.lighting import Picture
from trainer.pretrain.program import Program
from trainer.pretrain.setting import draw_setting


def castings(rng: np.random.Generator) -> Program:
    """A body of a few blocks and bosses with rounded edges, filling the picture or lying on the ground."""
    setting = draw_setting(rng, free_share=0.4)
    count = int(rng.integers(3, 12))
    places, angles = rng.uniform(-0.38, 0.38, (count, 2)), rng.uniform(0, math.pi, count)
    sizes, heights = rng.uniform(0.02, 0.3, (count, 2)), rng.uniform(-0.04, 0.08, count)
    round_ones, rounding = rng.random(count) < 0.45, rng.uniform(0.004, 0.02)
    whole, body = rng.random() < 0.5, rng.uniform(0.2, 0.44, 2)
    rough, exponent = rng.uniform(0.0, 0.0025), rng.uniform(0.4, 1.4)
    figures = draw_glyphs(rng, int(rng.integers(2, 8)), 0.12) if rng.random() < 0.5 else None

    def draw(chance: np.random.Generator, size_px: int) -> Picture:
        x, y = setting.pose(chance, size_px)
        height = np.zeros_like(x)
        for (at_x, at_y), angle, (wide, high), up, round_one in zip(
            places, angles, sizes, heights, round_ones, strict=True
        ):
            u, v = turned(x - at_x, y - at_y, angle)
            inside = wide - np.hypot(u, v) if round_one else np.minimum(wide - np.abs(u), high - np.abs(v))
            height = height + up * soft_step(inside.astype(np.float32), 0.01)
        if figures is not None:
            height = height + 0.012 * _in_frame(figures, x, y)
        solid = soft_step(np.minimum(body[0] - np.abs(x), body[1] - np.abs(y)), 1.5 / size_px)
        mask = None if whole else np.maximum(solid, soft_step((height - 0.02).astype(np.float32), 0.01))
        height = blurred(height.astype(np.float32), rounding) + rough * shaped_noise(
            chance, size_px, power_law(exponent)
        )
        return setting.picture(chance, (x, y), height.astype(np.float32), mask)

    return draw


def _in_frame(sheet: Field, x: Field, y: Field) -> Field:
    """Look a sheet up at the coordinates of a part."""
    side = sheet.shape[0]
    map_x, map_y = ((c + 0.5) * side - 0.5 for c in (x, y))
    looked_up = cv2.remap(sheet, map_x.astype(np.float32), map_y.astype(np.float32), cv2.INTER_LINEAR)
    return np.asarray(looked_up, np.float32)
