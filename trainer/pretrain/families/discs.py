"""Discs: turned parts, seals, lids and bottles seen from above: rings of different height, tone and finish."""

import numpy as np

from trainer.pretrain.fields import blurred, edge_of, soft_step
from trainer.pretrain.lighting import Picture
from trainer.pretrain.program import Program
from trainer.pretrain.setting import draw_setting


def discs(rng: np.random.Generator) -> Program:
    """Concentric steps, grooves and rims, with notches or dots around."""
    setting = draw_setting(rng, free_share=0.7)
    radius, steps = rng.uniform(0.28, 0.47), int(rng.integers(2, 9))
    at = np.sort(rng.uniform(0, radius, steps))
    heights, tones = rng.uniform(-0.03, 0.03, steps), rng.uniform(-0.4, 0.25, steps)
    rounding, squeeze = rng.uniform(0.001, 0.012), rng.uniform(0.75, 1.0) if rng.random() < 0.3 else 1.0
    dots, dot, around = int(rng.integers(0, 30)), rng.uniform(0.006, 0.03), radius * rng.uniform(0.4, 0.92)
    bore = rng.uniform(0.03, 0.6) * radius * (rng.random() < 0.5)
    raised = rng.uniform(-0.02, 0.02)

    def draw(chance: np.random.Generator, size_px: int) -> Picture:
        x, y = setting.pose(chance, size_px)
        edge = edge_of(size_px)
        distance = np.hypot(x, y / squeeze)
        height, tone = np.zeros_like(x), np.ones_like(x)
        for place, up, darker in zip(at, heights, tones, strict=True):
            ring = soft_step(distance - place, max(edge, rounding))
            height, tone = height + up * ring, tone * (1 + darker * ring)
        if dots > 2:
            angle = np.arctan2(y, x) * dots / (2 * np.pi)
            aside = (angle - np.round(angle)) * 2 * np.pi * around / dots
            spot = soft_step(dot - np.hypot(aside, distance - around), edge)
            height, tone = height + raised * spot, tone * (1 - 0.3 * spot)
        mask = soft_step(radius - distance, edge)
        if bore:
            mask = mask * soft_step(distance - bore, edge)
        height = blurred((height + 0.02 * mask).astype(np.float32), rounding)
        return setting.picture(chance, (x, y), height, mask, np.clip(tone, 0.2, 1.6).astype(np.float32))

    return draw
