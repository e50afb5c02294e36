"""Labels: printed signs, bars, boxes and rules on paper, foil or a part."""

import cv2
import numpy as np

from trainer.pretrain.fields import Field, clouds
from trainer.pretrain.glyphs import SHEET_PX, draw_glyphs
from trainer.pretrain.lighting import Light, Picture
from trainer.pretrain.palette import paint
from trainer.pretrain.program import Program
from trainer.pretrain.setting import draw_setting


def labels(rng: np.random.Generator) -> Program:
    """A print of a few blocks of signs, bar codes and frames in one or two inks."""
    setting = draw_setting(rng, free_share=0.3)
    sheets = [(_print(rng), paint(rng, 5, 245)) for _ in range(int(rng.integers(1, 3)))]
    paper, whole = paint(rng, 120, 245), rng.random() < 0.5
    if rng.random() < 0.3:
        paper = 255 - paper
    half, wear, bulge = rng.uniform(0.25, 0.47, 2), rng.uniform(0, 0.1), rng.uniform(0, 0.12)

    def draw(chance: np.random.Generator, size_px: int) -> Picture:
        x, y = setting.pose(chance, size_px)
        maps = [((c + 0.5) * SHEET_PX - 0.5).astype(np.float32) for c in (x, y)]
        colour: Light = np.broadcast_to(paper, (size_px, size_px, 3)).astype(np.float32)
        for sheet, ink in sheets:
            laid = cv2.remap(sheet, maps[0], maps[1], cv2.INTER_AREA)
            laid = np.clip(laid * (1 - wear * np.abs(clouds(chance, size_px, 30))), 0, 1)[..., None]
            colour = (1 - laid) * colour + laid * ink
        inside = np.minimum(half[0] - np.abs(x), half[1] - np.abs(y)) * size_px / 1.5 + 0.5
        mask = None if whole else np.clip(inside, 0, 1).astype(np.float32)
        height = (-bulge * y * y).astype(np.float32)
        lit = setting.picture(chance, (x, y), height, mask).astype(np.float32)
        share = np.float32(1) if mask is None else mask[..., None]
        tint = colour / np.maximum(setting.material, 1)
        return np.asarray(np.clip(lit * (1 - share) + lit * tint * share, 0, 255), np.uint8)

    return draw


def _print(rng: np.random.Generator) -> Field:
    sheet = np.zeros((SHEET_PX, SHEET_PX), np.float32)
    for _ in range(int(rng.integers(1, 4))):
        size = float(np.exp(rng.uniform(np.log(0.03), np.log(0.2))))
        sheet = np.maximum(sheet, draw_glyphs(rng, int(rng.integers(2, 12)), size, int(rng.integers(1, 5))))
    for _ in range(int(rng.integers(0, 4))):
        corner, reach = rng.integers(20, 380, 2), rng.integers(20, 260, 2)
        end = corner + reach
        thick = int(rng.choice([1, 2, 4, 8, cv2.FILLED], p=[0.25, 0.25, 0.2, 0.15, 0.15]))
        cv2.rectangle(sheet, [int(c) for c in corner], [int(c) for c in end], 1.0, thick)
    if rng.random() < 0.4:
        left, top, high = (int(v) for v in rng.integers(20, 200, 3))
        at = left
        while at < min(left + 200, SHEET_PX - 10):
            wide = int(rng.integers(1, 6))
            sheet[top : top + high, at : at + wide] = 1
            at += wide + int(rng.integers(2, 7))
    return sheet
