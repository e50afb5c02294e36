"""A fitted detector: pictures in, scores, p-values and heatmaps out."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scorer.detector.calibration import Calibration
from scorer.detector.extractor import FEATURES, VIEW_PX, Extractor
from scorer.detector.flow import Flow
from scorer.detector.fusion import in_parts
from scorer.detector.local import LocalModel, local_features, local_heat, local_scores
from scorer.detector.localization import heatmaps
from scorer.detector.manifest import Manifest
from scorer.detector.scoring import score_views
from scorer.detector.views import ViewPlan, Views, prepare, render

VIEWS_PER_CHUNK = 8  # the fastest on two CPU cores by a hair, and 64 MiB at most


@dataclass(frozen=True)
class Scores:
    """Scores of N pictures.

    Attributes:
        score: (N,) float64, mean over views of -log p_Z(z), or the fusion of it and the local model's; not finite where
            there is none.
        p_value: (N,) float64, share of defect-free pictures that look as unlikely; NaN where there is no score.
        defect: (N,) bool, score above the threshold.
        views: (N,) int64, how many views of each were looked at.
        views_s: Seconds spent on making views.
        features_s: Seconds spent in the extractor.
        flow_s: Seconds spent in flow and local model.
    """

    score: NDArray[np.float64]
    p_value: NDArray[np.float64]
    defect: NDArray[np.bool_]
    views: NDArray[np.int64]
    views_s: float
    features_s: float
    flow_s: float


@dataclass(frozen=True)
class ViewFeatures:
    """Features of M views.

    Attributes:
        features: (M, 768) float32 on the device, in the order of the views.
        views_s: Seconds spent on making views.
        features_s: Seconds spent in the extractor.
    """

    features: Tensor
    views_s: float
    features_s: float


@dataclass(frozen=True)
class PartScores:
    """What the parts of a detector say of N pictures, before they become one score.

    Attributes:
        flow: (N,) float64, mean over views of -log p_Z(z).
        local: (N, 2) float64 of the local model; None where there is none.
        views_s: Seconds spent on making views.
        features_s: Seconds spent in the extractor.
        flow_s: Seconds spent in flow and local model.
    """

    flow: NDArray[np.float64]
    local: NDArray[np.float64] | None
    views_s: float
    features_s: float
    flow_s: float

    def side_by_side(self) -> NDArray[np.float64]:
        """The three scores that a fusion takes, (N, 3) float64.

        Raises:
            ValueError: There is no local model.
        """
        if self.local is None:
            raise ValueError("a flow alone has one score: there is nothing to fuse")
        return in_parts(self.flow, self.local)


class Detector:
    """Extractor, flow, local model and calibration of one model.

    The score of a picture does not depend on what else is in its batch, up to the rounding of float32 matrix products (relative
    1e-6); the same picture in the same batch scores the same, bit for bit.

    Attributes:
        manifest: What the model is.
        extractor: The frozen extractor.
        flow: The fitted flow.
        local: The local model; None where the flow alone judges, as in the paper.
        device: Where it computes.
        views_per_chunk: How many views are in memory at once.
    """

    def __init__(
        self,
        manifest: Manifest,
        extractor: Extractor,
        flow: Flow,
        device: str | torch.device = "cpu",
        views_per_chunk: int = VIEWS_PER_CHUNK,
        *,
        local: LocalModel | None = None,
    ) -> None:
        if (local is None) != (manifest.fusion is None):
            raise ValueError("a local model and a fusion go together")
        self.manifest = manifest
        self.device = torch.device(device)
        self.extractor = extractor.to(self.device)
        self.flow = flow.to(self.device).eval().requires_grad_(requires_grad=False)
        self.local = None if local is None else local.to(self.device).eval().requires_grad_(requires_grad=False)
        self.views_per_chunk = views_per_chunk

    @cached_property
    def calibration(self) -> Calibration:
        """The calibration behind threshold and p-values."""
        return self.manifest.calibration

    def prepare(self, pictures: Sequence[NDArray[np.uint8]]) -> Tensor:
        """Resize pictures, (H, W, 3) uint8 RGB each, to (N, 3, 448, 448) uint8 on the device."""
        return prepare(pictures, VIEW_PX, self.device)

    def features(self, prepared: Tensor, plan: ViewPlan | None = None) -> ViewFeatures:
        """Extract the features of pictures' views, `views_per_chunk` at a time.

        Args:
            prepared: (N, 3, 448, 448) uint8, as `prepare` gives them.
            plan: Which views; the manifest's, if not given.
        """
        views = (plan or self.manifest.views).draw(len(prepared))
        return extract(self.extractor, prepared, views, self.views_per_chunk)

    def score(self, pictures: Sequence[NDArray[np.uint8]] | Tensor, plan: ViewPlan | None = None) -> Scores:
        """Score pictures. A score that is not finite is handed on, never raised: the caller gives it no verdict.

        Args:
            pictures: (H, W, 3) uint8 RGB each, or the tensor that `prepare` made of them.
            plan: Other views than the manifest's, for measuring; threshold and p-values hold for the manifest's only.
        """
        plan = plan or self.manifest.views
        prepared = self._prepared(pictures)
        parts = part_scores(
            self.extractor, self.flow, prepared, plan, local=self.local, views_per_chunk=self.views_per_chunk
        )
        fusion = self.manifest.fusion
        score = parts.flow if fusion is None else fusion(parts.side_by_side())
        p_value, defect = self.calibration.p_values(score), self.calibration.is_defect(score)
        views = np.full(len(score), plan.count)
        return Scores(score, p_value, defect, views, parts.views_s, parts.features_s, parts.flow_s)

    def heatmap(self, pictures: Sequence[NDArray[np.uint8]] | Tensor) -> NDArray[np.float32]:
        """Say where pictures are unlikely, on the model's absolute scale.

        Args:
            pictures: (H, W, 3) uint8 RGB each, or the tensor that `prepare` made of them.

        Returns:
            (N, 112, 112) float32 in units of `manifest.heat_scale`: 1.0 is the hottest pixel of held-out defect-free pictures.
        """
        prepared = self._prepared(pictures)
        if self.local is not None:
            with torch.inference_mode():
                chunks = torch.split(prepared, self.views_per_chunk)
                maps = [local_heat(*self.local(local_features(self.extractor, chunk))) for chunk in chunks]
            heat: NDArray[np.float32] = np.concatenate(maps)
        else:
            heat = heatmaps(self.extractor, self.flow, prepared, self.manifest.heatmap_views, self.views_per_chunk)
        return np.asarray(heat / np.float32(self.manifest.heat_scale), dtype=np.float32)

    def _prepared(self, pictures: Sequence[NDArray[np.uint8]] | Tensor) -> Tensor:
        return pictures if isinstance(pictures, Tensor) else self.prepare(pictures)


def score_together(groups: Sequence[tuple[Detector, Sequence[NDArray[np.uint8]]]]) -> list[Scores]:
    """Score pictures of several products, each by its own detector.

    Args:
        groups: A detector and its pictures, (H, W, 3) uint8 RGB each; a product a group.

    Returns:
        The scores of each group, in the order of the groups.
    """
    return [detector.score(pictures) for detector, pictures in groups]


def part_scores(
    extractor: Extractor,
    flow: Flow,
    prepared: Tensor,
    plan: ViewPlan,
    *,
    local: LocalModel | None = None,
    views_per_chunk: int = VIEWS_PER_CHUNK,
) -> PartScores:
    """Score prepared pictures by each part of a detector.

    Args:
        extractor: On the device of `prepared`.
        flow: The fitted flow.
        prepared: (N, 3, 448, 448) uint8.
        plan: Which views the flow looks at; the local model looks at the pictures as they are.
        local: The local model, if there is one.
        views_per_chunk: How many views are in memory at once.
    """
    made = extract(extractor, prepared, plan.draw(len(prepared)), views_per_chunk)
    started = _now(prepared.device)
    by_flow = score_views(flow, made.features, plan.count).cpu().numpy()
    flow_s = _now(prepared.device) - started
    features_s, by_local = made.features_s, None
    if local is not None:
        scores: list[Tensor] = []
        with torch.inference_mode():
            for chunk in torch.split(prepared, views_per_chunk):
                started = _now(prepared.device)
                cells = local_features(extractor, chunk)
                extracted = _now(prepared.device)
                scores.append(local_scores(*local(cells)).cpu())
                features_s += extracted - started
                flow_s += _now(prepared.device) - extracted
        by_local = torch.cat(scores).numpy() if scores else np.empty((0, 2))
    return PartScores(by_flow, by_local, made.views_s, features_s, flow_s)


def extract(
    extractor: Extractor, prepared: Tensor, views: Views, views_per_chunk: int = VIEWS_PER_CHUNK
) -> ViewFeatures:
    """Extract the features of views of prepared pictures, in chunks of bounded memory.

    Args:
        extractor: On the device of `prepared`.
        prepared: (N, 3, 448, 448) uint8.
        views: M views of them.
        views_per_chunk: How many views are in memory at once.
    """
    parts: list[Tensor] = []
    views_s = features_s = 0.0
    with torch.inference_mode():
        for chunk in views.chunks(views_per_chunk):
            started = _now(prepared.device)
            pixels = render(prepared, chunk)
            rendered = _now(prepared.device)
            parts.append(extractor(pixels))
            views_s += rendered - started
            features_s += _now(prepared.device) - rendered
        features = torch.cat(parts) if parts else torch.empty(0, FEATURES, device=prepared.device)
    return ViewFeatures(features, views_s, features_s)


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)  # kernels run behind; a stage's time is known when they are done
    return time.perf_counter()
