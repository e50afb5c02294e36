"""The DifferNet detector: pure functions and classes on pixels and tensors, which import nothing else of ours.

Source: Rudolph, Wandt, Rosenhahn, "Same Same But DifferNet: Semi-Supervised Defect Detection with Normalizing Flows",
WACV 2021.
"""

from scorer.detector.artifact import (
    EXTRACTOR_FILE,
    FLOW_FILE,
    LOCAL_FILE,
    MANIFEST_FILE,
    ArtifactHashes,
    load_artifact,
    read_manifest,
    save_artifact,
)
from scorer.detector.calibration import Calibration, calibrate, pictures_needed
from scorer.detector.detector import (
    VIEWS_PER_CHUNK,
    Detector,
    PartScores,
    Scores,
    ViewFeatures,
    extract,
    part_scores,
    score_together,
)
from scorer.detector.devices import choose_device
from scorer.detector.errors import ArtifactRefusedError, CalibrationError, DetectorError, ExtractorError
from scorer.detector.extractor import (
    ADAPTED,
    CHANNELS,
    FEATURES,
    SCALES_PX,
    VIEW_PX,
    Extractor,
    extractors_at_hand,
    load_extractor,
    save_extractor,
)
from scorer.detector.flow import Flow, FlowSpec, loss_per_view
from scorer.detector.fusion import PARTS, Fusion, in_parts
from scorer.detector.local import CELLS, FINE, LocalModel, LocalSpec, local_features, local_heat, local_scores
from scorer.detector.localization import HEATMAP_PX, heatmaps
from scorer.detector.manifest import FORMAT_VERSION, ExtractorIdentity, Manifest
from scorer.detector.scoring import score_views
from scorer.detector.views import ViewPlan, Views, make_views, prepare, render

__all__ = [
    "ADAPTED",
    "CELLS",
    "CHANNELS",
    "EXTRACTOR_FILE",
    "FEATURES",
    "FINE",
    "FLOW_FILE",
    "FORMAT_VERSION",
    "HEATMAP_PX",
    "LOCAL_FILE",
    "MANIFEST_FILE",
    "PARTS",
    "SCALES_PX",
    "VIEWS_PER_CHUNK",
    "VIEW_PX",
    "ArtifactHashes",
    "ArtifactRefusedError",
    "Calibration",
    "CalibrationError",
    "Detector",
    "DetectorError",
    "Extractor",
    "ExtractorError",
    "ExtractorIdentity",
    "Flow",
    "FlowSpec",
    "Fusion",
    "LocalModel",
    "LocalSpec",
    "Manifest",
    "PartScores",
    "Scores",
    "ViewFeatures",
    "ViewPlan",
    "Views",
    "calibrate",
    "choose_device",
    "extract",
    "extractors_at_hand",
    "heatmaps",
    "in_parts",
    "load_artifact",
    "load_extractor",
    "local_features",
    "local_heat",
    "local_scores",
    "loss_per_view",
    "make_views",
    "part_scores",
    "pictures_needed",
    "prepare",
    "read_manifest",
    "render",
    "save_artifact",
    "save_extractor",
    "score_together",
    "score_views",
]
