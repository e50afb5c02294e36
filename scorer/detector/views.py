"""Views: what one decoded picture looks like under rotation, brightness and contrast, made on the device."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.nn import functional as F

from scorer.detector.extractor import VIEW_PX

FactorRange = tuple[Annotated[float, Field(gt=0, le=10)], Annotated[float, Field(gt=0, le=10)]]
_UNCHANGED = (1.0, 1.0)


class ViewPlan(BaseModel):
    """Which views of a picture are looked at.

    The first view is the picture as it is (angle 0); the others are rotated by angles drawn uniformly from [0, 2 pi).
    Source: sections 3.2 and 4.2 of the paper, which sets the factor ranges to [0.85, 1.15] where they are used.

    Attributes:
        count: Views per picture.
        seed: Seed of the angles and factors.
        brightness: Range of the factor on all pixels; (1, 1) leaves them.
        contrast: Range of the factor on the distance from the picture's mean grey; (1, 1) leaves it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    count: int = Field(ge=1, le=4096)
    seed: int = Field(0, ge=0)
    brightness: FactorRange = _UNCHANGED
    contrast: FactorRange = _UNCHANGED

    def draw(self, pictures: int, shared: bool = True) -> Views:
        """Draw the views of `pictures` pictures.

        Args:
            pictures: How many pictures.
            shared: All pictures get the same views, whatever their number (scoring: a batch of one is a batch of N);
                else each gets its own (training: more angles are seen).
        """
        rng = np.random.default_rng(self.seed)
        shape = (1 if shared else pictures, self.count)
        angles = rng.uniform(0.0, 2.0 * math.pi, shape)
        angles[:, 0] = 0.0
        drawn = (angles, rng.uniform(*self.brightness, shape), rng.uniform(*self.contrast, shape))
        rows = tuple(np.broadcast_to(part, (pictures, self.count)).reshape(-1).astype(np.float32) for part in drawn)
        return Views(np.repeat(np.arange(pictures), self.count), *rows)

    @property
    def begins_upright(self) -> bool:
        """Whether the first view is the picture as it is, with no factor on it."""
        return self.brightness == self.contrast == _UNCHANGED

    def order(self) -> NDArray[np.int64]:
        """In which order a picture's views are looked at, so that every beginning covers the circle evenly.

        The views are ranked by angle and the ranks taken in bit-reversed order (van der Corput): half a turn, then quarters.

        Returns:
            (count,) int64, numbers of views; the picture as it is comes first.
        """
        by_angle = np.argsort(self.draw(1).angle, kind="stable")
        bits = max(self.count - 1, 0).bit_length()
        reversed_ranks = [int(f"{rank:0{bits}b}"[::-1], 2) if bits else 0 for rank in range(2**bits)]
        return by_angle[[rank for rank in reversed_ranks if rank < self.count]]


@dataclass(frozen=True)
class Views:
    """A list of views: of which picture, under which angle and factors. All four are (M,) arrays.

    Attributes:
        picture: Index of the picture, int64.
        angle: Rotation in radians, float32.
        brightness: Factor, float32.
        contrast: Factor, float32.
    """

    picture: NDArray[np.int64]
    angle: NDArray[np.float32]
    brightness: NDArray[np.float32]
    contrast: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.picture)

    def chunks(self, views_per_chunk: int) -> Iterator[Views]:
        """Cut into pieces of at most `views_per_chunk`, so that memory does not grow with the batch."""
        for start in range(0, len(self), views_per_chunk):
            yield self.chosen(slice(start, start + views_per_chunk))

    def chosen(self, places: NDArray[np.int64] | slice) -> Views:
        """The views at these places, in that order."""
        return Views(self.picture[places], self.angle[places], self.brightness[places], self.contrast[places])

    @classmethod
    def joined(cls, parts: Sequence[Views], firsts: Sequence[int]) -> Views:
        """Put lists of views behind each other.

        Args:
            parts: The lists.
            firsts: What the first picture of each list is numbered as; lists of the same pictures begin at the same number.
        """
        numbers = [part.picture + first for part, first in zip(parts, firsts, strict=True)]
        columns = ([getattr(part, name) for part in parts] for name in ("angle", "brightness", "contrast"))
        return cls(np.concatenate(numbers), *(np.concatenate(column) for column in columns))

    def distinct(self) -> tuple[Views, NDArray[np.int64]]:
        """Leave out repeats, keeping the order of what comes first.

        Returns:
            The distinct views, and for each of the M views its place among them, (M,) int64.
        """
        rows = np.column_stack([self.picture, self.angle, self.brightness, self.contrast])
        _, first, place = np.unique(rows, axis=0, return_index=True, return_inverse=True)
        order = np.argsort(first)
        return self.chosen(first[order]), np.argsort(order)[place.reshape(-1)]

    def of_pictures(self, start: int, stop: int) -> Views:
        """The views of pictures start to stop - 1, which are numbered from 0 again."""
        own = (self.picture >= start) & (self.picture < stop)
        return Views(self.picture[own] - start, self.angle[own], self.brightness[own], self.contrast[own])


