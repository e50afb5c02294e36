"""ONNX Runtime instead of torch, behind the same interface: views, order of looking, early exit and fusion stay as they are.

What a gradient flows through stays torch's: the weights are kept for the heatmap of a model without a local model.
"""

from typing import Literal

import torch
from torch import Tensor

from scorer.detector.detector import Detector
from scorer.detector.devices import choose_arithmetic, choose_device
from scorer.detector.errors import DetectorError, ParityError
from scorer.detector.extractor import Extractor
from scorer.detector.flow import Flow
from scorer.detector.graphs import (
    extractor_graph,
    flow_graph,
    in_float32,
    layers_graph,
    local_graph,
    require_onnx,
)
from scorer.detector.local import LocalModel
from scorer.detector.parity import check_parity

Backend = Literal["torch", "onnxruntime"]

_LAYERS = 3
_VIEWS = 8  # of each picture behind the gate: a graph that is wrong is wrong on every view


class Session:
    """One graph in ONNX Runtime, on as many threads of the CPU as torch has.

    Args:
        graph: An ONNX model.

    Attributes:
        threads: On how many it computes.

    Raises:
        DetectorError: A package is missing.
        ParityError: It cannot compute this graph.
    """

    def __init__(self, graph: bytes) -> None:
        require_onnx()
        import onnxruntime  # noqa: PLC0415 - an extra

        options = onnxruntime.SessionOptions()
        self.threads = options.intra_op_num_threads = torch.get_num_threads()
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # Threads that spin while they wait would take the cores from torch, which makes the views in between.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its errors have no base of their own
            raise ParityError(f"ONNX Runtime refuses a graph: {' '.join(str(error).split())}") from error
        self._input = self._session.get_inputs()[0].name

    def __call__(self, given: Tensor) -> list[Tensor]:
        """Compute all outputs, in their order."""
        outputs = self._session.run(None, {self._input: given.detach().contiguous().numpy()})
        return [torch.from_numpy(output) for output in outputs]


class OnnxExtractor(Extractor):
    """An extractor whose views pass ONNX Runtime; `layers` and `exact` stay torch's, in float32."""

    def __init__(self, extractor: Extractor) -> None:
        exact = in_float32(extractor)
        super().__init__(exact.convolutions.state_dict(), exact.name, exact.seed)
        self._views = Session(extractor_graph(exact))
        self._layers: Session | None = None

    def computing_in(self, arithmetic: torch.dtype) -> "OnnxExtractor":
        """Refuse what is not float32.

        Raises:
            DetectorError: It is not.
        """
        if arithmetic != torch.float32:
            raise DetectorError("ONNX Runtime computes in float32 here")
        return self

    def forward(self, views: Tensor) -> Tensor:
        """As `Extractor.forward`."""
        return self._views(views)[0]

    def with_layers(self, views: Tensor) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """As `Extractor.with_layers`."""
        if self._layers is None:  # only models with a local model need it
            self._layers = Session(layers_graph(self))
        features, *layers = self._layers(views)
        return features, layers[:_LAYERS], layers[_LAYERS:]


class OnnxFlow(Flow):
    """A flow in ONNX Runtime, unless a gradient is asked for."""

    def __init__(self, flow: Flow) -> None:
        super().__init__(flow.spec, initialise=False)
        self.load_state_dict(flow.state_dict(), assign=True)
        self._session = Session(flow_graph(flow))

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """As `Flow.forward`."""
        if features.requires_grad:
            return super().forward(features)
        z, log_det = self._session(features)
        return z, log_det


class OnnxLocalModel(LocalModel):
    """A local model in ONNX Runtime."""

    def __init__(self, local: LocalModel) -> None:
        super().__init__(local.spec)
        self.load_state_dict(local.state_dict(), assign=True)
        self._session = Session(local_graph(local))

    def forward(self, cells: Tensor) -> tuple[Tensor, Tensor]:
        """As `LocalModel.forward`."""
        unlike, defects = self._session(cells)
        return unlike, defects


def choose_backend(backend: Backend, device: str, arithmetic: str) -> tuple[torch.device, torch.dtype]:
    """Return where a backend computes and in what, by the settings `device` and `arithmetic`.

    Raises:
        DetectorError: There is no such device or arithmetic, ONNX Runtime was asked for more than float32 on the CPU, or is
            not installed.
    """
    if backend == "torch":
        chosen = choose_device(device)
        return chosen, choose_arithmetic(arithmetic, chosen)
    for name, value, only in (("device", device, "cpu"), ("arithmetic", arithmetic, "float32")):
        if value not in ("auto", only):
            raise DetectorError(
                f"the backend onnxruntime computes on the CPU in float32: {name} is auto or {only}, not {value}"
            )
    require_onnx()
    return torch.device("cpu"), torch.float32


def on_onnxruntime(detector: Detector) -> Detector:
    """Bring a detector on the CPU to ONNX Runtime; an extractor that is there already is shared.

    Raises:
        DetectorError: A package is missing, or the detector is on another device.
        ParityError: It does not score as torch does.
    """
    if detector.device.type != "cpu":
        raise DetectorError(f"ONNX Runtime computes on the CPU here, and this model is on {detector.device}")
    manifest, extractor, local = detector.manifest, detector.extractor, detector.local
    exact = Detector(manifest, in_float32(extractor), detector.flow, local=local)
    other = Detector(
        manifest,
        extractor if isinstance(extractor, OnnxExtractor) else OnnxExtractor(extractor),
        OnnxFlow(detector.flow),
        local=None if local is None else OnnxLocalModel(local),
    )
    plan = manifest.views.model_copy(update={"count": min(manifest.views.count, _VIEWS)})
    check_parity(exact, lambda pictures: other.score(pictures, plan).score, plan=plan)
    return other
