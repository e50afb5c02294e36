"""Model artifacts on disk: a folder with `flow.safetensors` and `manifest.json`, and no pickle.

A local model adds `local.safetensors`, and weights that were tuned to the product `extractor.safetensors`; the manifest has
the SHA-256 of both.
"""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
from pydantic import BaseModel, ValidationError
from safetensors import SafetensorError
from torch import Tensor, nn

from scorer.detector.detector import Detector
from scorer.detector.errors import ArtifactRefusedError, DetectorError
from scorer.detector.extractor import ADAPTED, SCALES_PX, Extractor, load_extractor, read_weights
from scorer.detector.flow import Flow
from scorer.detector.local import LocalModel
from scorer.detector.manifest import READABLE_VERSIONS, Manifest

FLOW_FILE = "flow.safetensors"
LOCAL_FILE = "local.safetensors"
EXTRACTOR_FILE = "extractor.safetensors"
MANIFEST_FILE = "manifest.json"


Parts = MutableMapping[str, nn.Module]
"""Flows and local models in memory, by the SHA-256 of their file."""


@dataclass(frozen=True)
class ArtifactHashes:
    """SHA-256 of both files, in hex.

    Attributes:
        flow: Of `flow.safetensors`.
        manifest: Of `manifest.json`.
    """

    flow: str
    manifest: str


def save_artifact(folder: Path, detector: Detector) -> ArtifactHashes:
    """Write a detector into a new folder that appears complete or not at all, whatever is killed.

    Raises:
        FileExistsError: The folder is there already; artifacts are never overwritten.
    """
    contents = {FLOW_FILE: _state_file(detector.flow)}
    others = {} if detector.local is None else {LOCAL_FILE: _state_file(detector.local)}
    if detector.extractor.name == ADAPTED:
        others[EXTRACTOR_FILE] = _halved_file(detector.extractor.convolutions)
    manifest = detector.manifest.model_copy(update={"files": {name: _sha256(data) for name, data in others.items()}})
    contents |= others | {MANIFEST_FILE: (manifest.model_dump_json(indent=2) + "\n").encode()}
    write_folder(folder, contents)
    return ArtifactHashes(_sha256(contents[FLOW_FILE]), _sha256(contents[MANIFEST_FILE]))


