"""The frozen feature extractor: AlexNet's convolutions at three scales, pooled to one vector a view."""

import copy
import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn import functional as F

from scorer.detector.errors import ExtractorError

VIEW_PX = 448
SCALES_PX = (448, 224, 112)
CHANNELS = 256
FEATURES = CHANNELS * len(SCALES_PX)

ADAPTED = "adapted"
"""Name of weights that were tuned to a product; they lie in its artifact."""

BUNDLED_FILE = Path(__file__).with_name("weights") / "differline-alexnet.safetensors"
BUNDLED_SHA256 = "caca14f9a9f446460735c55bb0b222967fe0298ab1a9176ca6998bda94d3ff01"

_KEPT_LAYERS = (5, 7, 11)  # of alexnet().features

_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)


class Extractor(nn.Module):
    """AlexNet's convolutional part, frozen, with global average pooling at 448, 224 and 112 px.

    Source: Rudolph et al., "Same Same But DifferNet", WACV 2021, sections 3 and 4.2.

    Attributes:
        name: Where the weights came from: `bundled`, `random`, `imagenet`, `adapted`, or `file:` and the file's name.
        seed: Seed of `random` weights; None for the others.
        sha256: SHA-256 over names, shapes and bytes of the weights, the same on every machine.
        arithmetic: What the convolutions compute in: float32 or bfloat16.
        convolutions: The weights as they came, float32.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, weights: Mapping[str, Tensor], name: str, seed: int | None = None) -> None:
        super().__init__()
        self.name = name
        self.seed = seed
        self.sha256 = weights_sha256(weights)
        self.arithmetic = torch.float32
        self.convolutions = _empty_convolutions()
        self.convolutions.load_state_dict(dict(weights), assign=True)
        self.fast = self.convolutions
        self.register_buffer("mean", torch.tensor(_IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(_IMAGENET_STD).view(1, 3, 1, 1), persistent=False)
        self.requires_grad_(requires_grad=False)
        self.eval()
        self.to(memory_format=torch.channels_last)  # a quarter faster on CPUs, measured

    def computing_in(self, arithmetic: torch.dtype) -> "Extractor":
        """Compute in float32 or bfloat16 from now on; the weights that are saved and hashed stay as they are.

        In bfloat16 products are summed in float32, and averages are taken in float32.
        """
        self.arithmetic = arithmetic
        self.fast = self.convolutions
        if arithmetic != torch.float32:
            self.fast = copy.deepcopy(self.convolutions).to(arithmetic).requires_grad_(requires_grad=False)
        return self

    def forward(self, views: Tensor) -> Tensor:
        """Turn views into features.

        Args:
            views: (N, 3, 448, 448) float32 RGB in [0, 1].

        Returns:
            (N, 768) float32: 256 features at 448 px, then at 224 px, then at 112 px.
        """
        return torch.cat([_pooled(self.fast(scaled)) for scaled in _halved(self._normalised(views))], dim=1)

    def exact(self, views: Tensor) -> Tensor:
        """Features in float32, whatever the arithmetic: gradients of bfloat16 lose their direction on flat pictures."""
        normal = ((views - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
        return torch.cat([_pooled(self.convolutions(scaled)) for scaled in _halved(normal)], dim=1)

    def with_layers(self, views: Tensor) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """Turn views into features, and hand out the feature maps of three layers on the way, at 448 px and at 224 px.

        Args:
            views: (N, 3, 448, 448) float32 RGB in [0, 1].

        Returns:
            (N, 768) float32 as `forward` gives, and twice what `layers` gives.
        """
        kept: list[list[Tensor]] = []
        pooled: list[Tensor] = []
        for scaled in _halved(self._normalised(views)):
            *layers, last = self._walk(scaled)
            kept.append(layers)
            pooled.append(_pooled(last))
        return torch.cat(pooled, dim=1), kept[0], kept[1]

    def layers(self, pixels: Tensor) -> list[Tensor]:
        """Return the feature maps of three layers that have the same cells: after the second pooling, and behind conv 3 and 5.

        Args:
            pixels: (N, 3, S, S) float32 RGB in [0, 1].

        Returns:
            (N, 192, s, s), (N, 384, s, s) and (N, 256, s, s) in the extractor's arithmetic; s is 27 at 448 px, 13 at 224 px.
        """
        return self._walk(self._normalised(pixels), _KEPT_LAYERS[-1])[: len(_KEPT_LAYERS)]

    def _normalised(self, pixels: Tensor) -> Tensor:
        normal = (pixels - self.mean) / self.std
        return normal.to(self.arithmetic).contiguous(memory_format=torch.channels_last)

    def _walk(self, passed: Tensor, until: int | None = None) -> list[Tensor]:
        """The maps of the kept layers, then what leaves the layer `until`, or the last one."""
        kept: list[Tensor] = []
        for place, layer in enumerate(self.fast.children()):
            passed = layer(passed)
            if place in _KEPT_LAYERS:
                kept.append(passed)
            if place == until:
                break
        return [*kept, passed]


def _halved(normal: Tensor) -> Iterator[Tensor]:
    yield normal
    for _ in SCALES_PX[1:]:
        normal = F.avg_pool2d(normal, 2)  # each scale halves the one before: area averaging, no second resize
        yield normal


def _pooled(maps: Tensor) -> Tensor:
    return maps.mean(dim=(2, 3), dtype=torch.float32)


def load_extractor(weights: str, seed: int = 0) -> Extractor:
    """Load the extractor.

    Args:
        weights: `bundled` (they come with the project: weights/CARD.md), `imagenet` (torchvision's weights API: from its cache,
            else downloaded), `random` (seeded Kaiming initialisation: an honest baseline), or the path of a `.safetensors`
            file, in float32 or float16, with the keys of `alexnet().features`.
        seed: Seed of the `random` weights.

    Raises:
        ExtractorError: The weights cannot be had or do not fit.
    """
    if weights == "bundled":
        return Extractor(_bundled_weights(), "bundled")
    if weights == "random":
        return Extractor(_random_weights(seed), "random", seed)
    if weights == "imagenet":
        return Extractor(_imagenet_weights(), "imagenet")
    path = Path(weights)
    if path.suffix != ".safetensors":
        raise ExtractorError(f"extractor weights {weights!r}: choose bundled, random, imagenet or a .safetensors file")
    return Extractor(read_weights(path), f"file:{path.name}")


def extractors_at_hand(weights: str, seed: int = 0) -> list[Extractor]:
    """Load every extractor that needs no download: the one of the settings, the bundled one, and ImageNet's if it is cached.

    Args:
        weights: As in `load_extractor`; it comes first.
        seed: Seed of the `random` weights.

    Raises:
        ExtractorError: The weights of the settings cannot be had.
    """
    names = [weights, "bundled"]
    cached = Path(torch.hub.get_dir()) / "checkpoints" / Path(_imagenet().url).name
    if cached.is_file():
        names.append("imagenet")
    return [load_extractor(name, seed) for name in dict.fromkeys(names)]


def save_extractor(extractor: Extractor, path: Path) -> None:
    """Write the extractor's weights as safetensors, for `load_extractor` to read."""
    weights = {key: value.cpu().contiguous() for key, value in extractor.convolutions.state_dict().items()}
    path.write_bytes(safetensors.torch.save(weights))


