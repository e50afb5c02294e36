"""Boards: printed circuits with traces, pads, vias, chips and small parts."""

import cv2
import numpy as np
from numpy.typing import NDArray

from trainer.pretrain.glyphs import draw_glyphs
from trainer.pretrain.lighting import Picture, expose
from trainer.pretrain.palette import paint
from trainer.pretrain.program import Program
from trainer.pretrain.setting import draw_setting

_PX = 448


def boards(rng: np.random.Generator) -> Program:
    """One board, drawn once; its pictures differ in place, turn and light."""
    setting = draw_setting(rng, free_share=0.3)
    board = _board(rng)

    def draw(chance: np.random.Generator, size_px: int) -> Picture:
        x, y = setting.pose(chance, size_px)
        maps = [((c + 0.5) * _PX - 0.5).astype(np.float32) for c in (x, y)]
        small = cv2.GaussianBlur(board, (0, 0), 0.45 * _PX / size_px)
        ground = [float(c) for c in setting.ground]
        laid = cv2.remap(small, maps[0], maps[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=ground)
        return expose(chance, np.asarray(laid, np.float32))

    return draw


def _board(rng: np.random.Generator) -> NDArray[np.float32]:
    mask, copper = paint(rng, 20, 120), np.clip(paint(rng, 90, 200), 30, 240)
    board = np.empty((_PX, _PX, 3), np.float32)
    board[:] = mask
    pitch = int(rng.integers(10, 28))
    trace = tuple(float(c) for c in 0.6 * mask + 0.4 * copper)
    pad = tuple(float(c) for c in copper)
    for _ in range(int(rng.integers(10, 60))):
        _trace(rng, board, pitch, trace)
    for _ in range(int(rng.integers(5, 60))):
        at = [int(c) for c in rng.integers(1, _PX // pitch, 2) * pitch]
        cv2.circle(board, at, pitch // 3, pad, cv2.FILLED, cv2.LINE_AA)
        cv2.circle(board, at, pitch // 6, (15.0, 15.0, 15.0), cv2.FILLED, cv2.LINE_AA)
    for _ in range(int(rng.integers(1, 7))):
        _chip(rng, board, pitch, pad)
    print_ = draw_glyphs(rng, int(rng.integers(2, 7)), rng.uniform(0.03, 0.06), int(rng.integers(1, 4)))[..., None]
    return (1 - print_) * board + print_ * np.float32(rng.uniform(180, 250))


def _trace(rng: np.random.Generator, board: NDArray[np.float32], pitch: int, colour: tuple[float, ...]) -> None:
    points = [rng.integers(0, _PX // pitch, 2) * pitch]
    ways = np.array([(1, 0), (0, 1), (-1, 0), (0, -1), (1, 1), (-1, 1)])
    for _ in range(int(rng.integers(2, 6))):
        points.append(points[-1] + ways[int(rng.integers(len(ways)))] * pitch * int(rng.integers(1, 9)))
    cv2.polylines(board, [np.array(points, np.int32)], False, colour, max(1, pitch // 5), cv2.LINE_AA)


def _chip(rng: np.random.Generator, board: NDArray[np.float32], pitch: int, pad: tuple[float, ...]) -> None:
    left, top = (int(c) for c in rng.integers(0, _PX - 80, 2))
    wide, high = (int(c) for c in rng.integers(2, 9, 2) * pitch)
    legs = int(rng.integers(2, 5))
    for at in range(left + pitch // 3, left + wide - pitch // 3, max(pitch * 2 // 3, 4)):
        cv2.rectangle(board, (at, top - pitch // 2), (at + pitch // legs, top + high + pitch // 2), pad, cv2.FILLED)
    tone = [float(c) for c in paint(rng, 20, 230)]
    cv2.rectangle(board, (left, top), (left + wide, top + high), tone, cv2.FILLED)
    edge = [min(255.0, c * 1.35) for c in tone]
    cv2.line(board, (left, top), (left + wide, top), edge, 2)
    cv2.line(board, (left, top), (left, top + high), edge, 2)
    if rng.random() < 0.5:
        cv2.circle(board, (left + pitch // 2, top + pitch // 2), pitch // 4, edge, cv2.FILLED, cv2.LINE_AA)
