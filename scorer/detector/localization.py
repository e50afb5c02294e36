"""The heatmap: which pixels make a picture unlikely."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from scorer.detector.extractor import VIEW_PX, Extractor
from scorer.detector.flow import Flow, loss_per_view
from scorer.detector.views import ViewPlan, Views, render, rotate

HEATMAP_PX = 112
BLUR_SIGMA_PX = 6.0  # at 448 px
_CELL_PX = VIEW_PX // HEATMAP_PX
_LEAST_COVERAGE = 1e-3


def heatmaps(
    extractor: Extractor, flow: Flow, prepared: Tensor, plan: ViewPlan, views_per_chunk: int
) -> NDArray[np.float32]:
    """Gradient of the loss at the input pixels, blurred, absolute, summed over channels, rotated back, averaged.

    A corner of the picture lies outside most rotated views; the average is over the views that saw a pixel, so that corners are
    neither favoured nor hidden. Source: section 3.3 of the paper.

    Args:
        extractor: The frozen extractor.
        flow: The fitted flow.
        prepared: (N, 3, 448, 448) uint8.
        plan: Which views are looked at.
        views_per_chunk: Views per backward pass.

    Returns:
        (N, 112, 112) float32, change of L per change of a pixel from black to white.
    """
    total = torch.zeros(len(prepared), 1, HEATMAP_PX, HEATMAP_PX, device=prepared.device)
    coverage = torch.zeros_like(total)
    for views in plan.draw(len(prepared)).chunks(views_per_chunk):
        picture = torch.from_numpy(views.picture).to(prepared.device)
        heat = _smooth(input_gradient(extractor, flow, prepared, views)).abs().sum(dim=1, keepdim=True)
        both = rotate(torch.cat([heat, torch.ones_like(heat)], dim=1), -views.angle)
        total.index_add_(0, picture, both[:, :1])
        coverage.index_add_(0, picture, both[:, 1:])
    return (total / coverage.clamp_min(_LEAST_COVERAGE)).squeeze(1).cpu().numpy()


def input_gradient(extractor: Extractor, flow: Flow, prepared: Tensor, views: Views) -> Tensor:
    """Gradient of L at the pixels of the views, in one backward pass: (M, 3, 448, 448) float32."""
    with torch.inference_mode(mode=False), torch.enable_grad():
        pixels = render(prepared, views).detach().requires_grad_(True)
        z, log_det = flow(extractor.exact(pixels))
        gradient: Tensor = torch.autograd.grad(loss_per_view(z, log_det).sum(), pixels)[0]
    return gradient


def _smooth(gradient: Tensor) -> Tensor:
    """Blur and shrink to heatmap cells: a box of 4 px (AlexNet's first stride prints a 4 px grid), then a Gaussian."""
    cells = F.avg_pool2d(gradient, _CELL_PX)
    sigma = BLUR_SIGMA_PX / _CELL_PX
    reach = int(3 * sigma + 0.5)
    offset = torch.arange(-reach, reach + 1, dtype=cells.dtype, device=cells.device)
    weight = torch.exp(-0.5 * (offset / sigma) ** 2)
    kernel = (weight / weight.sum()).repeat(cells.shape[1], 1, 1, 1)
    across = F.conv2d(cells, kernel, padding=(0, reach), groups=cells.shape[1])
    return F.conv2d(across, kernel.transpose(2, 3), padding=(reach, 0), groups=cells.shape[1])
