"""A detector as ONNX files for other programs: the graph of a view's score, and the one of the local model."""

import hashlib
import importlib.metadata
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from scorer.detector.artifact import MANIFEST_FILE, write_folder
from scorer.detector.backend import Session
from scorer.detector.detector import Detector
from scorer.detector.fusion import Fusion
from scorer.detector.graphs import OPSET, in_float32, score_graph, upright_graph
from scorer.detector.parity import Parity, check_parity
from scorer.detector.views import ViewPlan, render

SCORE_GRAPH = "score.onnx"
LOCAL_GRAPH = "local.onnx"
_LIBRARIES = ("torch", "onnx", "onnxscript", "onnxruntime")


def _library_versions() -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in _LIBRARIES}


class ExportManifest(BaseModel):
    """What is written beside the graphs: all that a score and a verdict need beyond them.

    Attributes:
        format_version: Version of this layout.
        product: What the model was fitted for.
        version: Its version in the registry; None where it came from no registry.
        opset: Of the graphs.
        files: SHA-256 of each graph, by name.
        views: Views whose mean of `negative_log_p` is the flow's score, where the flow alone judges.
        fusion: How flow and local model become one score, and what the logs of views are capped at before their mean is taken;
            None where the flow alone judges.
        threshold: A score above it is a defect.
        camera_thresholds: The same for frames of a camera that has one of its own, by camera.
        parity_pictures: How many pictures the gate compared.
        parity_difference: The largest relative difference of a score.
        parity_tolerance: What it may be.
        libraries: Versions of the libraries that made and compared the graphs.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    format_version: int = 2
    product: str
    version: int | None = None
    opset: int = OPSET
    files: dict[str, str]
    views: ViewPlan
    fusion: Fusion | None
    threshold: float
    camera_thresholds: dict[str, float]
    parity_pictures: int
    parity_difference: float
    parity_tolerance: float
    libraries: dict[str, str] = Field(default_factory=_library_versions)


class GraphScorer:
    """Scores pictures by the graphs alone, with all views: what a program without torch would do.

    Args:
        detector: Its manifest says which views, and how scores are fused.
        graphs: By file name.

    Raises:
        DetectorError: A package is missing, or ONNX Runtime refuses a graph.
    """

    def __init__(self, detector: Detector, graphs: dict[str, bytes]) -> None:
        self._detector = detector
        self._score = Session(graphs[SCORE_GRAPH])
        self._local = Session(graphs[LOCAL_GRAPH]) if LOCAL_GRAPH in graphs else None

    def __call__(self, pictures: list[NDArray[np.uint8]]) -> NDArray[np.float64]:
        """Scores of pictures, (H, W, 3) uint8 RGB each: (N,) float64."""
        manifest, chunk = self._detector.manifest, self._detector.views_per_chunk
        prepared = self._detector.prepare(pictures)
        with torch.inference_mode():
            views = manifest.views.draw(len(pictures)).chunks(chunk)
            by_view = torch.cat([self._score(render(prepared, each))[0] for each in views]).double()
            by_view = by_view.view(len(pictures), -1)
            if self._local is None or manifest.fusion is None:
                return by_view.mean(dim=1).numpy()
            cap = manifest.fusion.cap
            logs = by_view.mean(dim=1).log() if cap is None else by_view.log().clamp_max(cap).mean(dim=1)
            local = torch.cat([self._local(part.float() / 255.0)[-1] for part in torch.split(prepared, chunk)])
            return manifest.fusion(torch.cat([logs[:, None], local.double()], dim=1).numpy())


def make_graphs(detector: Detector) -> dict[str, bytes]:
    """Make the graphs of a detector, by file name.

    Raises:
        DetectorError: A package is missing, or there can be no such graph.
    """
    graphs = {SCORE_GRAPH: score_graph(detector.extractor, detector.flow)}
    if detector.local is not None:
        graphs[LOCAL_GRAPH] = upright_graph(detector.extractor, detector.local)
    return graphs


def export_onnx(
    detector: Detector, folder: Path, pictures: Iterable[NDArray[np.uint8]] = (), *, version: int | None = None
) -> Parity:
    """Write graphs and manifest into a new folder, if they score as the detector does on the CPU in float32.

    Args:
        detector: On the CPU.
        folder: It appears complete or not at all.
        pictures: Pictures that the gate compares beside its own, (H, W, 3) uint8 RGB each.
        version: Of the model in the registry.

    Returns:
        What the gate found.

    Raises:
        DetectorError: A package is missing, or there can be no such graph.
        FileExistsError: The folder is there already.
        ParityError: Scores or verdicts differ; nothing was written.
    """
    if folder.exists():
        raise FileExistsError(f"{folder} exists; it is never overwritten")
    exact = Detector(detector.manifest, in_float32(detector.extractor), detector.flow, local=detector.local)
    graphs = make_graphs(exact)
    parity = check_parity(exact, GraphScorer(exact, graphs), pictures)
    manifest = ExportManifest(
        product=detector.manifest.product,
        version=version,
        files={name: hashlib.sha256(graph).hexdigest() for name, graph in graphs.items()},
        views=detector.manifest.views,
        fusion=detector.manifest.fusion,
        threshold=detector.manifest.threshold,
        camera_thresholds=detector.manifest.camera_thresholds,
        parity_pictures=parity.pictures,
        parity_difference=parity.difference,
        parity_tolerance=parity.tolerance,
    )
    write_folder(folder, graphs | {MANIFEST_FILE: (manifest.model_dump_json(indent=2) + "\n").encode()})
    return parity
