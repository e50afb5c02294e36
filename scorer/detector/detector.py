"""A fitted detector: pictures in, scores, p-values and heatmaps out."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scorer.detector.calibration import Calibration
from scorer.detector.devices import views_per_chunk as chunk_of
from scorer.detector.extractor import VIEW_PX, Extractor
from scorer.detector.flow import Flow
from scorer.detector.local import LocalModel, local_features, local_heat
from scorer.detector.localization import heatmaps
from scorer.detector.looking import PartScores, Subject, ViewFeatures, extract, look
from scorer.detector.manifest import Manifest
from scorer.detector.views import ViewPlan, prepare


@dataclass(frozen=True)
class Scores:
    """Scores of N pictures.

    Attributes:
        score: (N,) float64, mean over views of -log p_Z(z), or the fusion of flow and local model; not finite where there is
            none.
        p_value: (N,) float64, share of defect-free pictures that look as unlikely; NaN where there is no score.
        defect: (N,) bool, score above the threshold of the picture's camera.
        views: (N,) int64, how many views of each were looked at.
        views_s: Seconds spent on making views.
        features_s: Seconds spent in the extractor.
        flow_s: Seconds spent in flow and local model.
        maps: (N, 2, 27, 27) float32 of the local model, which `Detector.heatmap` takes; None where there is none.
    """

    score: NDArray[np.float64]
    p_value: NDArray[np.float64]
    defect: NDArray[np.bool_]
    views: NDArray[np.int64]
    views_s: float
    features_s: float
    flow_s: float
    maps: NDArray[np.float32] | None = None


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
        views_per_chunk: How many views are in memory at once; by default what suits the device.
    """

    def __init__(
        self,
        manifest: Manifest,
        extractor: Extractor,
        flow: Flow,
        device: str | torch.device = "cpu",
        views_per_chunk: int | None = None,
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
        self.views_per_chunk = views_per_chunk or chunk_of(self.device)

    @cached_property
    def calibration(self) -> Calibration:
        """The calibration behind threshold and p-values, where a camera has none of its own."""
        return self.manifest.calibration

    @cached_property
    def camera_calibrations(self) -> dict[str, Calibration]:
        """The calibrations of cameras that have their own."""
        return self.manifest.camera_calibrations

    def calibration_of(self, camera: str | None) -> Calibration:
        """What judges frames of a camera: its own calibration, or that of all cameras; None is a camera that nobody knows."""
        return self.calibration if camera is None else self.camera_calibrations.get(camera, self.calibration)

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

    def score(
        self,
        pictures: Sequence[NDArray[np.uint8]] | Tensor,
        plan: ViewPlan | None = None,
        *,
        cameras: Sequence[str | None] | None = None,
        early_exit: bool = True,
    ) -> Scores:
        """Score pictures. A score that is not finite is handed on, never raised: the caller gives it no verdict.

        Args:
            pictures: (H, W, 3) uint8 RGB each, or the tensor that `prepare` made of them.
            plan: Other views than the manifest's, for measuring; threshold and p-values hold for the manifest's only.
            cameras: The camera of each, whose calibration judges it; without them, that of all cameras does.
            early_exit: Let a picture go when more views could not change its verdict, by the manifest's rule.
        """
        of_groups = None if cameras is None else [cameras]
        return score_together([(self, pictures)], plan, cameras=of_groups, early_exit=early_exit)[0]

    def heatmap(
        self, pictures: Sequence[NDArray[np.uint8]] | Tensor, maps: NDArray[np.float32] | None = None
    ) -> NDArray[np.float32]:
        """Say where pictures are unlikely, on the model's absolute scale.

        Args:
            pictures: (H, W, 3) uint8 RGB each, or the tensor that `prepare` made of them.
            maps: What `score` found of these pictures, if it is at hand: (N, 2, 27, 27) float32.

        Returns:
            (N, 112, 112) float32 in units of `manifest.heat_scale`: 1.0 is the hottest pixel of held-out defect-free pictures.
        """
        if self.local is None:
            prepared = self._prepared(pictures)
            heat = heatmaps(self.extractor, self.flow, prepared, self.manifest.heatmap_views, self.views_per_chunk)
        elif maps is not None:
            heat = local_heat(*torch.from_numpy(maps).unbind(dim=1))
        else:
            with torch.inference_mode():
                chunks = torch.split(self._prepared(pictures), self.views_per_chunk)
                parts = [local_heat(*self.local(local_features(self.extractor, chunk))) for chunk in chunks]
            heat = np.concatenate(parts)
        return np.asarray(heat / np.float32(self.manifest.heat_scale), dtype=np.float32)

    def _prepared(self, pictures: Sequence[NDArray[np.uint8]] | Tensor) -> Tensor:
        return pictures if isinstance(pictures, Tensor) else self.prepare(pictures)

    def _subject(
        self,
        pictures: Sequence[NDArray[np.uint8]] | Tensor,
        cameras: Sequence[str | None],
        plan: ViewPlan | None,
        *,
        early_exit: bool,
    ) -> Subject:
        if len(cameras) != len(pictures):
            raise ValueError(f"{len(cameras)} cameras of {len(pictures)} pictures")
        rule = self.manifest.early_exit if early_exit and plan is None else None
        thresholds = np.array([self.calibration_of(camera).threshold for camera in cameras])
        return Subject(
            self.extractor,
            self.flow,
            self.local,
            self._prepared(pictures),
            plan or self.manifest.views,
            None if self.manifest.fusion is None else self.manifest.fusion.cap,
            rule,
            None if rule is None else partial(self._bar, thresholds),
        )

    def _bar(
        self, thresholds: NDArray[np.float64], places: NDArray[np.int64], local: NDArray[np.float64] | None
    ) -> NDArray[np.float64]:
        fusion = self.manifest.fusion
        if fusion is None or local is None:
            return thresholds[places]
        return fusion.bar(thresholds[places], local)

    def _scores(self, parts: PartScores, cameras: Sequence[str | None]) -> Scores:
        fusion = self.manifest.fusion
        score = parts.flow if fusion is None else fusion(parts.side_by_side())
        p_value, defect = np.empty(len(score)), np.empty(len(score), bool)
        for camera in set(cameras):
            calibration = self.calibration_of(camera)
            own = np.array([each == camera for each in cameras])
            p_value[own], defect[own] = calibration.p_values(score[own]), calibration.is_defect(score[own])
        spent = parts.seconds
        return Scores(score, p_value, defect, parts.views, spent.views, spent.features, spent.flow, parts.maps)


def score_together(
    groups: Sequence[tuple[Detector, Sequence[NDArray[np.uint8]] | Tensor]],
    plan: ViewPlan | None = None,
    *,
    cameras: Sequence[Sequence[str | None]] | None = None,
    early_exit: bool = True,
) -> list[Scores]:
    """Score pictures of several products, each by its own detector; those with the same extractor pass it together.

    Args:
        groups: A detector and its pictures, (H, W, 3) uint8 RGB each; a product a group, all on one device.
        plan: Other views than the manifests', for measuring.
        cameras: The camera of each picture, group by group; without them, none is known.
        early_exit: Let a picture go when more views could not change its verdict.

    Returns:
        The scores of each group, in the order of the groups.
    """
    of_groups = [[None] * len(pictures) for _, pictures in groups] if cameras is None else cameras
    judged = list(zip(groups, of_groups, strict=True))
    subjects = [detector._subject(pictures, own, plan, early_exit=early_exit) for (detector, pictures), own in judged]
    found = look(subjects, groups[0][0].views_per_chunk if groups else None)
    return [detector._scores(parts, own) for ((detector, _), own), parts in zip(judged, found, strict=True)]
