"""Fractals: attractors of iterated function systems, drawn as densities."""

import cv2
import numpy as np

from trainer.pretrain.fields import clouds
from trainer.pretrain.lighting import Picture, expose
from trainer.pretrain.palette import coloured, palette
from trainer.pretrain.program import Program

_POINTS = 12_000
_STEPS = 14


def fractals(rng: np.random.Generator) -> Program:
    """Two to five contracting affine maps, chosen at random at each step. Source: Barnsley, "Fractals Everywhere"."""
    colours = palette(rng)
    maps, shifts = _system(rng)
    weights = np.abs(np.linalg.det(maps)) + 0.05
    weights = weights / weights.sum()
    floor = rng.uniform(0.0, 0.4)

    def draw(chance: np.random.Generator, size_px: int) -> Picture:
        points = chance.uniform(-0.5, 0.5, (_POINTS, 2))
        hits = np.zeros((size_px, size_px), np.float32)
        turn, middle = chance.normal(0, 0.05), None
        rotation = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
        for step in range(_STEPS):
            chosen = chance.choice(len(maps), _POINTS, p=weights)
            points = np.einsum("nij,nj->ni", maps[chosen], points) + shifts[chosen]
            if step < 6:
                continue
            if middle is None:
                middle, reach = points.mean(axis=0), 2.4 * points.std(axis=0).max() + 1e-6
            at = ((points - middle) @ rotation / (2 * reach) + 0.5) * size_px
            at = at[((at >= 0) & (at < size_px)).all(axis=1)].astype(int)
            np.add.at(hits, (at[:, 1], at[:, 0]), 1)
        density = cv2.GaussianBlur(np.log1p(hits), (0, 0), 0.7)
        values = floor + (1 - floor) * density / (density.max() + 1e-6) + 0.04 * clouds(chance, size_px, 6)
        return expose(chance, coloured(np.clip(values, 0, 1).astype(np.float32), colours))

    return draw


def _system(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw maps by their singular values, which are all below one, so that the attractor is bounded."""
    count = int(rng.integers(2, 6))
    left, right = (rng.uniform(0, 2 * np.pi, count) for _ in range(2))
    stretch = rng.uniform(0.25, 0.85, (count, 2)) * rng.choice([-1, 1], (count, 2))
    turn = [np.stack([np.cos(a), -np.sin(a), np.sin(a), np.cos(a)], axis=1).reshape(-1, 2, 2) for a in (left, right)]
    return turn[0] * stretch[:, None, :] @ turn[1], rng.uniform(-1, 1, (count, 2))
