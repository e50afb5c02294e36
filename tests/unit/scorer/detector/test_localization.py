import numpy as np
import torch
from torch import Tensor, nn

from scorer.detector import FlowSpec, ViewPlan, heatmaps, make_views
from scorer.detector.extractor import Extractor
from scorer.detector.flow import Flow, loss_per_view
from scorer.detector.localization import input_gradient


class OneSpot(nn.Module):
    """Stands for the extractor: a feature that depends on bright pixels alone."""

    def exact(self, views: Tensor) -> Tensor:
        return (views.relu() ** 4).mean(dim=(1, 2, 3))[:, None].expand(-1, 4)


def spot_at(row: int, column: int) -> Tensor:
    picture = torch.full((1, 3, 448, 448), 4, dtype=torch.uint8)
    picture[..., row - 8 : row + 8, column - 8 : column + 8] = 255
    return picture


def test_heat_lies_where_the_cause_lies_after_rotating_back() -> None:
    flow = Flow(FlowSpec(features=4, blocks=1, hidden=4, hidden_layers=1))
    prepared = torch.cat([spot_at(100, 300), spot_at(224, 60)])
    heat = heatmaps(OneSpot(), flow, prepared, ViewPlan(count=6, seed=2), views_per_chunk=4)  # type: ignore[arg-type]
    assert heat.shape == (2, 112, 112)
    assert heat.dtype == np.float32
    for index, expected in enumerate([(25, 75), (56, 15)]):
        weight = heat[index] / heat[index].sum()
        centre = [(weight.sum(axis=1 - axis) * (np.arange(112) + 0.5)).sum() for axis in (0, 1)]
        np.testing.assert_allclose(centre, expected, atol=1.0)


def test_corners_are_not_darker_for_being_seen_less_often() -> None:
    class Sum(nn.Module):
        def exact(self, views: Tensor) -> Tensor:
            return views.sum(dim=(1, 2, 3))[:, None].expand(-1, 4) * 1e-4

    flow = Flow(FlowSpec(features=4, blocks=1, hidden=4, hidden_layers=1))
    for parameter in flow.parameters():
        if parameter.requires_grad:
            parameter.data.zero_()
    prepared = torch.full((1, 3, 448, 448), 128, dtype=torch.uint8)
    plan = ViewPlan(count=12, seed=0)
    heat = heatmaps(Sum(), flow, prepared, plan, views_per_chunk=8)[0]  # type: ignore[arg-type]
    # z is the sum of the pixels, so the heat is even over a view; views differ by how much of the picture they hold.
    assert heat[3, 3] > 0.9 * heat[56, 56]


def test_channels_that_pull_in_opposite_directions_do_not_cancel() -> None:
    class RedAgainstGreen(nn.Module):
        def exact(self, views: Tensor) -> Tensor:
            return (views[:, 0] - views[:, 1] + 1.0).mean(dim=(1, 2))[:, None].expand(-1, 4)

    flow = Flow(FlowSpec(features=4, blocks=1, hidden=4, hidden_layers=1))
    for parameter in flow.parameters():
        if parameter.requires_grad:
            parameter.data.zero_()
    heat = heatmaps(RedAgainstGreen(), flow, spot_at(224, 224), ViewPlan(count=1), views_per_chunk=1)  # type: ignore[arg-type]
    # L = 4 x 1 / 2 at a grey picture: each of two channels has a slope of 4 / 448^2 at every pixel.
    np.testing.assert_allclose(heat[0, 20:-20, 20:-20], 2 * 4 / 448**2, rtol=1e-3)


def test_gradient_is_the_finite_difference_of_the_loss(extractor: Extractor) -> None:
    flow = Flow(FlowSpec(blocks=1, hidden=8, hidden_layers=1))
    prepared = torch.randint(0, 255, (1, 3, 448, 448), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    plan = ViewPlan(count=1)
    gradient = input_gradient(extractor, flow, prepared, plan.draw(1))
    direction = gradient / gradient.norm()
    pixels, step = make_views(prepared, plan), 0.05

    def loss(views: Tensor) -> float:
        with torch.no_grad():
            return loss_per_view(*flow(extractor(views))).item()

    slope = (loss(pixels + step * direction) - loss(pixels - step * direction)) / (2 * step)
    assert abs(slope - gradient.norm().item()) < 0.05 * gradient.norm().item()
