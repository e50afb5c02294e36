"""Cells: grains around random points, as in crystals, cracked glaze or leather, with or without bars across."""

import cv2
import numpy as np

from trainer.pretrain.fields import clouds, coordinates, power_law, shaped_noise, soft_step
from trainer.pretrain.lighting import Picture, expose
from trainer.pretrain.palette import coloured, palette
from trainer.pretrain.program import Program


def cells(rng: np.random.Generator) -> Program:
    """Voronoi cells with tones, borders and a slope each; bars and fingers in a third of the programs."""
    colours = palette(rng, grey_share=0.6)
    count = int(np.exp(rng.uniform(np.log(12), np.log(500))))
    stretch, border, tones = rng.uniform(1, 3), rng.uniform(0, 0.5), rng.uniform(0.1, 1.0)
    border_px, slope = rng.uniform(0.004, 0.02), rng.uniform(0, 0.5)
    grain = power_law(rng.uniform(0.3, 1.5), rng.uniform(1, 6), rng.uniform(0, np.pi))
    texture, ragged = rng.uniform(0, 0.2), rng.uniform(0, 0.02) ** 2 * 50
    bars, fingers = int(rng.integers(1, 5)) * (rng.random() < 0.35), int(rng.integers(12, 60)) * (rng.random() < 0.5)
    bar_tone = rng.uniform(-0.5, 0.5)

    def draw(chance: np.random.Generator, size_px: int) -> Picture:
        tone, nearness, tilt = _voronoi(chance, size_px, count, stretch, ragged)
        values = 0.5 + tones * (tone - 0.5) + slope * tilt
        values = values - border * np.exp(-nearness / border_px)
        values = values + texture * shaped_noise(chance, size_px, grain)
        if bars:
            x, y = coordinates(size_px)
            place = chance.uniform(-0.01, 0.01)
            across = np.abs((x + place) * bars - np.round((x + place) * bars)) / bars
            values = values + bar_tone * soft_step(0.012 - across, 0.008)
            if fingers:
                down = np.abs(y * fingers - np.round(y * fingers)) / fingers
                values = values + 0.4 * bar_tone * soft_step(0.002 - down, 0.006)
            values = values * (1 + 0.06 * clouds(chance, size_px, 3))
        return expose(chance, coloured(np.clip(values, 0, 1).astype(np.float32), colours))

    return draw


def _voronoi(
    chance: np.random.Generator, size_px: int, count: int, stretch: float, ragged: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return a tone, the distance to the border and a slope for each pixel, by the labels of a distance transform."""
    half = size_px // 2
    seeds = np.ones((half, half), np.uint8)
    points = chance.integers(0, half, (count, 2))
    points[:, 1] = (points[:, 1] / stretch + half * (1 - 1 / stretch) / 2).astype(int)
    seeds[points[:, 0], points[:, 1]] = 0
    distance, labels = cv2.distanceTransformWithLabels(seeds, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    if ragged:
        x, y = coordinates(half)
        shift = ragged * half
        map_x = (x + 0.5) * half + shift * clouds(chance, half, 20)
        map_y = (y + 0.5) * half + shift * clouds(chance, half, 20)
        labels = cv2.remap(labels.astype(np.float32), map_x, map_y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REFLECT)
    labels = cv2.resize(labels.astype(np.float32), (size_px, size_px), interpolation=cv2.INTER_NEAREST).astype(int)
    edges = (labels != np.roll(labels, 1, 0)) | (labels != np.roll(labels, 1, 1))
    nearness = cv2.distanceTransform((~edges).astype(np.uint8), cv2.DIST_L2, 5) / size_px
    tone = chance.random(int(labels.max()) + 1).astype(np.float32)[labels]
    angle = (tone * 997 % 1) * 2 * np.pi
    x, y = coordinates(size_px)
    tilt = (np.cos(angle) * np.sin(x * 40) + np.sin(angle) * np.sin(y * 40)) * 0.3
    smooth = cv2.resize(distance, (size_px, size_px)) / size_px
    return tone, np.asarray(nearness, np.float32), np.asarray(tilt - smooth, np.float32)
