"""Tablets: smooth moulded bodies, pills, capsules, nuts and beans, with two tones, specks and an imprint."""

import cv2
import numpy as np

from trainer.pretrain.fields import blurred, clouds, edge_of, soft_step
from trainer.pretrain.glyphs import SHEET_PX, draw_glyphs
from trainer.pretrain.lighting import Picture
from trainer.pretrain.program import Program
from trainer.pretrain.setting import draw_setting


def tablets(rng: np.random.Generator) -> Program:
    """One superellipse, domed; or a few of them."""
    setting = draw_setting(rng, free_share=0.6)
    half = rng.uniform(0.15, 0.44, 2)
    power, dome = rng.uniform(1.6, 5.0), rng.uniform(0.02, 0.2)
    second_tone, parted = rng.uniform(0.6, 1.4), rng.random() < 0.35
    imprint = draw_glyphs(rng, int(rng.integers(1, 5)), rng.uniform(0.08, 0.2)) if rng.random() < 0.6 else None
    score_line, specks = rng.random() < 0.3, rng.uniform(0, 0.12) * (rng.random() < 0.4)
    wobble = rng.uniform(0, 0.06)

    def draw(chance: np.random.Generator, size_px: int) -> Picture:
        x, y = setting.pose(chance, size_px)
        edge = edge_of(size_px)
        wavy = 1 + wobble * clouds(chance, size_px, 2)
        away = (np.abs(x / half[0]) ** power + np.abs(y / half[1]) ** power) ** (1 / power) * wavy
        mask = soft_step((1 - away) * half.min(), edge)
        height = dome * np.sqrt(np.clip(1 - away * away, 0, None))
        tone = 1 + specks * (clouds(chance, size_px, 60) > 1.2)
        if parted:
            tone = tone * np.where(x > 0.02, second_tone, 1.0)
        if imprint is not None:
            maps = [((c + 0.3) * SHEET_PX).astype(np.float32) for c in (x, y)]
            height = height - 0.008 * cv2.remap(imprint, maps[0], maps[1], cv2.INTER_LINEAR)
        if score_line:
            height = height - 0.015 * np.exp(-((y / 0.01) ** 2))
        return setting.picture(chance, (x, y), blurred(height.astype(np.float32), 0.003), mask, tone.astype(np.float32))

    return draw
