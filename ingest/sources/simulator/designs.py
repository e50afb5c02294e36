"""The products that the simulated camera knows: a product's name chooses a family of machined parts and its measures.

Designs are drawn in pixels of the picture, around (0, 0). The same name gives the same design on every machine.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ingest.sources.simulator.seeds import stream

Outline = NDArray[np.float64]
"""(N, 2) corners of a closed line, x and y in pixels."""


@dataclass(frozen=True, slots=True)
class Hole:
    """A round hole that a part could miss."""

    x: float
    y: float
    radius: float


@dataclass(frozen=True, slots=True)
class Design:
    """One product's drawing.

    Attributes:
        family: gear, flange, bracket, washer or link.
        outline: The outer contour.
        openings: Bores and slots that belong to the shape.
        holes: Small round holes, at least one.
        reliefs: What stands out of (+) or lies below (-) the surface: outline and height in pixels.
        finish: `turned`, `brushed` or `cast`.
        metal: Colour of the metal, red, green and blue, around 1.
        belt: Colour of the belt below.
    """

    family: str
    outline: Outline
    openings: tuple[Outline, ...]
    holes: tuple[Hole, ...]
    reliefs: tuple[tuple[Outline, float], ...]
    finish: str
    metal: tuple[float, float, float]
    belt: tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class _Shape:
    outline: Outline
    openings: tuple[Outline, ...]
    holes: tuple[Hole, ...]
    reliefs: tuple[tuple[Outline, float], ...]
    finishes: tuple[str, ...]


_METALS = (
    (1.00, 1.00, 1.01),  # steel
    (0.97, 1.00, 1.05),  # galvanised
    (1.05, 1.03, 1.00),  # aluminium
    (1.20, 1.03, 0.70),  # brass
    (1.14, 0.92, 0.78),  # bronze
)
_BELTS = ((1.0, 1.0, 1.05), (0.82, 1.1, 0.94), (0.85, 0.98, 1.2), (1.1, 1.02, 0.92))


def design_of(product: str) -> Design:
    """Return the design that belongs to a product's name; a name with a family in it (`gear-7`) is one of that family."""
    rng = stream("design", product)
    named = [family for family in sorted(_FAMILIES) if family in product.lower()]
    family = str(rng.choice(named or sorted(_FAMILIES)))
    shape = _FAMILIES[family](rng)
    return Design(
        family=family,
        outline=shape.outline,
        openings=shape.openings,
        holes=shape.holes,
        reliefs=shape.reliefs,
        finish=str(rng.choice(shape.finishes)),
        metal=_METALS[int(rng.integers(len(_METALS)))],
        belt=_BELTS[int(rng.integers(len(_BELTS)))],
    )


def circle(x: float, y: float, radius: float, corners: int = 120) -> Outline:
    """Return a circle as a polygon."""
    angle = np.linspace(0, 2 * math.pi, corners, endpoint=False)
    return np.stack([x + radius * np.cos(angle), y + radius * np.sin(angle)], axis=1)


def _rounded_box(width: float, height: float, radius: float, x: float = 0, y: float = 0) -> Outline:
    corners = []
    for quarter, (sx, sy) in enumerate(((1, 1), (-1, 1), (-1, -1), (1, -1))):
        angle = np.linspace(quarter, quarter + 1, 14) * math.pi / 2
        middle_x, middle_y = x + sx * (width / 2 - radius), y + sy * (height / 2 - radius)
        corners.append(np.stack([middle_x + radius * np.cos(angle), middle_y + radius * np.sin(angle)], axis=1))
    return np.concatenate(corners)


def _bolt_circle(count: int, at: float, radius: float, turn: float = 0.0) -> tuple[Hole, ...]:
    angles = turn + np.arange(count) * 2 * math.pi / count
    return tuple(Hole(at * math.cos(a), at * math.sin(a), radius) for a in angles)


def _gear(rng: np.random.Generator) -> _Shape:
    teeth = int(rng.integers(18, 31))
    tip, root = rng.uniform(146, 156), rng.uniform(126, 132)
    pitch = 2 * math.pi / teeth
    profile = ((-0.36, root), (-0.24, root), (-0.13, tip), (0.13, tip), (0.24, root), (0.36, root))
    corners = [
        (radius * math.cos((k + part) * pitch), radius * math.sin((k + part) * pitch))
        for k in range(teeth)
        for part, radius in profile
    ]
    bore, hub = rng.uniform(22, 30), rng.uniform(46, 54)
    keyway = _rounded_box(10, 2 * bore + 12, 2)
    holes = _bolt_circle(int(rng.integers(4, 7)), rng.uniform(80, 86), rng.uniform(11, 16))
    reliefs = ((circle(0, 0, root - 16), -3.0), (circle(0, 0, hub), 4.0))
    return _Shape(np.array(corners), (circle(0, 0, bore), keyway), holes, reliefs, ("turned", "cast"))


