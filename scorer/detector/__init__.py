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
from scorer.detector.backend import Backend, choose_backend, on_onnxruntime
from scorer.detector.calibration import Calibration, calibrate, calibrate_cameras, pictures_needed
from scorer.detector.detector import Detector, Scores, score_together
from scorer.detector.devices import choose_arithmetic, choose_device, has_fast_bfloat16, views_per_chunk
from scorer.detector.early_exit import EarlyExit
from scorer.detector.errors import (
    ArtifactRefusedError,
    CalibrationError,
    DetectorError,
    ExtractorError,
    ParityError,
)
from scorer.detector.export import LOCAL_GRAPH, SCORE_GRAPH, ExportManifest, export_onnx
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
from scorer.detector.fusion import PARTS, Fusion, cap_of
from scorer.detector.local import CELLS, FINE, LocalModel, LocalSpec, local_features, local_heat, local_scores
from scorer.detector.localization import HEATMAP_PX, heatmaps
from scorer.detector.looking import PartScores, Subject, ViewFeatures, extract, look
from scorer.detector.manifest import FORMAT_VERSION, ExtractorIdentity, Manifest
from scorer.detector.parity import TOLERANCE, Parity, check_parity, parity_pictures
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
    "LOCAL_GRAPH",
    "MANIFEST_FILE",
    "PARTS",
    "SCALES_PX",
    "SCORE_GRAPH",
    "TOLERANCE",
    "VIEW_PX",
    "ArtifactHashes",
    "ArtifactRefusedError",
    "Backend",
    "Calibration",
    "CalibrationError",
    "Detector",
    "DetectorError",
    "EarlyExit",
    "ExportManifest",
    "Extractor",
    "ExtractorError",
    "ExtractorIdentity",
    "Flow",
    "FlowSpec",
    "Fusion",
    "LocalModel",
    "LocalSpec",
    "Manifest",
    "Parity",
    "ParityError",
    "PartScores",
    "Scores",
    "Subject",
    "ViewFeatures",
    "ViewPlan",
    "Views",
    "calibrate",
    "calibrate_cameras",
    "cap_of",
    "check_parity",
    "choose_arithmetic",
    "choose_backend",
    "choose_device",
    "export_onnx",
    "extract",
    "extractors_at_hand",
    "has_fast_bfloat16",
    "heatmaps",
    "load_artifact",
    "load_extractor",
    "local_features",
    "local_heat",
    "local_scores",
    "look",
    "loss_per_view",
    "make_views",
    "on_onnxruntime",
    "parity_pictures",
    "pictures_needed",
    "prepare",
    "read_manifest",
    "render",
    "save_artifact",
    "save_extractor",
    "score_together",
    "score_views",
    "views_per_chunk",
]
