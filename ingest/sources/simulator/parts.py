"""Draws a defect-free part: shape, heights and surface, placed with the small variations of real parts."""

import functools
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from ingest.sources.simulator.designs import Design, Outline, circle, design_of
from ingest.sources.simulator.seeds import stream

WIDTH, HEIGHT = 512, 384
Map = NDArray[np.float32]
"""(HEIGHT, WIDTH) float32, one value a pixel."""

_FINE = 2  # shapes are drawn so many times larger, then shrunk
_BEVEL_PX = 5.0
_RELIEF_BEVEL_PX = 3.0
_BANK = 1024  # side of the square of surface texture that each part is cut from


@dataclass(frozen=True, slots=True)
class Layer:
    """Something that lies on part and belt: a stain, a fibre, its shadow.

    Attributes:
        alpha: (h, w) float32 in [0, 1], how much it covers.
        colour: Red, green and blue, 0 to 255.
        left: Column of its left edge in the picture.
        top: Row of its upper edge.
    """

    alpha: Map
    colour: tuple[float, float, float]
    left: int
    top: int


@dataclass(slots=True)
class Scene:
    """One part under the camera, before light and lens; defects change it in place.

    Attributes:
        design: What the part should be.
        pose: (2, 3) affine matrix from the design's drawing to the picture.
        height: Surface height in pixels; 0 where the part ends.
        coverage: 1 on the part, 0 on the belt, between at the edges.
        finish: Brightness of the bare surface, around 1.
        layers: What lies on top, in order.
    """

    design: Design
    pose: NDArray[np.float64]
    height: Map
    coverage: Map
    finish: Map
    layers: list[Layer] = field(default_factory=list)


def place(product: str, rng: np.random.Generator) -> Scene:
    """Lay one part of a product on the belt.

    Args:
        product: The product's name.
        rng: Decides on position, rotation, size and surface within the tolerances of a good part.
    """
    design = design_of(product)
    pose = _pose(rng)
    height, coverage = posed(relief(product), pose)
    return Scene(design, pose, height, coverage, _finish(design, pose, rng))


def posed(drawing: Map, pose: NDArray[np.float64]) -> tuple[Map, Map]:
    """Move a drawing of (HEIGHT, WIDTH, 2) height and coverage to its place in the picture."""
    moved = cv2.warpAffine(drawing, pose, (WIDTH, HEIGHT), flags=cv2.INTER_LINEAR)
    return np.ascontiguousarray(moved[..., 0]), np.ascontiguousarray(moved[..., 1])


@functools.lru_cache(maxsize=64)
def relief(product: str, without_hole: int | None = None) -> Map:
    """Draw a product upright in the middle: (HEIGHT, WIDTH, 2) float32, height and coverage.

    Args:
        product: The product's name.
        without_hole: Index of a hole that is left out; None draws the part as designed.
    """
    design = design_of(product)
    solid = _filled(design.outline)
    holes = [circle(hole.x, hole.y, hole.radius) for k, hole in enumerate(design.holes) if k != without_hole]
    for opening in (*design.openings, *holes):
        solid[_filled(opening) > 127] = 0
    height = _ramp(solid, _BEVEL_PX) + np.float32(1)
    for outline, step in design.reliefs:
        height += np.float32(step / _RELIEF_BEVEL_PX) * _ramp(_filled(outline), _RELIEF_BEVEL_PX)
    coverage = solid / np.float32(255)
    fine = np.stack([cv2.GaussianBlur(height * coverage, (0, 0), 0.8 * _FINE), coverage], axis=2)
    drawing = cv2.resize(fine, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
    drawing.setflags(write=False)  # shared by all frames
    return np.asarray(drawing, dtype=np.float32)


def _filled(outline: Outline) -> NDArray[np.uint8]:
    canvas = np.zeros((HEIGHT * _FINE, WIDTH * _FINE), np.uint8)
    middle = np.array([WIDTH / 2, HEIGHT / 2])
    corners = np.round((outline + middle) * _FINE * 16).astype(np.int32)
    cv2.fillPoly(canvas, [corners], 255, lineType=cv2.LINE_AA, shift=4)
    return canvas


def _ramp(mask: NDArray[np.uint8], width_px: float) -> Map:
    """Rise from the edge of a mask to `width_px` high, rounded at the top."""
    distance = cv2.distanceTransform(mask, cv2.DIST_L2, 5) / _FINE
    return np.asarray(width_px * np.sin(np.clip(distance / width_px, 0, 1) * np.pi / 2), dtype=np.float32)


def _pose(rng: np.random.Generator) -> NDArray[np.float64]:
    turn_deg, size = rng.uniform(-5, 5), rng.uniform(0.992, 1.008)
    pose = np.asarray(cv2.getRotationMatrix2D((WIDTH / 2, HEIGHT / 2), turn_deg, size), dtype=np.float64)
    pose[:, 2] += rng.uniform((-12.0, -8.0), (12.0, 8.0))
    return pose


def _finish(design: Design, pose: NDArray[np.float64], rng: np.random.Generator) -> Map:
    if design.finish == "turned":
        return _turned(pose, rng)
    bank = _surface_bank(design.finish)
    top, left = rng.integers(0, (_BANK - HEIGHT, _BANK - WIDTH))
    cut = bank[top : top + HEIGHT, left : left + WIDTH]
    if design.finish == "cast":
        return cut.copy()
    turn = cv2.getRotationMatrix2D((WIDTH / 2, HEIGHT / 2), float(np.degrees(np.arctan2(-pose[1, 0], pose[0, 0]))), 1.0)
    return np.asarray(cv2.warpAffine(cut, turn, (WIDTH, HEIGHT), borderMode=cv2.BORDER_REFLECT), dtype=np.float32)


def _turned(pose: NDArray[np.float64], rng: np.random.Generator) -> Map:
    """Rings of the lathe, and the bow-tie of light that they throw."""
    middle_x, middle_y = pose @ (WIDTH / 2, HEIGHT / 2, 1)
    x = np.arange(WIDTH, dtype=np.float32)[None, :] - np.float32(middle_x)
    y = np.arange(HEIGHT, dtype=np.float32)[:, None] - np.float32(middle_y)
    square = x * x + y * y + np.float32(1)
    rings = np.convolve(rng.normal(0, 0.06, 1600), np.ones(5) / 5, mode="same").astype(np.float32)  # four a pixel
    finish: Map = rings[(np.sqrt(square) * 4).astype(np.int32)]
    glance = rng.uniform(0.6, 0.9)  # direction of the light, in radians
    across = np.float32(np.cos(2 * glance)) * (x * x - y * y) + np.float32(2 * np.sin(2 * glance)) * (x * y)
    finish += np.float32(0.13) * across / square
    finish += np.float32(1)
    return finish


@functools.lru_cache(maxsize=4)
def _surface_bank(finish: str) -> Map:
    """Texture of a brushed or cast surface, once for all frames."""
    grain = stream("surface", finish).standard_normal((_BANK, _BANK), dtype=np.float32)
    if finish == "brushed":
        fine, coarse = cv2.blur(grain, (31, 1)), cv2.blur(grain, (181, 2))
        contrast = (0.04, 0.008)
    else:
        fine, coarse = cv2.GaussianBlur(grain, (0, 0), 1.2), cv2.GaussianBlur(grain, (0, 0), 9)
        contrast = (0.055, 0.03)
    bank = 1 + contrast[0] * fine / fine.std() + contrast[1] * coarse / coarse.std()
    return np.asarray(bank, dtype=np.float32)
