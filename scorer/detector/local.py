"""The local model: what each place of a part looks like on defect-free pictures, beside the flow's one vector a view.

Global averaging dilutes a small defect: one cell in 729 that looks wrong moves a mean by a thousandth. The local model looks at
the upright picture's feature maps, cell by cell, in two ways:

- *Unlikeness*: the Mahalanobis distance of a cell's features under one Gaussian over all cells of defect-free pictures,
  compared with what is usual at that place. Source: Defard et al., "PaDiM: a Patch Distribution Modeling Framework for
  Anomaly Detection and Localization", ICPR 2021, section 3; here with one Gaussian for all places, since parts shift and turn.
- *Defect map*: a small network on the same cells that learned to find synthetic defects in the product's own pictures.
  Source: Schlueter et al., "Natural Synthetic Anomalies for Self-Supervised Anomaly Detection and Localization", ECCV 2022.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional as F

from scorer.detector.extractor import Extractor
from scorer.detector.localization import HEATMAP_PX

CELLS = 27  # a side; a cell of 448 px is 16.6 px wide
FINE = 832  # features of a cell at 448 px: 192 + 384 + 256, of three layers
LOCAL_FEATURES = 2 * FINE  # the same at 224 px beside them

_UNLIKE_CELLS = 22  # of 729, the most unlike ones: 3 %
_DEFECT_CELLS = 5
_LEAST_DISTANCE = 1e-6


class LocalSpec(BaseModel):
    """Architecture of a local model.

    Attributes:
        hidden: Units of both hidden layers of the network behind the defect map.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    hidden: tuple[int, int] = Field((128, 64))


class LocalModel(nn.Module):
    """Maps of what is unlike, and of what looks like a defect; two scores a picture.

    Attributes:
        spec: The architecture.
        centre: (832,) mean of a cell's features.
        whitener: (832, 832) turns the distance from the mean into independent units.
        usual: (27, 27) mean of the log distance at each place.
        spread: (27, 27) its deviation.
        level: (1664,) mean of the defect map's input.
        scale: (1664,) its deviation.
        head: From a cell's features to the log odds that it shows a defect.
    """

    centre: Tensor
    whitener: Tensor
    usual: Tensor
    spread: Tensor
    level: Tensor
    scale: Tensor

    def __init__(self, spec: LocalSpec) -> None:
        super().__init__()
        self.spec = spec
        first, second = spec.hidden
        self.head = nn.Sequential(
            nn.Linear(LOCAL_FEATURES, first), nn.ReLU(), nn.Linear(first, second), nn.ReLU(), nn.Linear(second, 1)
        )
        self._halved: _Halved | None = None
        self.register_buffer("centre", torch.zeros(FINE))
        self.register_buffer("whitener", torch.eye(FINE))
        self.register_buffer("usual", torch.zeros(CELLS, CELLS))
        self.register_buffer("spread", torch.ones(CELLS, CELLS))
        self.register_buffer("level", torch.zeros(LOCAL_FEATURES))
        self.register_buffer("scale", torch.ones(LOCAL_FEATURES))

    def log_distance(self, cells: Tensor) -> Tensor:
        """Log of the squared Mahalanobis distance of cells' fine features, (..., 832) to (...)."""
        whitened = (cells - self.centre) @ self.whitener
        return whitened.square().sum(dim=-1).clamp_min(_LEAST_DISTANCE).log()

    def defect_logits(self, cells: Tensor) -> Tensor:
        """Log odds that cells show a defect, (..., 1664) to (...)."""
        logits: Tensor = self.head((cells - self.level) / self.scale)
        return logits.squeeze(-1)

    def forward(self, cells: Tensor) -> tuple[Tensor, Tensor]:
        """Make both maps.

        Args:
            cells: (N, 27, 27, 1664) float32 or bfloat16, as `local_features` gives them; of bfloat16 the two large products are
                taken in it, and summed in float32.

        Returns:
            (N, 27, 27) unlikeness, in deviations from what is usual at a place, and (N, 27, 27) log odds of a defect; float32.
        """
        if cells.dtype == torch.bfloat16:
            log_distance, logits = self._in_halves(cells)
        else:
            log_distance, logits = self.log_distance(cells[..., :FINE]), self.defect_logits(cells)
        return (log_distance - self.usual) / self.spread, logits

    def _in_halves(self, cells: Tensor) -> tuple[Tensor, Tensor]:
        if self._halved is None or self._halved.centre.device != cells.device:
            self._halved = _Halved.of(self)
        known = self._halved
        whitened = (cells[..., :FINE] - known.centre) @ known.whitener
        log_distance = whitened.float().square().sum(dim=-1).clamp_min(_LEAST_DISTANCE).log()
        first = F.linear(cells, known.first, known.bias).float()
        logits: Tensor = self.head[1:](first)
        return log_distance, logits.squeeze(-1)


