"""The defects that the simulated camera knows: one function a kind, each changing a scene in place.

Sizes are pixels of the picture and vary from just visible to plain. Every function changes a bounded place only.
"""

import math
from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from ingest.sources.simulator.parts import HEIGHT, WIDTH, Layer, Map, Scene, posed, relief

Points = NDArray[np.float64]
"""(N, 2) points of a line, x and y in pixels."""

Defect = Callable[[str, Scene, np.random.Generator], None]

_FRACTION_BITS = 4
_TRIES = 4  # of so many places or directions the one with the most of the part is taken


def draw_defect(kind: str, product: str, scene: Scene, rng: np.random.Generator) -> None:
    """Put a defect of a kind (a key of `DEFECTS`) on a part of a product."""
    DEFECTS[kind](product, scene, rng)


def scratch(_: str, scene: Scene, rng: np.random.Generator) -> None:
    """One to three long, thin, bright lines side by side."""
    start, length = _surface_point(scene, rng, 10), rng.uniform(70, 160)
    along = np.linspace(-0.5, 0.5, 24)[:, None]
    turns = rng.uniform(0, math.pi, _TRIES)
    directions = np.stack([np.cos(turns), np.sin(turns)], axis=1)
    ahead = max(directions, key=lambda way: _share_on_part(scene, start + along * length * way))
    aside = np.array([-ahead[1], ahead[0]])
    bow = rng.uniform(-0.12, 0.12) * length * (along**2 - 0.1)
    for k in range(int(rng.integers(1, 4))):
        shift = aside * k * rng.uniform(3, 8) + ahead * rng.uniform(-24, 24)
        points = (
            start + shift + along * length * rng.uniform(0.35, 1) ** k * (ahead + rng.normal(0, 0.04, 2)) + bow * aside
        )
        fading = rng.uniform(1.0, 1.9) * (1 - 1.2 * along[:, 0] ** 2)
        line = _stroke(points, fading) * scene.coverage
        scene.finish += line * np.float32(rng.uniform(0.16, 0.42))
        scene.height -= line * np.float32(rng.uniform(0.5, 1.2))