def _flange(rng: np.random.Generator) -> _Shape:
    radius, bore = rng.uniform(140, 154), rng.uniform(38, 56)
    holes = _bolt_circle(
        int(rng.choice([4, 6, 8])), radius - rng.uniform(25, 30), rng.uniform(9, 13), rng.uniform(0, 1)
    )
    face = bore + rng.uniform(26, 34)
    groove = bore + rng.uniform(10, 14)
    reliefs = ((circle(0, 0, face), 4.0), (circle(0, 0, groove + 4), -2.5), (circle(0, 0, groove), 2.5))
    return _Shape(circle(0, 0, radius, 240), (circle(0, 0, bore),), holes, reliefs, ("turned",))


def _bracket(rng: np.random.Generator) -> _Shape:
    width, height = rng.uniform(310, 350), rng.uniform(210, 240)
    inset_x, inset_y = width / 2 - rng.uniform(30, 38), height / 2 - rng.uniform(30, 38)
    hole = rng.uniform(10, 15)
    holes = tuple(Hole(sx * inset_x, sy * inset_y, hole) for sx in (-1, 1) for sy in (-1, 1))
    slot = _rounded_box(rng.uniform(90, 130), rng.uniform(24, 34), 12, 0, rng.uniform(-14, 14))
    rib = inset_x - rng.uniform(44, 54)
    ribs = tuple((_rounded_box(14, height * 0.62, 6.9, sx * rib, 0), 4.0) for sx in (-1, 1))
    outline = _rounded_box(width, height, rng.uniform(16, 40))
    return _Shape(outline, (slot,), holes, ribs, ("brushed", "cast"))


def _washer(rng: np.random.Generator) -> _Shape:
    radius = rng.uniform(136, 152)
    bore = radius * rng.uniform(0.42, 0.52)
    middle = (radius + bore) / 2
    holes = _bolt_circle(int(rng.integers(3, 6)), middle, rng.uniform(8, 12), rng.uniform(0, 1))
    notch = _rounded_box(2 * bore + 26, rng.uniform(16, 26), 4)
    reliefs = ((circle(0, 0, middle + 24), -2.0), (circle(0, 0, middle - 24), 2.0))
    return _Shape(circle(0, 0, radius, 240), (circle(0, 0, bore), notch), holes, reliefs, ("turned", "brushed"))


def _link(rng: np.random.Generator) -> _Shape:
    """Two eyes of different size and the convex hull of both, waisted."""
    reach, big, small = rng.uniform(104, 116), rng.uniform(78, 90), rng.uniform(52, 62)
    x = (reach + (big + small) / 2) * np.sin(np.linspace(-np.pi / 2, np.pi / 2, 400)) + (
        small - big
    ) / 2  # dense at the ends
    left = np.sqrt(np.clip(big**2 - (x + reach) ** 2, 0, None))
    right = np.sqrt(np.clip(small**2 - (x - reach) ** 2, 0, None))
    waist = rng.uniform(32, 40)
    bar = np.where(np.abs(x) < reach, waist + 10 * (x / reach) ** 4, 0)
    half = np.maximum(np.maximum(left, right), bar)
    outline = np.concatenate([np.stack([x, half], axis=1), np.stack([x[::-1], -half[::-1]], axis=1)])
    bores = (circle(-reach, 0, big * rng.uniform(0.48, 0.56)), circle(reach, 0, small * rng.uniform(0.42, 0.5)))
    eyes = ((circle(-reach, 0, big * 0.8), 4.0), (circle(reach, 0, small * 0.78), 4.0))
    holes = tuple(Hole(at, 0.0, rng.uniform(9, 12)) for at in (-10.0, 26.0))
    web = ((_rounded_box(96, 34, 15, 8, 0), -3.0),)
    return _Shape(outline, bores, holes, eyes + web, ("cast", "brushed"))


_FAMILIES: dict[str, Callable[[np.random.Generator], _Shape]] = {
    "gear": _gear,
    "flange": _flange,
    "bracket": _bracket,
    "washer": _washer,
    "link": _link,
}
