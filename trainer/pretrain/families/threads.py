"""Threads: screws, bolts and studs with a helical groove, in any orientation."""

import math

import numpy as np

from trainer.pretrain.fields import edge_of, soft_step
from trainer.pretrain.lighting import Picture
from trainer.pretrain.program import Program
from trainer.pretrain.setting import draw_setting


def threads(rng: np.random.Generator) -> Program:
    """A shaft with a thread on a part of it, a head on most, a point on some."""
    setting = draw_setting(rng, free_share=0.8)
    length, radius = rng.uniform(0.5, 0.85), rng.uniform(0.04, 0.14)
    pitch, depth = rng.uniform(0.018, 0.06), rng.uniform(0.08, 0.25)
    lead, sharp = rng.uniform(0.2, 0.6), rng.uniform(0.5, 2.0)
    threaded = rng.uniform(0.4, 1.0)
    head = rng.uniform(1.5, 2.4) if rng.random() < 0.75 else 1.0
    head_length, flat_head = rng.uniform(0.05, 0.14), rng.random() < 0.5
    point, slot = rng.uniform(0.0, 0.2) * (rng.random() < 0.6), rng.random() < 0.4

    def draw(chance: np.random.Generator, size_px: int) -> Picture:
        x, y = setting.pose(chance, size_px)
        edge = edge_of(size_px)
        along = x + length / 2
        taper = np.clip((length - along) / max(point, 1e-3), 0, 1) if point else np.float32(1)
        in_head = soft_step(head_length - along, edge) if head > 1 else np.float32(0)
        shape = np.clip(along / head_length, 0.05, 1) if flat_head else np.float32(1)
        turn = 2 * math.pi * (along - lead * pitch * y / radius) / pitch + chance.uniform(0, 2 * math.pi)
        groove = np.abs(np.sin(turn / 2)) ** sharp
        is_threaded = soft_step(along - head_length - (1 - threaded) * length, edge) * (1 - in_head)
        outer = radius * taper * (1 - depth * is_threaded * (1 - groove))
        wide = radius * (in_head * head * shape + (1 - in_head)) if head > 1 else radius
        outer = in_head * wide + (1 - in_head) * outer
        mask = soft_step(outer - np.abs(y), edge) * soft_step(along, edge) * soft_step(length - along, edge)
        height = np.sqrt(np.clip(outer * outer - y * y, 0, None))
        if slot and head > 1:
            height = height - 0.02 * soft_step(0.012 - np.abs(y), edge) * in_head
        tone = 1 - 0.45 * is_threaded * (1 - groove)
        return setting.picture(chance, (x, y), np.asarray(height, np.float32), mask, np.asarray(tone, np.float32))

    return draw