def prepare(
    pictures: Sequence[NDArray[np.uint8]], size_px: int = VIEW_PX, device: str | torch.device = "cpu"
) -> Tensor:
    """Resize decoded pictures to the square that every view starts from.

    Args:
        pictures: (H, W, 3) uint8 RGB each, of any size from 1 px.
        size_px: Side of the square; the aspect ratio is not kept, as in the reference.
        device: Where the result lies.

    Returns:
        (N, 3, size_px, size_px) uint8.
    """
    squares = np.zeros((len(pictures), size_px, size_px, 3), np.uint8)
    for index, picture in enumerate(pictures):
        squares[index] = _square(picture, size_px)
    pixels = torch.from_numpy(squares)
    if torch.device(device).type == "cuda":  # from pinned memory the copy runs beside what the device is at
        return pixels.pin_memory().to(device, non_blocking=True).permute(0, 3, 1, 2).contiguous()
    return pixels.to(device).permute(0, 3, 1, 2).contiguous()


def _square(picture: NDArray[np.uint8], size_px: int) -> NDArray[np.uint8]:
    if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8 or picture.size == 0:
        raise ValueError(f"a picture is (H, W, 3) uint8, not {picture.shape} {picture.dtype}")
    height, width = picture.shape[:2]
    smaller = (min(width, size_px), min(height, size_px))
    # Shrink first: INTER_AREA averages only where it shrinks, and a picture may be wide and low at once.
    shrunk = picture if smaller == (width, height) else cv2.resize(picture, smaller, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(shrunk, (size_px, size_px), interpolation=cv2.INTER_LINEAR), dtype=np.uint8)


def make_views(prepared: Tensor, plan: ViewPlan) -> Tensor:
    """Make all views of prepared pictures at once.

    Args:
        prepared: (N, 3, S, S) uint8.
        plan: Which views; all pictures get the same ones.

    Returns:
        (N * V, 3, S, S) float32 in [0, 1], the V views of a picture side by side.
    """
    return render(prepared, plan.draw(len(prepared)))


def render(prepared: Tensor, views: Views) -> Tensor:
    """Make the listed views on the device of `prepared`, by one batched grid sampling.

    What lies outside the picture is black, also under a brightness factor.

    Args:
        prepared: (N, 3, S, S) uint8.
        views: M views of them.

    Returns:
        (M, 3, S, S) float32 in [0, 1].
    """
    device = prepared.device
    needed, place = np.unique(views.picture, return_inverse=True)
    few = prepared[torch.from_numpy(needed).to(device)].float() / 255.0
    # One picture's views share its pixels: nothing is copied for them before the rotation.
    source = few.expand(len(place), -1, -1, -1) if len(needed) == 1 else few[torch.from_numpy(place).to(device)]
    if (views.contrast != 1.0).any():
        grey = source.mean(dim=(1, 2, 3), keepdim=True)
        source = (source - grey) * _column(views.contrast, device) + grey
    if (views.brightness != 1.0).any():
        source = source * _column(views.brightness, device)
    if (views.contrast != 1.0).any() or (views.brightness != 1.0).any():
        source = source.clamp(0.0, 1.0)
    return rotate(source, views.angle)


def rotate(images: Tensor, angle: NDArray[np.float32]) -> Tensor:
    """Rotate images about their centre, bilinear, with zeros outside.

    Args:
        images: (M, C, S, S) float32.
        angle: (M,) radians; `rotate(rotate(x, a), -a)` is x where it stayed inside.
    """
    if len(angle) == 0:
        return images
    side, device = images.shape[-1], images.device
    along = (2.0 * torch.arange(side, device=device) + 1.0) / side - 1.0  # centres of pixels, from -1 to 1
    cosine, sine = (torch.from_numpy(part).to(device).view(-1, 1) * along for part in (np.cos(angle), np.sin(angle)))
    # Built from its two axes: a tenth of the time of affine_grid, which multiplies matrices for it.
    x = cosine[:, None, :] - sine[:, :, None]
    y = sine[:, None, :] + cosine[:, :, None]
    grid = torch.stack([x, y], dim=-1)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def _column(factor: NDArray[np.float32], device: torch.device) -> Tensor:
    return torch.from_numpy(factor).to(device).view(-1, 1, 1, 1)