def write_folder(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Write files, by name, into a new folder that appears complete or not at all, whatever is killed.

    Raises:
        FileExistsError: The folder is there already; it is never overwritten.
    """
    if folder.exists():
        raise FileExistsError(f"{folder} exists; it is never overwritten")
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        unfinished.chmod(0o755)
        for name, data in contents.items():
            _write_through(unfinished / name, data)
        _sync_folder(unfinished)
        unfinished.rename(folder)
        _sync_folder(folder.parent)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise


def load_artifact(
    folder: Path,
    expected_flow_sha256: str | None = None,
    expected_manifest_sha256: str | None = None,
    device: str | torch.device = "cpu",
    extractor: Extractor | None = None,
    *,
    parts: Parts | None = None,
) -> Detector:
    """Read a detector, or refuse it; nothing half-read is handed out.

    Args:
        folder: Folder of the artifact.
        expected_flow_sha256: What the registry says of `flow.safetensors`.
        expected_manifest_sha256: What the registry says of `manifest.json`.
        device: Where the detector computes.
        extractor: The extractor in use; without it, `bundled`, `random` and `imagenet` ones are loaded by the manifest.
        parts: What is in memory already; a detector whose file is the same, byte for byte, takes it from there, and what is
            built is added.

    Raises:
        ArtifactRefusedError: A file is missing, is not the expected one, has an unknown format, wrong shapes or a value that is
            not finite, or was fitted on another extractor.
    """
    manifest_bytes = _read(folder / MANIFEST_FILE, expected_manifest_sha256)
    flow_bytes = _read(folder / FLOW_FILE, expected_flow_sha256)
    manifest = _parse_manifest(folder, manifest_bytes)
    parts = {} if parts is None else parts
    flow = _build_flow(folder, manifest, flow_bytes, parts)
    local = _build_local(folder, manifest, parts)
    return Detector(manifest, _fitting_extractor(folder, manifest, extractor), flow, device, local=local)


def read_manifest(folder: Path) -> Manifest:
    """Read what a model is, without its weights.

    Raises:
        ArtifactRefusedError: The manifest is missing, broken or of an unknown format.
    """
    return _parse_manifest(folder, _read(folder / MANIFEST_FILE, None))


def _read(path: Path, expected_sha256: str | None) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ArtifactRefusedError(f"{path}: {error.strerror or error}") from error
    if expected_sha256 is not None and _sha256(data) != expected_sha256:
        raise ArtifactRefusedError(f"{path}: SHA-256 is {_sha256(data)}, registered is {expected_sha256}")
    return data


class _Format(BaseModel):
    format_version: int


def _parse_manifest(folder: Path, data: bytes) -> Manifest:
    try:
        version = _Format.model_validate_json(data).format_version
        _check_version(folder, version)
        manifest = Manifest.model_validate_json(data)
        _check_thresholds(folder, manifest)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "JSON"
        raise ArtifactRefusedError(f"{folder}: manifest, {where}: {first['msg']}") from error
    except ArtifactRefusedError:
        raise
    except DetectorError as error:
        raise ArtifactRefusedError(f"{folder}: manifest: {error}") from error
    if manifest.early_exit is not None and len(manifest.early_exit.usual) != manifest.views.count:
        raise ArtifactRefusedError(f"{folder}: manifest: its early exit is of other views than its score")
    if manifest.scales_px != SCALES_PX:
        raise ArtifactRefusedError(f"{folder}: scales {manifest.scales_px} px, the extractor has {SCALES_PX} px")
    return manifest


def _check_thresholds(folder: Path, manifest: Manifest) -> None:
    threshold = manifest.calibration.threshold
    if manifest.threshold != threshold:
        raise ArtifactRefusedError(f"{folder}: threshold {manifest.threshold} is not the calibration's, {threshold}")
    if manifest.calibration_cameras and len(manifest.calibration_cameras) != len(manifest.calibration_scores):
        raise ArtifactRefusedError(f"{folder}: manifest: its calibration has other numbers of cameras and of scores")
    own = {camera: calibration.threshold for camera, calibration in manifest.camera_calibrations.items()}
    if manifest.camera_thresholds != own:
        raise ArtifactRefusedError(f"{folder}: manifest: thresholds of cameras are not those of its calibration")


def _check_version(folder: Path, version: int) -> None:
    if version not in READABLE_VERSIONS:
        known = f"{READABLE_VERSIONS[0]} to {READABLE_VERSIONS[-1]}"
        raise ArtifactRefusedError(f"{folder}: format version {version} is unknown, this program reads {known}")


def _build_flow(folder: Path, manifest: Manifest, data: bytes, parts: Parts) -> Flow:
    sha256 = _sha256(data)
    known = parts.get(sha256)
    if isinstance(known, Flow) and known.spec == manifest.architecture:
        return known
    state = _state_of(folder / FLOW_FILE, data)
    flow = Flow(manifest.architecture, initialise=False)
    _check_state(folder / FLOW_FILE, state, flow.state_dict())
    flow.load_state_dict(state, assign=True)
    parts[sha256] = flow
    return flow


def _build_local(folder: Path, manifest: Manifest, parts: Parts) -> LocalModel | None:
    if (manifest.local is None) != (manifest.fusion is None):
        raise ArtifactRefusedError(f"{folder}: manifest: a local model and a fusion go together")
    if manifest.local is None:
        return None
    path = folder / LOCAL_FILE
    data = _read_other(path, manifest)
    known = parts.get(manifest.files[LOCAL_FILE])
    if isinstance(known, LocalModel) and known.spec == manifest.local:
        return known
    state = _state_of(path, data)
    local = LocalModel(manifest.local)
    _check_state(path, state, local.state_dict())
    for name in ("spread", "scale"):
        if not (state[name] > 0).all():
            raise ArtifactRefusedError(f"{path}: {name} is not positive")
    local.load_state_dict(state, assign=True)
    parts[manifest.files[LOCAL_FILE]] = local
    return local


def _read_other(path: Path, manifest: Manifest) -> bytes:
    """Read a file whose hash is in the manifest."""
    if path.name not in manifest.files:
        raise ArtifactRefusedError(f"{path.parent}: manifest: it has no SHA-256 of {path.name}")
    return _read(path, manifest.files[path.name])


def _state_of(path: Path, data: bytes) -> dict[str, Tensor]:
    try:
        return safetensors.torch.load(data)
    except SafetensorError as error:
        raise ArtifactRefusedError(f"{path.parent}: {path.name} is broken: {error}") from error


def _check_state(path: Path, state: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    folder, file = path.parent, path.name
    if state.keys() != expected.keys():
        odd = sorted(state.keys() ^ expected.keys())
        raise ArtifactRefusedError(f"{folder}: {file}: {len(odd)} tensors missing or unknown, first {odd[0]}")
    for key, value in state.items():
        wanted = expected[key]
        if value.shape != wanted.shape or value.dtype != wanted.dtype:
            found = f"{tuple(value.shape)} {value.dtype}"
            raise ArtifactRefusedError(f"{folder}: {file}: {key} is {found}, not {tuple(wanted.shape)} {wanted.dtype}")
        if not torch.isfinite(value).all():
            raise ArtifactRefusedError(f"{folder}: {file}: {key} has values that are not finite")
        if not value.is_floating_point() and not torch.equal(value, wanted):
            raise ArtifactRefusedError(f"{folder}: {file}: {key} is not the permutation of the manifest's seed")
    if "std" in state and not (state["std"] > 0).all():
        raise ArtifactRefusedError(f"{folder}: {file}: std is not positive")


def _fitting_extractor(folder: Path, manifest: Manifest, extractor: Extractor | None) -> Extractor:
    fitted_on = manifest.extractor
    if extractor is None:
        if fitted_on.name.startswith("file:"):
            raise ArtifactRefusedError(f"{folder}: fitted on the extractor {fitted_on.name}, which was not given")
        try:
            extractor = (
                _own_extractor(folder, manifest)
                if fitted_on.name == ADAPTED
                else load_extractor(fitted_on.name, fitted_on.seed or 0)
            )
        except DetectorError as error:
            raise ArtifactRefusedError(f"{folder}: {error}") from error
    if extractor.sha256 != fitted_on.sha256:
        raise ArtifactRefusedError(
            f"{folder}: fitted on the extractor {fitted_on.name} ({fitted_on.sha256[:12]}), "
            f"in use is {extractor.name} ({extractor.sha256[:12]})"
        )
    return extractor


def _own_extractor(folder: Path, manifest: Manifest) -> Extractor:
    path = folder / EXTRACTOR_FILE
    _read_other(path, manifest)  # refused, where it is not what its hash says
    return Extractor(read_weights(path), ADAPTED)


def _state_file(module: nn.Module) -> bytes:
    return safetensors.torch.save(
        {key: value.detach().cpu().contiguous() for key, value in module.state_dict().items()}
    )


def _halved_file(module: nn.Module) -> bytes:
    """Weights in half precision: they were rounded to it before anything was fitted on them."""
    state = {key: value.detach().cpu().half().contiguous() for key, value in module.state_dict().items()}
    return safetensors.torch.save(state)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _write_through(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
