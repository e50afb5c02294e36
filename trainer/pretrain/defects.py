"""Synthetic defects: a shape, and what is to be seen inside of it. Outside of the shape not a pixel changes."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from trainer.pretrain.fields import Field, blurred, clouds, unit
from trainer.pretrain.lighting import Light, Picture, shade

Mask = Field
"""(S, S) in [0, 1]: how much of the defect a pixel shows."""

Rgb = Light
"""(S, S, 3), grey values."""

Place = NDArray[np.float64]
"""x and y in pixels."""

Shape = Callable[[np.random.Generator, int, Place, float], Mask]
"""Draws a mask: chance, side in px, place, and radius in px."""

Fill = Callable[[np.random.Generator, Rgb, Mask, Rgb], Rgb]
"""Draws what is to be seen: chance, the picture, the mask, and a picture of something else."""

VISIBLE = 12.0  # grey values by which a pixel must change to count as changed
_LEAST_PX = 8  # changed pixels without which there is no defect to be found
_TRIES = 4
_CELLS = 14


@dataclass(frozen=True)
class Kind:
    """A kind of defect: which shape is filled with what."""

    shape: Shape
    fill: Fill


def add_defect(
    rng: np.random.Generator, picture: Picture, other: Picture, kinds: tuple[Kind, ...]
) -> tuple[Picture, NDArray[np.bool_]]:
    """Put a defect of one of the kinds on a picture, where something can be seen of it.

    Args:
        rng: Decides on kind, place, size and strength.
        picture: (S, S, 3) uint8; it stays as it is.
        other: (S, S, 3) uint8 of something else.
        kinds: To choose from.

    Returns:
        The picture with the defect, and (S, S) bool where it changed visibly; nowhere, if no try could be seen.
    """
    before, foreign = picture.astype(np.float32), other.astype(np.float32)
    for _ in range(_TRIES):
        kind = kinds[int(rng.integers(len(kinds)))]
        size_px = picture.shape[0]
        radius = size_px * math.exp(rng.uniform(math.log(0.018), math.log(0.16)))
        mask = kind.shape(rng, size_px, _place(rng, picture), radius)
        filled = np.clip(kind.fill(rng, before, mask, foreign), 0, 255)
        after = np.where(mask[..., None] > 0, before + mask[..., None] * (filled - before), before).astype(np.uint8)
        changed = np.abs(after.astype(np.int16) - picture).max(axis=2) > VISIBLE
        if np.count_nonzero(changed) >= _LEAST_PX:
            return after, changed
    return picture, np.zeros(picture.shape[:2], np.bool_)


def _place(rng: np.random.Generator, picture: Picture) -> Place:
    """Choose a place: anywhere, or rather where there is some structure, so that parts are hit and not the ground."""
    size_px = picture.shape[0]
    if rng.random() < 0.3:
        return np.asarray(rng.uniform(0.05, 0.95, 2) * size_px)
    small = cv2.resize(picture, (_CELLS * 4, _CELLS * 4), interpolation=cv2.INTER_AREA).astype(np.float32).mean(axis=2)
    local = cv2.resize(np.abs(cv2.Laplacian(small, cv2.CV_32F)), (_CELLS, _CELLS), interpolation=cv2.INTER_AREA)
    weight = cv2.blur(local, (3, 3)).ravel().astype(np.float64) + 0.5
    row, column = divmod(int(rng.choice(weight.size, p=weight / weight.sum())), _CELLS)
    return np.asarray((np.array([column, row]) + rng.random(2)) * size_px / _CELLS)


def blob(rng: np.random.Generator, size_px: int, place: Place, radius: float) -> Mask:
    """An irregular round spot."""
    angle = np.linspace(0, 2 * math.pi, 28, endpoint=False)
    wave = sum(rng.normal(0, 0.2 / k) * np.cos(k * angle + rng.uniform(0, 2 * math.pi)) for k in range(1, 5))
    reach = radius * np.clip(1 + wave, 0.4, 1.8)
    squeeze, turn = rng.uniform(0.4, 1), rng.uniform(0, math.pi)
    u, v = reach * np.cos(angle), squeeze * reach * np.sin(angle)
    outline = np.stack([u * math.cos(turn) - v * math.sin(turn), u * math.sin(turn) + v * math.cos(turn)], axis=1)
    return _filled(size_px, outline + place)


def polygon(rng: np.random.Generator, size_px: int, place: Place, radius: float) -> Mask:
    """A sharp-cornered piece of three to six corners, as of a chip or a sticker."""
    angle = np.sort(rng.uniform(0, 2 * math.pi, int(rng.integers(3, 7))))
    reach = radius * rng.uniform(0.5, 1.3, len(angle))
    return _filled(size_px, np.stack([np.cos(angle), np.sin(angle)], axis=1) * reach[:, None] + place)


def scratch(rng: np.random.Generator, size_px: int, place: Place, radius: float) -> Mask:
    """One to three thin, nearly straight lines side by side."""
    turn, bend = rng.uniform(0, math.pi), rng.normal(0, 0.15)
    along = np.linspace(-1, 1, 8)[:, None] * 2 * radius
    ahead, aside = np.array([math.cos(turn), math.sin(turn)]), np.array([-math.sin(turn), math.cos(turn)])
    line = along * ahead + bend * (along**2 / (2 * radius)) * aside + place
    lines = [line + aside * rng.normal(0, 4) * k for k in range(int(rng.integers(1, 4)))]
    return _drawn(size_px, lines, rng.uniform(0.6, 2.0) * size_px / 112)


def crack(rng: np.random.Generator, size_px: int, place: Place, radius: float) -> Mask:
    """A jagged line, with a branch at times."""
    lines = [_walk(rng, place, rng.uniform(0, 2 * math.pi), radius, 0.6)]
    if rng.random() < 0.5:
        lines.append(_walk(rng, lines[0][len(lines[0]) // 2], rng.uniform(0, 2 * math.pi), radius / 2, 0.6))
    return _drawn(size_px, lines, rng.uniform(0.6, 2.2) * size_px / 112)


def stain(rng: np.random.Generator, size_px: int, place: Place, radius: float) -> Mask:
    """A patch with soft, cloudy borders."""
    body = blob(rng, size_px, place, 1.4 * radius)
    soft = blurred(body, 0.25 * radius / size_px)
    return np.where(soft > 0.02, soft * np.clip(0.7 + 0.4 * clouds(rng, size_px, 10), 0, 1), 0).astype(np.float32)


def specks(rng: np.random.Generator, size_px: int, place: Place, radius: float) -> Mask:
    """A few small dots close together."""
    canvas = np.zeros((size_px, size_px), np.uint8)
    for _ in range(int(rng.integers(2, 9))):
        at = ((place + rng.normal(0, radius, 2)) * 16).astype(int)
        size = int(16 * rng.uniform(0.6, 2.2) * size_px / 112)
        cv2.circle(canvas, (int(at[0]), int(at[1])), size, 255, cv2.FILLED, cv2.LINE_AA, shift=4)
    return canvas.astype(np.float32) / 255


def fibre(rng: np.random.Generator, size_px: int, place: Place, radius: float) -> Mask:
    """A long, smoothly bent thread."""
    line = _walk(rng, place, rng.uniform(0, 2 * math.pi), 1.6 * radius, 0.12)
    return _drawn(size_px, [line], rng.uniform(0.8, 1.6) * size_px / 112)


def bar(rng: np.random.Generator, size_px: int, place: Place, radius: float) -> Mask:
    """A longish rectangle, as of something missing, or of a bent edge."""
    turn, ratio = rng.uniform(0, math.pi), rng.uniform(0.15, 0.5)
    box = np.array([[-1, -ratio], [1, -ratio], [1, ratio], [-1, ratio]]) * radius * 1.3
    rotation = np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])
    return _filled(size_px, box @ rotation + place)


def darker(rng: np.random.Generator, picture: Rgb, mask: Mask, other: Rgb) -> Rgb:  # noqa: ARG001 - one signature
    """The same, darker."""
    return picture * np.float32(rng.uniform(0.1, 0.8))


def brighter(rng: np.random.Generator, picture: Rgb, mask: Mask, other: Rgb) -> Rgb:  # noqa: ARG001
    """The same, brighter."""
    return picture + np.float32(rng.uniform(0.15, 0.8)) * (np.float32(rng.uniform(160, 255)) - picture)


def paint(rng: np.random.Generator, picture: Rgb, mask: Mask, other: Rgb) -> Rgb:  # noqa: ARG001
    """One flat colour with a little grain."""
    colour = rng.uniform(0, 255) * (np.ones(3) if rng.random() < 0.6 else rng.uniform(0.4, 1.4, 3))
    grain = rng.uniform(0, 14) * rng.standard_normal(mask.shape, dtype=np.float32)
    return (colour + grain[..., None]).astype(np.float32)


def foreign(rng: np.random.Generator, picture: Rgb, mask: Mask, other: Rgb) -> Rgb:
    """Something of another picture, brought near to the brightness of this one at times."""
    laid = np.roll(other, tuple(rng.integers(0, mask.shape[0], 2)), (0, 1))
    if rng.random() < 0.5:
        inside = mask > 0.3
        if inside.any():
            laid = laid + (picture[inside].mean(axis=0) - laid[inside].mean(axis=0)) * np.float32(rng.uniform(0.6, 1))
    return laid


def pasted(rng: np.random.Generator, picture: Rgb, mask: Mask, other: Rgb) -> Rgb:  # noqa: ARG001
    """Another place of the same picture, turned by quarters and mirrored."""
    size_px = mask.shape[0]
    laid = np.rot90(picture, int(rng.integers(4)))
    if rng.random() < 0.5:
        laid = laid[::-1]
    return np.roll(laid, tuple(rng.integers(size_px // 12, size_px, 2)), (0, 1))


def softened(rng: np.random.Generator, picture: Rgb, mask: Mask, other: Rgb) -> Rgb:  # noqa: ARG001
    """The same, out of focus."""
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), rng.uniform(1.5, 5.0) * mask.shape[0] / 112), np.float32)


def flattened(rng: np.random.Generator, picture: Rgb, mask: Mask, other: Rgb) -> Rgb:  # noqa: ARG001
    """The same with another contrast."""
    middle = picture.mean(axis=(0, 1))
    factor = rng.choice([rng.uniform(0, 0.5), rng.uniform(1.6, 3.0)])
    return np.asarray(middle + (picture - middle) * np.float32(factor))


def dented(rng: np.random.Generator, picture: Rgb, mask: Mask, other: Rgb) -> Rgb:  # noqa: ARG001
    """The same surface with a dent or a bump, lit from a side."""
    depth = np.float32(rng.choice([-1, 1]) * rng.uniform(0.01, 0.05))
    light = shade(depth * blurred(mask, 0.012), rng.uniform(0, 2 * math.pi), relief=1.5)
    return picture * light[..., None]


def warped(rng: np.random.Generator, picture: Rgb, mask: Mask, other: Rgb) -> Rgb:  # noqa: ARG001
    """The same, pushed aside: lines bend, teeth shift."""
    size_px = mask.shape[0]
    rows, columns = np.mgrid[0:size_px, 0:size_px].astype(np.float32)
    push = rng.normal(0, 1, 2)
    push *= size_px * rng.uniform(0.03, 0.08) / np.hypot(*push)
    soft = blurred(mask, 0.02)
    moved = cv2.remap(
        picture,
        columns + soft * np.float32(push[0]),
        rows + soft * np.float32(push[1]),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REFLECT,
    )
    return np.asarray(moved, np.float32)


def rusted(rng: np.random.Generator, picture: Rgb, mask: Mask, other: Rgb) -> Rgb:  # noqa: ARG001
    """Clouds of a tone in between, through which the surface shows."""
    cover = unit(clouds(rng, mask.shape[0], int(rng.integers(8, 30))))[..., None]
    tone = np.float32(rng.uniform(20, 200)) * np.array([1.0, rng.uniform(0.6, 1), rng.uniform(0.4, 1)], np.float32)
    return (1 - cover) * picture + cover * tone


_SHAPES: tuple[Shape, ...] = (blob, polygon, scratch, crack, stain, specks)
_FILLS: tuple[Fill, ...] = (darker, brighter, paint, foreign, pasted, softened, flattened)

TRAINING_KINDS: tuple[Kind, ...] = tuple(Kind(shape, fill) for shape in _SHAPES for fill in _FILLS)
HELD_OUT_KINDS: tuple[Kind, ...] = (
    Kind(blob, dented),
    Kind(fibre, darker),
    Kind(fibre, paint),
    Kind(blob, warped),
    Kind(bar, warped),
    Kind(bar, paint),
    Kind(stain, rusted),
    Kind(bar, pasted),
)


def _filled(size_px: int, outline: NDArray[np.float64]) -> Mask:
    canvas = np.zeros((size_px, size_px), np.uint8)
    cv2.fillPoly(canvas, [np.asarray(outline * 16, np.int32)], 255, lineType=cv2.LINE_AA, shift=4)
    return canvas.astype(np.float32) / np.float32(255)


def _drawn(size_px: int, lines: list[NDArray[np.float64]], width: float) -> Mask:
    """Draw lines; below one pixel a width is a lighter line."""
    canvas = np.zeros((size_px, size_px), np.uint8)
    points = [np.asarray(line * 16, np.int32) for line in lines]
    cv2.polylines(canvas, points, False, 255, max(1, round(width)), cv2.LINE_AA, shift=4)
    return canvas.astype(np.float32) * np.float32(min(1.0, max(width, 0.6)) / 255)


def _walk(rng: np.random.Generator, start: Place, turn: float, radius: float, jitter: float) -> NDArray[np.float64]:
    steps = 14
    turns = turn + (rng.normal(0, jitter, steps) if jitter > 0.3 else np.cumsum(rng.normal(0, jitter, steps) + 0.05))
    ways = np.stack([np.cos(turns), np.sin(turns)], axis=1) * (3 * radius / steps)
    walk = np.cumsum(ways, axis=0)
    return np.asarray(start + walk - walk[steps // 2])
