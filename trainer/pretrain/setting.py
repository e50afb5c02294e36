"""The setting of a part: how it lies, what lies below, and where the light comes from."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainer.pretrain.fields import Field, blurred, clouds, coordinates, power_law, shaped_noise, turned
from trainer.pretrain.lighting import Light, Picture, expose, shade
from trainer.pretrain.palette import metal, paint

FINISHES = ("smooth", "brushed", "cast", "turned")


@dataclass(frozen=True)
class Setting:
    """What all pictures of a part have in common.

    Attributes:
        free: The part lies in any orientation; else nearly upright.
        ground: Colour of what lies below, (3,).
        ground_grain: Its texture, in grey values.
        material: Colour of the part, (3,).
        azimuth: Where the light comes from; it does not turn with the part.
        relief: How strongly slopes show.
        gloss: Weight of highlights.
        finish: One of `FINISHES`.
        finish_depth: How strongly the finish shows, as a factor on the tone.
    """

    free: bool
    ground: NDArray[np.float32]
    ground_grain: float
    material: NDArray[np.float32]
    azimuth: float
    relief: float
    gloss: float
    finish: str
    finish_depth: float

    def pose(self, chance: np.random.Generator, size_px: int) -> tuple[Field, Field]:
        """Return coordinates in the frame of a part that lies a little differently each time."""
        x, y = coordinates(size_px)
        angle = chance.uniform(0, 2 * math.pi) if self.free else chance.normal(0, 0.03)
        shift = chance.normal(0, 0.015, 2)
        return turned(x - np.float32(shift[0]), y - np.float32(shift[1]), float(angle))

    def picture(
        self,
        chance: np.random.Generator,
        pose: tuple[Field, Field],
        height: Field,
        mask: Field | None = None,
        tone: Field | None = None,
    ) -> Picture:
        """Light a part and photograph it.

        Args:
            chance: Decides on grain, light and noise.
            pose: Coordinates in the frame of the part.
            height: (S, S), in picture sides.
            mask: (S, S) in [0, 1], where the part is; without it, everywhere.
            tone: (S, S) factor on the colour of the part.
        """
        size_px = height.shape[0]
        light = shade(height, self.azimuth + chance.normal(0, 0.06), relief=self.relief, gloss=self.gloss)
        light = light * (1 + self.finish_depth * self._finish(chance, pose))
        if tone is not None:
            light = light * tone
        part: Light = light[..., None] * self.material
        if mask is None:
            return expose(chance, part.astype(np.float32))
        ground = 1 + np.float32(self.ground_grain) * clouds(chance, size_px, 30)
        shadow = 1 - 0.4 * blurred(np.roll(mask, (size_px // 60, size_px // 60), (0, 1)), 0.015)
        below = (ground * shadow)[..., None] * self.ground
        share = mask[..., None]
        return expose(chance, (share * part + (1 - share) * below).astype(np.float32))

    def _finish(self, chance: np.random.Generator, pose: tuple[Field, Field]) -> Field:
        size_px = pose[0].shape[0]
        if self.finish == "brushed":
            return shaped_noise(chance, size_px, power_law(0.6, 12))
        if self.finish == "cast":
            return shaped_noise(chance, size_px, power_law(0.5))
        if self.finish == "turned":
            radius = np.hypot(*pose)
            grooves = chance.standard_normal(512, dtype=np.float32)
            return np.asarray(grooves[(radius * 500).astype(int) % 512])
        return clouds(chance, size_px, 4)


def draw_setting(rng: np.random.Generator, free_share: float = 0.5) -> Setting:
    """Draw a setting: a metal or a painted material on a dark, light or coloured ground."""
    material = metal(rng) * rng.uniform(80, 200) if rng.random() < 0.6 else paint(rng, 40, 220)
    ground = paint(rng, 5, 245)
    while abs(float(ground.mean()) - float(material.mean())) < 35:
        ground = paint(rng, 5, 245)
    return Setting(
        free=bool(rng.random() < free_share),
        ground=ground,
        ground_grain=float(rng.uniform(0, 0.08)),
        material=np.asarray(material, np.float32),
        azimuth=float(rng.uniform(0, 2 * math.pi)),
        relief=float(rng.uniform(0.5, 1.6)),
        gloss=float(rng.uniform(0, 0.6)),
        finish=str(rng.choice(FINISHES)),
        finish_depth=float(rng.uniform(0.01, 0.12)),
    )
