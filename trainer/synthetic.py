"""Synthetic defects in a product's own defect-free pictures: what a defect map learns from, and what weights are chosen by."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from infra.pictures import RgbPicture
from scorer.detector import VIEW_PX, prepare
from trainer.images import PictureSet
from trainer.pretrain.defects import Kind, add_defect


def squares(pictures: PictureSet) -> Iterator[RgbPicture]:
    """Decode pictures one by one and resize each to the square that the extractor sees: (448, 448, 3) uint8."""
    for (picture,) in pictures.chunks(1):
        yield np.ascontiguousarray(prepare([picture], VIEW_PX)[0].permute(1, 2, 0).numpy())


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
