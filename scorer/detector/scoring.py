"""The anomaly score: how unlikely the views of a picture are under the flow."""

import math

import torch
from torch import Tensor

from scorer.detector.flow import Flow

_HALF_LOG_TWO_PI = 0.5 * math.log(2.0 * math.pi)


def negative_log_prior(z: Tensor) -> Tensor:
    """-log p_Z(z) of the standard normal, with its constant.

    Args:
        z: (N, d) float32.

    Returns:
        (N,) float64; summed in float64, so that it does not depend on the order of the sum.
    """
    return 0.5 * z.double().square().sum(dim=1) + z.shape[1] * _HALF_LOG_TWO_PI


def score_views(flow: Flow, features: Tensor, views: int) -> Tensor:
    """Mean over a picture's views of -log p_Z(z).

    Source: section 3.2, equation 5.

    Args:
        flow: The fitted flow.
        features: (N * views, d) float32, the views of a picture side by side.
        views: Views per picture.

    Returns:
        (N,) float64; not finite where the features or the flow were not.
    """
    with torch.inference_mode():
        z, _ = flow(features)
        return negative_log_prior(z).view(-1, views).mean(dim=1)