def weights_sha256(weights: Mapping[str, Tensor]) -> str:
    """Hash weights by name, shape, dtype and bytes, in the order of their names."""
    digest = hashlib.sha256()
    for key in sorted(weights):
        value = weights[key].detach().cpu().contiguous()
        digest.update(f"{key} {tuple(value.shape)} {value.dtype}\n".encode())
        digest.update(value.numpy().tobytes())
    return digest.hexdigest()


def alexnet_convolutions() -> nn.Sequential:
    """As `torchvision.models.alexnet().features`, whose import takes as long as torch's: it brings torch's compiler with it.

    Source: Krizhevsky, "One weird trick for parallelizing convolutional neural networks", 2014, as torchvision has it.
    """
    return nn.Sequential(
        *(nn.Conv2d(3, 64, 11, stride=4, padding=2), nn.ReLU(inplace=True), nn.MaxPool2d(3, stride=2)),
        *(nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(inplace=True), nn.MaxPool2d(3, stride=2)),
        *(nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(inplace=True)),
        *(nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(inplace=True)),
        *(nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(3, stride=2)),
    )


def _empty_convolutions() -> nn.Sequential:
    with torch.device("meta"):  # no memory and no random numbers are spent on values that are replaced at once
        return alexnet_convolutions()


def _random_weights(seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    weights: dict[str, Tensor] = {}
    for key, value in _empty_convolutions().state_dict().items():
        weights[key] = torch.zeros(value.shape)
        if key.endswith("weight"):
            nn.init.kaiming_normal_(weights[key], nonlinearity="relu", generator=generator)
    return weights


def _imagenet() -> Any:
    from torchvision.models import AlexNet_Weights  # noqa: PLC0415 - takes seconds, and only these weights need it

    return AlexNet_Weights.IMAGENET1K_V1


def _imagenet_weights() -> dict[str, Tensor]:
    try:
        whole = _imagenet().get_state_dict(progress=False, check_hash=True)
    except (OSError, RuntimeError) as error:  # no network, no space, or a file whose hash is wrong
        reason = " ".join(str(error).split())
        raise ExtractorError(
            f"AlexNet's ImageNet weights are neither on disk nor to be downloaded: {reason}"
        ) from error
    prefix = "features."
    return {key.removeprefix(prefix): value for key, value in whole.items() if key.startswith(prefix)}


def _bundled_weights() -> dict[str, Tensor]:
    found = hashlib.sha256(_read(BUNDLED_FILE)).hexdigest()
    if found != BUNDLED_SHA256:
        raise ExtractorError(f"extractor weights {BUNDLED_FILE}: SHA-256 is {found}, not {BUNDLED_SHA256}")
    return read_weights(BUNDLED_FILE)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ExtractorError(f"cannot read extractor weights {path}: {error}") from error


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read weights, float32 or float16, with the keys and shapes of `alexnet().features`: float32 by name.

    Raises:
        ExtractorError: The file cannot be read, or is something else.
    """
    try:
        weights = safetensors.torch.load(_read(path))
    except SafetensorError as error:
        raise ExtractorError(f"cannot read extractor weights {path}: {error}") from error
    expected = {key: value.shape for key, value in _empty_convolutions().state_dict().items()}
    if {key: value.shape for key, value in weights.items()} != expected:
        raise ExtractorError(f"extractor weights {path} do not have the names and shapes of alexnet().features")
    for key, value in weights.items():
        if value.dtype not in (torch.float32, torch.float16) or not torch.isfinite(value).all():
            raise ExtractorError(f"extractor weights {path}: {key} is not finite float32 or float16")
    return {key: value.float() for key, value in weights.items()}
