"""Synthetic defects in a product's own defect-free pictures: what a defect map learns from, and what weights are chosen by."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from infra.pictures import RgbPicture
from scorer.detector import VIEW_PX, prepare
from trainer.images import PictureSet, drawn_pictures
from trainer.pretrain.defects import Kind, add_defect

_TURNS = 8  # quarter turns, and mirrored ones


def squares(pictures: PictureSet) -> Iterator[RgbPicture]:
    """Decode pictures one by one and resize each to the square that the extractor sees: (448, 448, 3) uint8."""
    for (picture,) in pictures.chunks(1):
        yield np.ascontiguousarray(prepare([picture], VIEW_PX)[0].permute(1, 2, 0).numpy())


def with_turned(pictures: PictureSet, few: int) -> PictureSet:
    """Add turned and mirrored copies where there are few pictures, up to eight of each; the pictures themselves come first.

    Args:
        pictures: N pictures.
        few: Copies are added until there are about so many.

    On seven products of families held out of pretraining, with 16 pictures each, a local model that learned from such copies,
    fused by scales from such copies of the probe, had 1.7 points of AUROC more on average (once 3.5 less, else more).
    """
    copies = min(_TURNS, -(-few // max(len(pictures), 1)))
    if copies <= 1:
        return pictures
    known = list(squares(pictures))
    turned = [_turned(square, turn) for turn in range(1, copies) for square in known]
    return PictureSet((*pictures.pictures, *drawn_pictures(turned).pictures), pictures.skipped)


def _turned(square: RgbPicture, turn: int) -> RgbPicture:
    quarter = np.rot90(square, turn % 4)
    return np.ascontiguousarray(quarter[:, ::-1] if turn >= _TURNS // 2 else quarter)


def with_defects(
    pictures: Sequence[RgbPicture], kinds: tuple[Kind, ...], rng: np.random.Generator
) -> tuple[list[RgbPicture], NDArray[np.bool_]]:
    """Put a defect on each picture; what is foreign in it comes from another picture of the same product.

    Args:
        pictures: (S, S, 3) uint8 each; they stay as they are.
        kinds: Kinds of defects to choose from.
        rng: Decides on everything.

    Returns:
        The defective twins, and (N, S, S) bool where each differs visibly; nowhere, where nothing could be seen.
    """
    twins: list[RgbPicture] = []
    changed: list[NDArray[np.bool_]] = []
    for picture in pictures:
        other = pictures[int(rng.integers(len(pictures)))]
        twin, where = add_defect(rng, picture, other, kinds)
        twins.append(twin)
        changed.append(where)
    return twins, np.stack(changed)


def to_tensor(pictures: Sequence[RgbPicture], device: torch.device) -> Tensor:
    """Stack squares, (S, S, 3) uint8 each, to (N, 3, S, S) uint8 on the device."""
    return torch.from_numpy(np.stack(pictures)).to(device).permute(0, 3, 1, 2).contiguous()


def cell_cover(changed: NDArray[np.bool_], cells: int) -> Tensor:
    """Share of each cell that was changed: (N, S, S) bool to (N, cells, cells) float32."""
    return F.adaptive_avg_pool2d(torch.from_numpy(changed)[:, None].float(), cells)[:, 0]
