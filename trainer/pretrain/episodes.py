"""Episodes: a step's pictures, several of each of a few programs, some of them with a defect."""

import math
import os
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from trainer.pretrain.bank import Bank
from trainer.pretrain.defects import TRAINING_KINDS, add_defect
from trainer.pretrain.lighting import Picture
from trainer.pretrain.recipe import Recipe

_WAITING = 2  # steps that lie ready, beside those that are being drawn


@dataclass(frozen=True)
class Episodes:
    """The pictures of one step; P programs with K pictures each: support, queries, defective.

    Attributes:
        pictures: (P, K, S, S, 3) uint8.
        changed: (P, K, S, S) bool, where a defect is.
        programs: (P,) int64, numbers of the programs.
    """

    pictures: NDArray[np.uint8]
    changed: NDArray[np.bool_]
    programs: NDArray[np.int64]


@dataclass(frozen=True)
class _Camera:
    """What the pictures of an episode have in common: the section, and how it is photographed."""

    size_px: int
    zoom: float
    centre: NDArray[np.float64]
    turning: bool
    grey: bool
    gamma: float
    contrast: float
    noise: float
    blur: float
    quality: int

    @classmethod
    def draw(cls, rng: np.random.Generator, size_px: int) -> "_Camera":
        zoom = rng.uniform(0.45, 1.0) if rng.random() < 0.6 else 1.0
        return cls(
            size_px=size_px,
            zoom=zoom,
            centre=0.5 + rng.uniform(-0.5, 0.5, 2) * (1 - zoom),
            turning=bool(rng.random() < 0.8),
            grey=bool(rng.random() < 0.45),
            gamma=math.exp(rng.normal(0, 0.25)),
            contrast=math.exp(rng.normal(-0.1, 0.3)),
            noise=float(rng.uniform(0, 6) * (rng.random() < 0.6)),
            blur=float(rng.uniform(0.2, 1.0) * (rng.random() < 0.4)),
            quality=int(rng.integers(55, 96)) if rng.random() < 0.25 else 0,
        )

    def section(self, rng: np.random.Generator, source: Picture) -> Picture:
        """Cut the section out, turned about its middle and moved a little; what lies outside of the picture is black."""
        side = source.shape[0]
        scale = self.size_px / (side * self.zoom)
        if scale < 0.75:  # average first: sampling alone would fold fine structure
            source = np.asarray(cv2.resize(source, (side // 2, side // 2), interpolation=cv2.INTER_AREA), np.uint8)
            side, scale = side // 2, scale * 2
        angle = rng.uniform(0, 360) if self.turning else rng.normal(0, 2)
        centre = (self.centre + rng.normal(0, 0.012, 2)) * side
        matrix = cv2.getRotationMatrix2D((float(centre[0]), float(centre[1])), angle, scale * rng.normal(1, 0.01))
        matrix[:, 2] += self.size_px / 2 - centre
        return np.asarray(cv2.warpAffine(source, matrix, (self.size_px, self.size_px)), np.uint8)

    def photograph(self, rng: np.random.Generator, scene: Picture) -> Picture:
        """Photograph a section: exposure and noise vary from picture to picture."""
        if self.blur:
            scene = np.asarray(cv2.GaussianBlur(scene, (0, 0), self.blur * rng.uniform(0.85, 1.15)), np.uint8)
        tones = np.linspace(0, 1, 256) ** (self.gamma * math.exp(rng.normal(0, 0.04)))
        tones = 0.5 + self.contrast * math.exp(rng.normal(0, 0.03)) * (tones - 0.5)
        tones = 255 * tones * math.exp(rng.normal(0, 0.04))
        tones[0] = 0  # what lies outside stays black
        exposed = cv2.LUT(scene, np.clip(tones, 0, 255).astype(np.uint8))
        if self.grey:
            exposed = cv2.cvtColor(cv2.cvtColor(exposed, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
        if self.noise:
            grain = rng.standard_normal(scene.shape[:2], dtype=np.float32) * np.float32(self.noise)
            grain *= exposed[..., 1] > 0
            exposed = np.clip(exposed + grain[..., None], 0, 255).astype(np.uint8)
        if self.quality:
            _, file = cv2.imencode(".jpg", exposed, [cv2.IMWRITE_JPEG_QUALITY, self.quality])
            return np.asarray(cv2.imdecode(file, cv2.IMREAD_COLOR), np.uint8)
        return np.asarray(exposed, np.uint8)


def draw_episodes(bank: Bank, recipe: Recipe, seed: int, step: int) -> Episodes:
    """Draw the pictures of a step; they depend on bank, recipe, seed and step alone, so a continued run sees the same."""
    rng = np.random.default_rng([seed, 2, step])
    size_px = recipe.size_px(step)
    programs = _programs(rng, bank, recipe, recipe.programs(step))
    others = np.roll(programs, 1)
    pictures = np.empty((len(programs), recipe.pictures_per_episode, size_px, size_px, 3), np.uint8)
    changed = np.zeros(pictures.shape[:4], np.bool_)
    first = _Camera.draw(rng, size_px)
    for row, (program, other) in enumerate(zip(programs, others, strict=True)):
        camera = _Camera.draw(rng, size_px)
        if row % recipe.programs_alike:  # programs of one family are told apart by themselves, not by their light
            camera = replace(first, zoom=camera.zoom, centre=camera.centre)
        else:
            first = camera
        own, foreign = bank.pictures(int(program)), bank.pictures(int(other))
        chosen = rng.permutation(len(own))
        scenes = [camera.section(rng, own[chosen[k % len(own)]]) for k in range(recipe.support + recipe.queries)]
        for k in range(
            recipe.defective
        ):  # twins of the queries: what differs is the defect, the exposure and the noise
            beside = camera.section(rng, foreign[int(rng.integers(len(foreign)))])
            twin = scenes[recipe.support + k % recipe.queries]
            scene, changed[row, len(scenes)] = add_defect(rng, twin, beside, TRAINING_KINDS)
            scenes.append(scene)
        for column, scene in enumerate(scenes):
            pictures[row, column] = camera.photograph(rng, scene)
    return Episodes(pictures, changed, programs)


def _programs(rng: np.random.Generator, bank: Bank, recipe: Recipe, count: int) -> NDArray[np.int64]:
    """Draw the programs of a step: a few neighbours of each of a few families."""
    per_family = recipe.programs_per_family
    groups = -(-count // recipe.programs_alike)
    families = rng.choice(bank.programs // per_family, groups, replace=groups > bank.programs // per_family)
    drawn = [family * per_family + rng.choice(per_family, recipe.programs_alike, replace=False) for family in families]
    return np.concatenate(drawn)[:count].astype(np.int64)


def episodes_ahead(bank: Bank, recipe: Recipe, seed: int, first: int) -> Generator[Episodes]:
    """Draw step after step without end, a few steps ahead: half of the cores draw while the network learns."""
    threads = max(1, (os.cpu_count() or 1) // 2)
    with ThreadPoolExecutor(max_workers=threads, thread_name_prefix="episodes") as pool:
        step = first + threads + _WAITING
        waiting = [pool.submit(draw_episodes, bank, recipe, seed, number) for number in range(first, step)]
        try:
            while True:
                yield waiting.pop(0).result()
                waiting.append(pool.submit(draw_episodes, bank, recipe, seed, step))
                step += 1
        finally:
            for future in waiting:
                future.cancel()
