"""The parts of a detector as ONNX graphs, which other programs than torch can compute.

Every graph is in float32 and takes any number of pictures or views. The packages that this needs (the extra `onnx`) are
imported when a graph is made.
"""

import importlib
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from scorer.detector.errors import DetectorError
from scorer.detector.extractor import FEATURES, VIEW_PX, Extractor
from scorer.detector.flow import Flow
from scorer.detector.local import CELLS, LOCAL_FEATURES, LocalModel, cells_of, local_scores
from scorer.detector.scoring import negative_log_prior

if TYPE_CHECKING:
    from onnx import ModelProto

OPSET = 20

_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
_LARGEST_BYTES = 2**31 - 2**20  # protobuf ends at 2 GiB


class ViewScore(nn.Module):
    """From the pixels of views to -log p_Z(z) of each: extractor, standardisation, permutations and coupling blocks."""

    def __init__(self, extractor: Extractor, flow: Flow) -> None:
        super().__init__()
        self.extractor = in_float32(extractor)
        self.flow = flow

    def forward(self, pixels: Tensor) -> Tensor:
        """(M, 3, 448, 448) float32 in [0, 1] to (M,) float32."""
        z, _ = self.flow(self.extractor(pixels))
        return negative_log_prior(z).float()


class UprightMaps(nn.Module):
    """From the pixels of pictures as they are to what the local model says of them."""

    def __init__(self, extractor: Extractor, local: LocalModel) -> None:
        super().__init__()
        self.extractor = in_float32(extractor)
        self.local = local

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(N, 3, 448, 448) float32 in [0, 1] to (N, 768) features, two (N, 27, 27) maps, and (N, 2) scores, float32."""
        features, fine, coarse = self.extractor.with_layers(pixels)
        unlike, defects = self.local(cells_of(fine, coarse))
        return features, unlike, defects, local_scores(unlike, defects).float()


class _Layers(nn.Module):
    def __init__(self, extractor: Extractor) -> None:
        super().__init__()
        self.extractor = in_float32(extractor)

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        features, fine, coarse = self.extractor.with_layers(pixels)
        return (features, *fine, *coarse)


def score_graph(extractor: Extractor, flow: Flow) -> bytes:
    """Make the graph of `ViewScore`: `pixels` to `negative_log_p`.

    Raises:
        DetectorError: A package is missing, or there can be no such graph.
    """
    return _graph(ViewScore(extractor, flow), "pixels", ["negative_log_p"])


def upright_graph(extractor: Extractor, local: LocalModel) -> bytes:
    """Make the graph of `UprightMaps`: `pixels` to `features`, `unlikeness`, `defect_map` and `local_scores`.

    Raises:
        DetectorError: A package is missing, or there can be no such graph.
    """
    return _graph(UprightMaps(extractor, local), "pixels", ["features", "unlikeness", "defect_map", "local_scores"])


def extractor_graph(extractor: Extractor) -> bytes:
    """Make the graph of `Extractor.forward`."""
    return _graph(in_float32(extractor), "pixels", ["features"])


def layers_graph(extractor: Extractor) -> bytes:
    """Make the graph of `Extractor.with_layers`: the features, three layers at 448 px, and three at 224 px."""
    layers = [f"{size}_{number}" for size in ("fine", "coarse") for number in range(3)]
    return _graph(_Layers(extractor), "pixels", ["features", *layers])


def flow_graph(flow: Flow) -> bytes:
    """Make the graph of `Flow.forward`."""
    return _graph(flow, "features", ["z", "log_det"])


def local_graph(local: LocalModel) -> bytes:
    """Make the graph of `LocalModel.forward`."""
    return _graph(local, "cells", ["unlikeness", "defect_map"])


def in_float32(extractor: Extractor) -> Extractor:
    """The same extractor, on the CPU and in float32, whatever it computes in."""
    weights = {name: value.cpu() for name, value in extractor.convolutions.state_dict().items()}
    return Extractor(weights, extractor.name, extractor.seed)


_SHAPES = {
    "pixels": (3, VIEW_PX, VIEW_PX),
    "features": (FEATURES,),
    "cells": (CELLS, CELLS, LOCAL_FEATURES),
}


def _graph(module: nn.Module, given: str, outputs: Sequence[str]) -> bytes:
    require_onnx()
    size = sum(value.nbytes for value in module.state_dict().values())
    if size > _LARGEST_BYTES:
        raise DetectorError(f"{size / 2**30:.1f} GiB of weights are too many for an ONNX graph, which ends at 2 GiB")
    example = torch.zeros(2, *_SHAPES[given])  # two: torch takes one for a constant
    try:
        with _quietly(), torch.no_grad():
            program = torch.onnx.export(
                module.eval(),
                (example,),
                input_names=[given],
                output_names=list(outputs),
                dynamic_shapes=({0: "batch"},),
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
            )
            assert program is not None  # noqa: S101 - None only where dynamo is off
            return _bare(program.model_proto)
    except (RuntimeError, ValueError) as error:  # the exporter's own errors are runtime errors
        raise DetectorError(f"this model cannot be written as ONNX: {' '.join(str(error).split())}") from error


def require_onnx() -> None:
    """See that the packages of the extra are there.

    Raises:
        DetectorError: One is missing.
    """
    for package in _PACKAGES:
        try:
            importlib.import_module(package)
        except ImportError as error:
            raise DetectorError(f"{package} is not installed: pip install 'differline[onnx]'") from error


def _bare(model: "ModelProto") -> bytes:
    """Without the exporter's notes on where in which file of this machine a node comes from."""
    for noted in (model.graph, *model.graph.node, *model.graph.value_info, *model.graph.input, *model.graph.output):
        noted.ClearField("metadata_props")
        noted.ClearField("doc_string")
    return bytes(model.SerializeToString(deterministic=True))


@contextmanager
def _quietly() -> Iterator[None]:
    """The exporter warns of what changes in libraries below it, and logs what it leaves out as unused."""
    log = logging.getLogger("onnxscript")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(before)
