"""Colours of a program: a table from a scalar to red, green and blue."""

import numpy as np
from numpy.typing import NDArray

from trainer.pretrain.fields import Field

Colours = NDArray[np.float32]
"""(256, 3) float32, grey values 0 to 255."""

METALS = (
    (1.0, 1.0, 1.0),
    (0.97, 1.0, 1.05),
    (1.05, 1.0, 0.94),
    (1.2, 1.02, 0.66),
    (1.22, 0.88, 0.7),
    (0.9, 0.97, 1.08),
)


def palette(rng: np.random.Generator, grey_share: float = 0.5) -> Colours:
    """Draw a table of two to four stops; grey in a share of cases."""
    stops = int(rng.integers(2, 5))
    at = np.sort(np.concatenate([[0.0, 1.0], rng.uniform(0.2, 0.8, stops - 2)]))
    brightness = rng.uniform(20, 235, stops)
    while np.ptp(brightness) < 50:
        brightness = rng.uniform(20, 235, stops)
    tint = np.ones((stops, 3))
    if rng.random() > grey_share:
        tint = np.clip(rng.normal(1.0, rng.uniform(0.05, 0.5), (stops, 3)), 0.2, 1.8)
    colours = np.clip(brightness[:, None] * tint, 0, 255)
    steps = np.linspace(0, 1, 256)
    return np.stack([np.interp(steps, at, colours[:, channel]) for channel in range(3)], axis=1).astype(np.float32)


def metal(rng: np.random.Generator) -> NDArray[np.float32]:
    """Draw the colour of a metal: (3,) factors on a grey value."""
    return np.asarray(METALS[int(rng.integers(len(METALS)))], np.float32)


def paint(rng: np.random.Generator, low: float = 20, high: float = 235) -> NDArray[np.float32]:
    """Draw one flat colour: (3,) grey values, grey in two of five cases."""
    base = rng.uniform(low, high)
    tint = np.ones(3) if rng.random() < 0.4 else rng.normal(1.0, 0.3, 3)
    return np.clip(base * tint, 5, 250).astype(np.float32)


def coloured(values: Field, colours: Colours) -> NDArray[np.float32]:
    """Look values in [0, 1] up in a table: (S, S, 3) float32."""
    return colours[(values * 255).astype(np.uint8)]