class _Halved(NamedTuple):
    """The large factors of a fitted model in bfloat16; level and scale are in the first layer's weights."""

    centre: Tensor
    whitener: Tensor
    first: Tensor
    bias: Tensor

    @classmethod
    def of(cls, model: LocalModel) -> "_Halved":
        layer: nn.Linear = model.head[0]  # type: ignore[assignment]
        scaled = (layer.weight / model.scale).bfloat16()
        bias = layer.bias - scaled.float() @ model.level
        return cls(model.centre.bfloat16(), model.whitener.bfloat16(), scaled, bias.bfloat16())


def local_features(extractor: Extractor, prepared: Tensor) -> Tensor:
    """Extract the features of the cells of upright pictures.

    Args:
        extractor: The frozen extractor, on the device of `prepared`.
        prepared: (N, 3, 448, 448) uint8.

    Returns:
        (N, 27, 27, 1664) in the extractor's arithmetic, as `cells_of` gives them.
    """
    pixels = prepared.float() / 255.0
    return cells_of(extractor.layers(pixels), extractor.layers(F.avg_pool2d(pixels, 2)))


def cells_of(fine: list[Tensor], coarse: list[Tensor]) -> Tensor:
    """Put the layers of a picture side by side, cell by cell.

    Args:
        fine: Three layers at 448 px, as the extractor gives them.
        coarse: The same at 224 px.

    Returns:
        (N, 27, 27, 1664) in the extractor's arithmetic: first those at 448 px, then those at 224 px; averaged over 3 x 3 cells.
    """
    wide = F.interpolate(_cells(coarse), size=(CELLS, CELLS), mode="bilinear", align_corners=False)
    return torch.cat([_cells(fine), wide], dim=1).permute(0, 2, 3, 1).contiguous()


def _cells(layers: list[Tensor]) -> Tensor:
    return F.avg_pool2d(torch.cat(layers, dim=1), 3, 1, 1, count_include_pad=False)


def local_scores(unlike: Tensor, defects: Tensor) -> Tensor:
    """Sum the maps up: the mean of the highest 3 % of the first, and of the five highest cells of the second.

    Args:
        unlike: (N, 27, 27).
        defects: (N, 27, 27).

    Returns:
        (N, 2) float64.
    """
    highest = unlike.flatten(1).topk(_UNLIKE_CELLS, dim=1).values.double().mean(dim=1)
    likeliest = defects.flatten(1).topk(_DEFECT_CELLS, dim=1).values.double().mean(dim=1)
    return torch.stack([highest, likeliest], dim=1)


def local_heat(unlike: Tensor, defects: Tensor) -> NDArray[np.float32]:
    """Make one map of both, which is never negative, as large as a heatmap.

    Args:
        unlike: (N, 27, 27).
        defects: (N, 27, 27).

    Returns:
        (N, 112, 112) float32.
    """
    both = (unlike + defects)[:, None]
    wide = F.interpolate(both, size=(HEATMAP_PX, HEATMAP_PX), mode="bicubic", align_corners=False)[:, 0]
    # Softened at the end: earlier, what is interpolated between quiet cells would fall below zero and lose its order.
    return np.asarray(F.softplus(wide).cpu().numpy(), dtype=np.float32)
