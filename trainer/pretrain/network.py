"""The network that is trained: AlexNet's convolutions with batch normalisation, which is folded into them afterwards."""

import math

import torch
from torch import Tensor, nn

from scorer.detector.extractor import CHANNELS, alexnet_convolutions

_STD_FLOOR = 1e-5


class PretrainingNetwork(nn.Module):
    """AlexNet's convolutional part, each convolution followed by batch normalisation, and a head for each task.

    Attributes:
        convolutions: As `torchvision.models.alexnet().features`, with normalisation and without biases.
        level: Brings pooled features to one scale, for the two heads below.
        classes: Tells programs apart, from pooled features.
        picture: Finds whether a picture has a defect, from pooled features.
        positions: Finds where, from the feature map before the last pooling.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, programs: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for layer in alexnet_convolutions():
            layers.append(layer)
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                layer.register_parameter("bias", None)  # normalisation takes any constant away again
                layers.append(nn.BatchNorm2d(layer.out_channels, eps=_STD_FLOOR))
        self.convolutions = nn.Sequential(*layers[:-1])
        self.last_pooling = layers[-1]
        self.level = nn.BatchNorm1d(CHANNELS, affine=False)
        self.classes = nn.Linear(CHANNELS, programs)
        self.picture = nn.Linear(CHANNELS, 1)
        self.positions = nn.Conv2d(CHANNELS, 1, 1)
        for head, share in ((self.classes, 1 / programs), (self.picture, 0.25), (self.positions, 0.05)):
            nn.init.zeros_(head.weight)  # begin with what is common, and lose no steps on finding it
            if head.bias is not None:
                nn.init.constant_(head.bias, math.log(share / (1 - share)))
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1), persistent=False)

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Compute features.

        Args:
            pictures: (N, 3, S, S) float32 in [0, 1].

        Returns:
            (N, 256) pooled as the extractor pools, and (N, 256, s, s) before the last pooling.
        """
        positions: Tensor = self.convolutions((pictures - self.mean) / self.std)
        return self.last_pooling(positions).float().mean(dim=(2, 3)), positions

    def folded(self) -> dict[str, Tensor]:
        """Fold normalisation into the convolutions.

        Returns:
            Weights with the keys and shapes of `torchvision.models.alexnet().features`, float32, equal in effect to this
            network in evaluation mode.
        """
        weights: dict[str, Tensor] = {}
        layers = list(self.convolutions)
        index = 0
        for layer, following in zip(layers, [*layers[1:], self.last_pooling], strict=True):
            if isinstance(layer, nn.BatchNorm2d):
                continue
            if isinstance(layer, nn.Conv2d):
                assert isinstance(following, nn.BatchNorm2d)  # noqa: S101 - how the layers were put together above
                assert following.running_mean is not None and following.running_var is not None  # noqa: S101, PT018
                factor = following.weight / torch.sqrt(following.running_var + following.eps)
                weight = layer.weight * factor.view(-1, 1, 1, 1)
                weights[f"{index}.weight"] = weight.detach().float().cpu().contiguous()
                weights[f"{index}.bias"] = (following.bias - following.running_mean * factor).detach().float().cpu()
            index += 1
        return weights
