"""Gears and polygons with a bore: outlines given by a radius that depends on the angle."""

import math

import numpy as np

from trainer.pretrain.fields import blurred, edge_of, soft_step
from trainer.pretrain.lighting import Picture
from trainer.pretrain.program import Program
from trainer.pretrain.setting import draw_setting


def gears(rng: np.random.Generator) -> Program:
    """A disc with teeth or sides, a bore, a ring of holes, spokes and a raised hub."""
    setting = draw_setting(rng, free_share=0.7)
    teeth, radius = int(rng.integers(5, 40)), rng.uniform(0.25, 0.42)
    depth, sharp = rng.uniform(0.03, 0.16), rng.uniform(0.6, 4.0)
    polygon = rng.random() < 0.3
    sides = int(rng.integers(3, 9))
    bore, hub = radius * rng.uniform(0.12, 0.45), radius * rng.uniform(0.5, 0.75)
    holes, hole = int(rng.integers(0, 9)), radius * rng.uniform(0.04, 0.11)
    rim, hub_height = rng.uniform(0.0, 0.02), rng.uniform(-0.02, 0.03)
    bevel, key = rng.uniform(0.002, 0.012), rng.random() < 0.4

    def draw(chance: np.random.Generator, size_px: int) -> Picture:
        x, y = setting.pose(chance, size_px)
        edge = edge_of(size_px)
        distance, angle = np.hypot(x, y), np.arctan2(y, x)
        if polygon:
            sector = 2 * math.pi / sides
            outline = radius * math.cos(sector / 2) / np.cos(np.mod(angle, sector) - sector / 2)
        else:
            outline = radius * (1 - depth * (0.5 + 0.5 * np.tanh(sharp * np.sin(teeth * angle)) / math.tanh(sharp)))
        mask = soft_step(outline - distance, edge) * soft_step(distance - bore, edge)
        if key:
            mask = mask * (1 - soft_step(0.25 * bore - np.abs(y), edge) * soft_step(1.35 * bore - x, edge) * (x > 0))
        for k in range(holes if holes > 2 else 0):
            at = 2 * math.pi * k / holes
            middle = 0.5 * (hub + radius * (1 - depth))
            mask = mask * soft_step(np.hypot(x - middle * math.cos(at), y - middle * math.sin(at)) - hole, edge)
        height = hub_height * soft_step(hub - distance, 0.01) + rim * soft_step(distance - 0.85 * radius, 0.01)
        height = blurred((height + 0.02 * mask).astype(np.float32), bevel)
        return setting.picture(chance, (x, y), height, mask.astype(np.float32))

    return draw
