"""Knurls: metal with fine repeated structure: knurling, ribs, meshes, expanded and perforated sheet, in any orientation."""

import math

import numpy as np

from trainer.pretrain.fields import Field, clouds, edge_of, soft_step, turned
from trainer.pretrain.lighting import Picture
from trainer.pretrain.program import Program
from trainer.pretrain.setting import draw_setting

_KINDS = ("diamond", "rib", "hexagon", "mesh", "scale")


def knurls(rng: np.random.Generator) -> Program:
    """A height map that repeats, on a flat piece, a round one, or all over the picture."""
    setting = draw_setting(rng, free_share=0.8)
    kind, count = str(rng.choice(_KINDS)), rng.uniform(8, 36)
    depth, sharp, skew = rng.uniform(0.15, 0.6), rng.uniform(0.4, 2.0), rng.uniform(0.2, 1.2)
    shape = str(rng.choice(["whole", "round", "bar", "box"]))
    reach, narrow, uneven = rng.uniform(0.28, 0.45), rng.uniform(0.3, 0.9), rng.uniform(0, 0.08)
    band_from, band_to = rng.uniform(-0.5, 0.0), rng.uniform(0.1, 0.5)

    def draw(chance: np.random.Generator, size_px: int) -> Picture:
        x, y = setting.pose(chance, size_px)
        edge = edge_of(size_px)
        shift = chance.uniform(0, 1, 2)
        jitter = uneven * clouds(chance, size_px, 7)
        across, down = x * count + shift[0] + jitter, y * count + shift[1]
        if shape == "bar":
            bent = np.arcsin(np.clip(y / (reach * narrow), -1, 1)) * reach * narrow
            down = bent * count + shift[1]
        field = _repeat(kind, across, down, sharp, skew)
        where = soft_step(x - band_from, edge) * soft_step(band_to - x, edge) if shape == "bar" else np.float32(1)
        height = depth / count * field * where
        mask = None
        if shape == "round":
            mask = soft_step(reach - np.hypot(x, y), edge)
        elif shape == "box":
            mask = soft_step(np.minimum(reach - np.abs(x), reach * narrow - np.abs(y)), edge)
        elif shape == "bar":
            mask = soft_step(np.minimum(0.45 - np.abs(x), reach * narrow - np.abs(y)), edge)
            height = height + np.sqrt(np.clip((reach * narrow) ** 2 - y * y, 0, None))
        tone = np.asarray(1 - 0.35 * (1 - field) * where, np.float32)
        return setting.picture(chance, (x, y), np.asarray(height, np.float32), mask, tone)

    return draw


def _repeat(kind: str, across: Field, down: Field, sharp: float, skew: float) -> Field:
    """Return a field in [0, 1] that repeats with 1 in both coordinates, or nearly."""
    if kind == "rib":
        field = np.abs(np.sin(math.pi * across))
    elif kind == "diamond":
        first, second = turned(across, down, skew)[0], turned(across, down, -skew)[0]
        field = np.minimum(np.abs(np.sin(math.pi * first)), np.abs(np.sin(math.pi * second)))
    elif kind == "mesh":
        field = np.maximum(np.abs(np.sin(math.pi * across)), np.abs(np.sin(math.pi * down))) ** 4
    elif kind == "hexagon":
        ways = [turned(across, down, k * math.pi / 3)[0] for k in range(3)]
        field = np.clip(0.5 + sum(np.cos(2 * math.pi * way) for way in ways) / 4.5, 0, 1)
    else:
        row = np.floor(down)
        field = np.clip(1 - np.hypot((across + 0.5 * row) % 1 - 0.5, 0.9 * (down - row)), 0, 1)
    return np.asarray(field**sharp)
