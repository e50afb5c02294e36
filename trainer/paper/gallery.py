"""Figure 8: pictures, masks and heatmaps side by side."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from infra.pictures import RgbPicture, encode_png
from trainer.paper.pixels import COMPARED_PX, compared_mask

GAP_PX = 8
LABEL_PX = 26
_OUTLINE = (255, 255, 255)


@dataclass(frozen=True)
class Exhibit:
    """One column of the figure.

    Attributes:
        title: What is seen, such as the class.
        picture: (H, W, 3) uint8; None where the photograph is not to be shown.
        mask: (H, W) bool.
        heat: (S, S) float32.
    """

    title: str
    picture: RgbPicture | None
    mask: NDArray[np.bool_]
    heat: NDArray[np.float32]


def gallery(exhibits: Sequence[Exhibit], hottest: float) -> bytes:
    """Draw the exhibits as PNG: title, picture, mask, and the heatmap with the mask's outline, 224 px each.

    Args:
        exhibits: The columns.
        hottest: Heat that has the hottest colour, the same for all: a good part looks quiet.
    """
    columns = []
    for exhibit in exhibits:
        mask = compared_mask(exhibit.mask)
        tiles = [_title(exhibit.title)]
        if exhibit.picture is not None:
            shown = cv2.resize(exhibit.picture, (COMPARED_PX, COMPARED_PX), interpolation=cv2.INTER_AREA)
            tiles.append(np.asarray(shown, dtype=np.uint8))
        tiles.append(np.repeat(mask[..., None] * np.uint8(255), 3, axis=2))
        tiles.append(_outlined(_colours(exhibit.heat / hottest), mask))
        spaced = [part for tile in tiles for part in (tile, np.full((GAP_PX, COMPARED_PX, 3), 255, np.uint8))]
        columns.append(np.concatenate(spaced[:-1]))
    gap = np.full((len(columns[0]), GAP_PX, 3), 255, np.uint8)
    return encode_png(np.concatenate([part for column in columns for part in (column, gap)][:-1], axis=1))


def _title(text: str) -> RgbPicture:
    strip = np.full((LABEL_PX, COMPARED_PX, 3), 255, np.uint8)
    cv2.putText(strip, text, (2, LABEL_PX - 8), cv2.FONT_HERSHEY_SIMPLEX, 0.55, (40, 40, 40), 1, cv2.LINE_AA)
    return strip


def _colours(heat: NDArray[np.float32]) -> RgbPicture:
    wide = cv2.resize(heat.astype(np.float32), (COMPARED_PX, COMPARED_PX), interpolation=cv2.INTER_LINEAR)
    levels = (np.clip(wide, 0.0, 1.0) * 255).astype(np.uint8)
    return np.asarray(cv2.cvtColor(cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB), dtype=np.uint8)


def _outlined(picture: RgbPicture, mask: NDArray[np.bool_]) -> RgbPicture:
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return np.asarray(cv2.drawContours(picture.copy(), contours, -1, _OUTLINE, 1, cv2.LINE_AA), dtype=np.uint8)
