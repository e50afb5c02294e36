"""Cables: bundles of round strands seen from the side or cut across, straight or twisted."""

import math

import numpy as np

from trainer.pretrain.fields import edge_of, soft_step
from trainer.pretrain.lighting import Picture
from trainer.pretrain.palette import paint
from trainer.pretrain.program import Program
from trainer.pretrain.setting import draw_setting


def cables(rng: np.random.Generator) -> Program:
    """A twisted rope of strands, or a cross-section of cores with wires inside."""
    setting = draw_setting(rng, free_share=0.6)
    cut, strands = rng.random() < 0.4, int(rng.integers(3, 12))
    radius, twist = rng.uniform(0.12, 0.35), rng.uniform(1.0, 5.0)
    tones = rng.uniform(0.5, 1.3, 16)
    cores, wires = int(rng.integers(2, 6)), int(rng.integers(3, 8))
    sheath = paint(rng, 60, 200).mean() / 128

    def draw(chance: np.random.Generator, size_px: int) -> Picture:
        x, y = setting.pose(chance, size_px)
        edge = edge_of(size_px)
        if not cut:
            around = np.arcsin(np.clip(y / radius, -1, 1)) / math.pi
            turn = (x * twist + around + chance.uniform(0, 1)) * strands / 2
            inside = np.abs(np.sin(math.pi * turn))
            height = np.sqrt(np.clip(radius**2 - y * y, 0, None)) + 0.6 * radius / strands * np.sqrt(inside)
            tone = tones[np.floor(turn).astype(int) % 16] * (0.5 + 0.5 * inside**0.5)
            mask = soft_step(radius - np.abs(y), edge)
        else:
            mask = soft_step(0.44 - np.hypot(x, y), edge)
            tone, height = np.full_like(x, sheath), 0.03 * mask
            for k in range(cores):
                at = 2 * math.pi * k / cores
                u, v = x - 0.22 * math.cos(at), y - 0.22 * math.sin(at)
                reach = min(0.17, 0.2 * math.sin(math.pi / cores))
                core = soft_step(reach - np.hypot(u, v), edge)
                cell = reach / wires * 1.6
                lattice = np.cos(2 * math.pi * u / cell) * np.cos(2 * math.pi * v / cell)
                bundle = soft_step(0.75 * reach - np.hypot(u, v), edge)
                tone = (1 - core) * tone + core * tones[k] * (1 - bundle) + bundle * (0.9 + 0.5 * lattice)
                height = height + 0.25 * cell * lattice * bundle
        return setting.picture(chance, (x, y), np.asarray(height, np.float32), mask, np.asarray(tone, np.float32))

    return draw
