"""Glyph-like strokes: signs that mean nothing, for prints, stamps and raised figures."""

import cv2
import numpy as np

from trainer.pretrain.fields import Field

SHEET_PX = 448


def draw_glyphs(rng: np.random.Generator, count: int, size: float, lines: int = 1) -> Field:
    """Draw lines of signs, each of a few strokes between the corners of a small grid.

    Args:
        rng: Decides on the signs and where the block lies.
        count: Signs a line.
        size: Height of a sign, in picture sides.
        lines: Lines of signs.

    Returns:
        (448, 448) float32 in [0, 1].
    """
    sheet = np.zeros((SHEET_PX, SHEET_PX), np.uint8)
    wide = size * rng.uniform(0.5, 0.8)
    alphabet = [_sign(rng) for _ in range(int(rng.integers(4, 16)))]
    left, top = rng.uniform(0.06, 0.5), rng.uniform(0.06, max(0.07, 0.9 - lines * size * 1.5))
    thick = max(1, int(size * SHEET_PX * rng.uniform(0.08, 0.2)))
    for line in range(lines):
        for k in range(count if line == 0 else int(rng.integers(1, count + 1))):
            corner = np.array([left + 1.25 * wide * k, top + 1.5 * size * line])
            for stroke in alphabet[int(rng.integers(len(alphabet)))]:
                points = (corner + stroke * np.array([wide, size])) * SHEET_PX * 16
                cv2.polylines(sheet, [points.astype(np.int32)], False, 255, thick, cv2.LINE_AA, shift=4)
    return sheet.astype(np.float32) / 255


def _sign(rng: np.random.Generator) -> list[np.ndarray]:
    grid = np.array([(column / 2, row / 3) for row in range(4) for column in range(3)])
    return [grid[rng.choice(len(grid), int(rng.integers(2, 5)), replace=False)] for _ in range(int(rng.integers(1, 4)))]