def crack(_: str, scene: Scene, rng: np.random.Generator) -> None:
    """A dark jagged line with a branch, narrowing to its end."""
    start, steps = _surface_point(scene, rng, 14), int(rng.integers(16, 30))
    turns = rng.uniform(0, 2 * math.pi, _TRIES)
    walks = [_walk(start, turn, steps, rng) for turn in turns]
    best = int(np.argmax([_share_on_part(scene, walk) for walk in walks]))
    trunk, turn = walks[best], turns[best]
    branch_at = len(trunk) // 2
    branch = _walk(trunk[branch_at], turn + rng.choice([-1, 1]) * rng.uniform(0.5, 1.0), len(trunk) // 3, rng)
    widest = rng.uniform(1.8, 2.8)
    line = _stroke(trunk, np.linspace(widest, 0.8, len(trunk)))
    line = np.maximum(line, _stroke(branch, np.linspace(widest * 0.6, 0.7, len(branch)))) * scene.coverage
    scene.finish *= 1 - np.float32(rng.uniform(0.62, 0.8)) * line
    scene.height -= np.float32(1.2) * line


def blowhole(_: str, scene: Scene, rng: np.random.Generator) -> None:
    """A few round pits close together, dark inside, with a lit lower rim."""
    middle = _surface_point(scene, rng, 16)
    for _k in range(int(rng.integers(2, 6))):
        x, y = middle + rng.normal(0, 9, 2)
        radius = rng.uniform(2.4, 6.0)
        outline = _blob(x, y, radius, 0.16, rng)
        pit = cv2.GaussianBlur(_filled(outline), (5, 5), 0.9) * scene.coverage
        scene.height -= pit * np.float32(0.55 * radius + 1)
        scene.finish *= 1 - np.float32(rng.uniform(0.5, 0.68)) * pit


def stain(_: str, scene: Scene, rng: np.random.Generator) -> None:
    """A translucent patch of oil or rust with a darker rim."""
    x, y = _surface_point(scene, rng, 16)
    radius = rng.uniform(18, 38)
    patch = cv2.GaussianBlur(_filled(_blob(x, y, radius, 0.3, rng)), (0, 0), rng.uniform(1.5, 4.0))
    rim = 4 * patch * (1 - patch)
    cloud = cv2.resize(rng.random((24, 32), dtype=np.float32), (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    alpha = patch * (0.45 + 0.75 * cloud) + 0.3 * rim
    alpha *= np.float32(rng.uniform(0.3, 0.55)) * scene.coverage
    colours = ((70.0, 44.0, 22.0), (44.0, 38.0, 30.0), (96.0, 52.0, 24.0))
    _lay(scene, alpha, colours[int(rng.integers(len(colours)))])


def missing_hole(product: str, scene: Scene, rng: np.random.Generator) -> None:
    """A hole that was never drilled: the surface goes on where it should be."""
    hole = int(rng.integers(len(scene.design.holes)))
    scene.height, scene.coverage = posed(relief(product, without_hole=hole), scene.pose)


def chipped_edge(_: str, scene: Scene, rng: np.random.Generator) -> None:
    """A piece broken out of the outer edge, the fracture rough and bright."""
    solid = (scene.coverage > 0.5).astype(np.uint8)
    contours, _hierarchy = cv2.findContours(solid, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    edge = max(contours, key=len)[:, 0, :]
    places = edge[rng.integers(len(edge), size=_TRIES)].astype(float)
    pieces = [_filled(_blob(x, y, rng.uniform(9, 18), 0.28, rng)) for x, y in places]
    lost = max(pieces, key=lambda piece: float((piece * solid).sum()))
    lost = np.maximum(lost, _loose((solid * (lost < 0.5)).astype(np.uint8)))
    slope = np.clip(cv2.GaussianBlur(lost, (0, 0), 2.6) * 1.6 - lost, 0, 1)
    rough = cv2.GaussianBlur(rng.standard_normal((HEIGHT, WIDTH), dtype=np.float32), (3, 3), 0.8)
    scene.finish *= 1 + slope * (np.float32(0.28) + np.float32(0.5) * rough)
    scene.height *= 1 - slope * np.float32(0.45)
    scene.height *= 1 - lost
    scene.coverage *= 1 - lost


def foreign_fibre(_: str, scene: Scene, rng: np.random.Generator) -> None:
    """A thread or hair that lies on the part, with its shadow."""
    start, turn = _surface_point(scene, rng, 8), rng.uniform(0, 2 * math.pi)
    steps, bend = int(rng.integers(24, 44)), rng.normal(0, 0.025)
    bends = bend + np.cumsum(rng.normal(0, 0.03, steps))
    angles = turn + np.cumsum(bends)
    points = 3.4 * np.cumsum(np.stack([np.cos(angles), np.sin(angles)], axis=1), axis=0)
    points += start - points[steps // 2]
    width = rng.uniform(1.2, 2.0)
    thread = _stroke(points, np.full(steps, width))
    shadow = cv2.GaussianBlur(_stroke(points + np.array([2.2, 2.8]), np.full(steps, width + 0.8)), (5, 5), 1.2)
    colours = ((32.0, 30.0, 34.0), (40.0, 48.0, 96.0), (214.0, 208.0, 198.0), (112.0, 34.0, 32.0))
    _lay(scene, shadow * np.float32(0.4), (14.0, 14.0, 14.0))
    _lay(scene, thread * np.float32(0.88), colours[int(rng.integers(len(colours)))])


DEFECTS: dict[str, Defect] = {
    defect.__name__: defect for defect in (scratch, crack, blowhole, stain, missing_hole, chipped_edge, foreign_fibre)
}


def _surface_point(scene: Scene, rng: np.random.Generator, margin_px: int) -> Points:
    """Choose a point on the part that lies at least a margin away from its edges, where the part is wide enough."""
    solid = (scene.coverage > 0.99).astype(np.uint8)
    inner = cv2.distanceTransform(solid, cv2.DIST_L2, 3)
    places = np.flatnonzero(inner >= min(margin_px, float(inner.max())))
    y, x = divmod(int(places[int(rng.integers(len(places)))]), WIDTH)
    return np.array([x, y], dtype=np.float64)


def _share_on_part(scene: Scene, points: Points) -> float:
    """Return which share of a line's points lies on the part."""
    x, y = np.round(points).astype(int).T
    inside = (x >= 0) & (x < WIDTH) & (y >= 0) & (y < HEIGHT)
    return float(scene.coverage[y[inside], x[inside]].sum()) / len(points)


def _loose(solid: NDArray[np.uint8]) -> Map:
    """Return the pieces that hang on nothing any more: all but the largest, with their soft edges."""
    _count, labels, sizes, _middles = cv2.connectedComponentsWithStats(solid)
    pieces = (labels > 0) & (labels != 1 + int(np.argmax(sizes[1:, cv2.CC_STAT_AREA])))
    return np.asarray(cv2.dilate(pieces.astype(np.float32), np.ones((5, 5), np.uint8)), dtype=np.float32)


def _walk(start: Points, turn: float, steps: int, rng: np.random.Generator) -> Points:
    angles = turn + rng.normal(0, 0.55, steps)
    lengths = rng.uniform(2, 6, steps)[:, None]
    return np.asarray(start + np.cumsum(lengths * np.stack([np.cos(angles), np.sin(angles)], axis=1), axis=0))


def _blob(x: float, y: float, radius: float, roughness: float, rng: np.random.Generator) -> Points:
    """Return an irregular closed outline around a point."""
    angle = np.linspace(0, 2 * math.pi, 40, endpoint=False)
    waves = sum(rng.normal(0, roughness / k) * np.cos(k * angle + rng.uniform(0, 2 * math.pi)) for k in range(2, 6))
    distance = radius * np.clip(1 + waves, 0.5, 1.6)
    return np.stack([x + distance * np.cos(angle), y + distance * np.sin(angle)], axis=1)


def _fixed_point(points: Points) -> NDArray[np.int32]:
    return np.asarray(np.round(points * 2**_FRACTION_BITS), dtype=np.int32)


def _filled(outline: Points) -> Map:
    canvas = np.zeros((HEIGHT, WIDTH), np.uint8)
    cv2.fillPoly(canvas, [_fixed_point(outline)], 255, lineType=cv2.LINE_AA, shift=_FRACTION_BITS)
    return np.asarray(canvas / np.float32(255), dtype=np.float32)


def _stroke(points: Points, widths_px: NDArray[np.float64]) -> Map:
    """Draw a line whose width changes along the way; below one pixel it grows fainter instead."""
    across = np.stack([-np.gradient(points[:, 1]), np.gradient(points[:, 0])], axis=1)
    across *= (np.maximum(widths_px, 1.0) / 2 / np.maximum(np.linalg.norm(across, axis=1), 1e-9))[:, None]
    line = _filled(np.concatenate([points + across, (points - across)[::-1]]))
    return line * np.float32(min(1.0, widths_px.mean()))


def _lay(scene: Scene, alpha: Map, colour: tuple[float, float, float]) -> None:
    """Put a layer on the scene, cut to where it covers anything."""
    rows, columns = np.flatnonzero(alpha.max(axis=1) > 0), np.flatnonzero(alpha.max(axis=0) > 0)
    if rows.size == 0:
        return
    top, left = int(rows[0]), int(columns[0])
    window = alpha[top : int(rows[-1]) + 1, left : int(columns[-1]) + 1]
    scene.layers.append(Layer(np.ascontiguousarray(window), colour, left, top))
