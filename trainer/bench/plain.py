"""The plain loop, as the paper's reference implementation has it: views by PIL, one picture at a time, in float32.

It is the other side of P1 and P5. What is not a matter of speed is as on our side, so that the scores can be compared: weights,
angles and factors, how a picture becomes a square, black that is blended in where a rotated picture ends, and means over pixels
where a scale shrinks.
"""

import io
import math
from collections.abc import Iterator

import numpy as np
import torch
import torchvision
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.transforms.functional import to_tensor

from scorer.detector import SCALES_PX, VIEW_PX, Extractor, Flow, Views, prepare

_LEAST_ROTATION = 1e-6


class PlainExtractor(nn.Module):
    """The extractor in float32 and PyTorch's usual memory layout."""

    mean: Tensor
    std: Tensor

    def __init__(self, extractor: Extractor, device: torch.device) -> None:
        super().__init__()
        self.convolutions = torchvision.models.alexnet(weights=None).features
        state = {key: value.float().contiguous() for key, value in extractor.convolutions.state_dict().items()}
        self.convolutions.load_state_dict(state)
        self.register_buffer("mean", extractor.mean.float().view(3, 1, 1))
        self.register_buffer("std", extractor.std.float().view(3, 1, 1))
        self.eval().requires_grad_(requires_grad=False).to(device)

    def forward(self, views: Tensor) -> Tensor:
        """Turn the normalised views of a picture, (V, 3, 448, 448) float32, into features, (V, 768)."""
        pooled = []
        for side in SCALES_PX:
            scaled = views if side == VIEW_PX else F.interpolate(views, size=(side, side), mode="area")
            pooled.append(self.convolutions(scaled).mean(dim=(2, 3)))
        return torch.cat(pooled, dim=1)


def plain_flow(flow: Flow, device: torch.device) -> Flow:
    """A copy of a flow in float32, which nothing has been done to."""
    copy = Flow(flow.spec, initialise=False)
    state = {key: _own(value) for key, value in flow.state_dict().items()}
    copy.load_state_dict(state, assign=True)
    return copy.to(device).eval().requires_grad_(requires_grad=False)


def plain_views(body: bytes, views: Views) -> Iterator[Tensor]:
    """Open a picture, then resize and rotate it for each of its views: (3, 448, 448) float32 in [0, 1] each."""
    with Image.open(io.BytesIO(body)) as opened:
        picture = opened.convert("RGB")
    for angle, brightness, contrast in zip(views.angle, views.brightness, views.contrast, strict=True):
        square = _square(picture)
        if brightness != 1.0 or contrast != 1.0:
            square = _lit(square, float(brightness), float(contrast))
        if abs(angle) > _LEAST_ROTATION:
            square = _rotated(square, math.degrees(angle))
        yield to_tensor(square)


def plain_features(extractor: PlainExtractor, body: bytes, views: Views) -> Tensor:
    """Extract the features of the views of one picture, (V, 768) float32."""
    normal = [(view.to(extractor.mean.device) - extractor.mean) / extractor.std for view in plain_views(body, views)]
    with torch.no_grad():
        features: Tensor = extractor(torch.stack(normal))
    return features


def plain_score(extractor: PlainExtractor, flow: Flow, body: bytes, views: Views) -> float:
    """Score one picture: the mean over its views of -log p_Z(z)."""
    with torch.no_grad():
        z, _ = flow(plain_features(extractor, body, views))
        unlikely = 0.5 * z.double().square().sum(dim=1) + 0.5 * z.shape[1] * math.log(2 * math.pi)
    return float(unlikely.mean())


def _square(picture: Image.Image) -> Image.Image:
    """Resize as the detector does: PIL's filters are others, and the flow sees the difference."""
    return Image.fromarray(prepare([np.asarray(picture)])[0].permute(1, 2, 0).numpy())


def _rotated(square: Image.Image, degrees: float) -> Image.Image:
    """Rotate on a black margin, which PIL then blends in; without it the edge is jagged, and the flow sees little else."""
    margin = Image.new("RGB", (VIEW_PX + 2, VIEW_PX + 2))
    margin.paste(square, (1, 1))
    return margin.rotate(degrees, resample=Image.Resampling.BILINEAR).crop((1, 1, VIEW_PX + 1, VIEW_PX + 1))


def _lit(picture: Image.Image, brightness: float, contrast: float) -> Image.Image:
    pixels: NDArray[np.float32] = np.asarray(picture, dtype=np.float32)
    grey = pixels.mean()
    changed = ((pixels - grey) * contrast + grey) * brightness
    return Image.fromarray(changed.round().clip(0, 255).astype(np.uint8))


def _own(value: Tensor) -> Tensor:
    value = value.detach().clone()
    return value.float() if value.is_floating_point() else value
