"""The manifest of a model artifact: everything a verdict is traced back to."""

import importlib.metadata
from datetime import UTC, datetime

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from scorer.detector.calibration import Calibration, calibrate_cameras
from scorer.detector.early_exit import EarlyExit
from scorer.detector.extractor import SCALES_PX, Extractor
from scorer.detector.flow import FlowSpec
from scorer.detector.fusion import Fusion
from scorer.detector.local import LocalSpec
from scorer.detector.views import ViewPlan

FORMAT_VERSION = 5
READABLE_VERSIONS = (1, 2, 3, 4, 5)
"""1 knows no local model and no weights of its own, 2 no early exit, 3 no picture quality, 4 no cameras."""

_LIBRARIES = ("torch", "torchvision", "FrEIA", "numpy", "opencv-python-headless", "safetensors")


def _library_versions() -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in _LIBRARIES}


class ExtractorIdentity(BaseModel):
    """Which extractor a flow was fitted on.

    Attributes:
        name: `bundled`, `random`, `imagenet`, `adapted` (the weights are in the artifact), or `file:` and a file's name.
        seed: Seed of `random` weights.
        sha256: SHA-256 of the weights; it decides, the name informs.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    seed: int | None
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")

    @classmethod
    def of(cls, extractor: Extractor) -> "ExtractorIdentity":
        """Identify an extractor."""
        return cls(name=extractor.name, seed=extractor.seed, sha256=extractor.sha256)


class Manifest(BaseModel):
    """What is written in `manifest.json`.

    Attributes:
        format_version: Version of this layout.
        product: What the model was fitted for.
        preset: Name of the training preset.
        created_at: When it was fitted.
        architecture: The flow.
        scales_px: Sides of the extractor's input squares.
        extractor: Which extractor.
        local: The local model; None where the flow alone judges, as in the paper.
        fusion: How flow and local model become one score.
        evidence: AUROC on synthetic defects in pictures that nothing was learned from; None where it was not measured.
        files: SHA-256 of every other file of the artifact than `flow.safetensors` and this one, by name.
        views: Views behind a score, in calibration and in production alike.
        early_exit: When a picture needs no more of them; None where all are always looked at.
        heatmap_views: Views behind a heatmap.
        training_sha256: SHA-256 of each training picture's file (of its pixels, where it never was a file).
        calibration_sha256: The same of the calibration pictures.
        calibration_scores: Their scores, in that order.
        calibration_quality: Their focus, brightness and contrast, in that order; empty in manifests of before version 4.
        calibration_cameras: The camera of each, in that order, None where it is not known; empty where no camera is.
        false_alarm_rate: The rate asked for.
        threshold: A score above it is a defect, by all calibration pictures together.
        camera_thresholds: The same by a camera's own ones, where it has enough for the rate; what judges its frames.
        heat_scale: Hottest heatmap pixel on held-out defect-free pictures: 1.0 on the colour scale.
        epochs: Passes over the training views.
        final_loss: Mean loss a view in the last epoch.
        seed: Seed of split, views, initial weights and order.
        libraries: Versions of the libraries that fitted it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    format_version: int = FORMAT_VERSION
    product: str = Field(min_length=1)
    preset: str
    created_at: AwareDatetime = Field(default_factory=lambda: datetime.now(UTC))
    architecture: FlowSpec
    scales_px: tuple[int, ...] = SCALES_PX
    extractor: ExtractorIdentity
    local: LocalSpec | None = None
    fusion: Fusion | None = None
    evidence: float | None = Field(None, ge=0, le=1)
    files: dict[str, str] = Field(default_factory=dict)
    views: ViewPlan
    early_exit: EarlyExit | None = None
    heatmap_views: ViewPlan
    training_sha256: tuple[str, ...]
    calibration_sha256: tuple[str, ...]
    calibration_scores: tuple[float, ...]
    calibration_quality: tuple[tuple[float, float, float], ...] = ()
    calibration_cameras: tuple[str | None, ...] = ()
    false_alarm_rate: float
    threshold: float
    camera_thresholds: dict[str, float] = Field(default_factory=dict)
    heat_scale: float = Field(gt=0)
    epochs: int
    final_loss: float
    seed: int
    libraries: dict[str, str] = Field(default_factory=_library_versions)

    @property
    def calibration(self) -> Calibration:
        """The calibration that the threshold comes from: by all calibration pictures together."""
        return Calibration(self.calibration_scores, self.false_alarm_rate)

    @property
    def camera_calibrations(self) -> dict[str, Calibration]:
        """The calibrations behind the thresholds that cameras have of their own, by camera."""
        if not self.calibration_cameras:
            return {}
        return calibrate_cameras(self.calibration_scores, self.calibration_cameras, self.false_alarm_rate)

    def compared_with(self, camera: str) -> list[int]:
        """Places of the calibration pictures that frames of a camera are compared with: its own, or all."""
        if camera not in self.camera_thresholds:
            return list(range(len(self.calibration_scores)))
        return [place for place, of in enumerate(self.calibration_cameras) if of == camera]
