"""Whether what a verdict stands on is still there as it was: the files of its model, its picture in the archive."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from pydantic import BaseModel, ValidationError

from infra.archive import Archive, PictureAlteredError, reference_of
from infra.errors import ArchiveAwayError

FLOW_FILE = "flow.safetensors"
MANIFEST_FILE = "manifest.json"


class FileState(StrEnum):
    """How a file of a model is found."""

    WHOLE = "whole"  # it has its hash
    ALTERED = "altered"
    MISSING = "missing"
    UNREADABLE = "unreadable"


class PictureState(StrEnum):
    """How a frame's picture is found in the archive."""

    WHOLE = "whole"  # it has its hash
    ALTERED = "altered"
    ANOTHER = "another"  # the record names a picture of another hash than the frame's
    MISSING = "missing"  # it was kept
    NOT_KEPT = "not_kept"
    ARCHIVE_AWAY = "archive_away"


@dataclass(frozen=True, slots=True)
class ModelEvidence:
    """What is found in a model's folder.

    Attributes:
        files: By name, how each file is found; those that the manifest names too.
        training_sha256: Hash of each training picture; None where the manifest is not the one that was registered.
        calibration_sha256: The same of the calibration pictures.
        calibration_cameras: The camera of each of these, None where it is not known; empty where no camera is.
        camera_thresholds: Thresholds of cameras that have one of their own.
    """

    files: dict[str, FileState]
    training_sha256: tuple[str, ...] | None
    calibration_sha256: tuple[str, ...] | None
    calibration_cameras: tuple[str | None, ...] | None
    camera_thresholds: dict[str, float] | None


class _Manifest(BaseModel):
    """What is read of a manifest here; the detector reads all of it."""

    training_sha256: tuple[str, ...]
    calibration_sha256: tuple[str, ...]
    calibration_cameras: tuple[str | None, ...] = ()
    camera_thresholds: dict[str, float] = {}
    files: dict[str, str] = {}


def model_evidence(folder: Path, flow_sha256: str, manifest_sha256: str) -> ModelEvidence:
    """Look into a model's folder; nothing is believed of a manifest that was altered.

    Args:
        folder: Where the registry says that the model is.
        flow_sha256: SHA-256 of its flow in hex, as the registry has it.
        manifest_sha256: The same of its manifest.
    """
    files = dict(_states(folder, {FLOW_FILE: flow_sha256, MANIFEST_FILE: manifest_sha256}))
    manifest = _manifest(folder / MANIFEST_FILE, manifest_sha256)
    if manifest is None:
        return ModelEvidence(files, None, None, None, None)
    files.update(_states(folder, manifest.files))
    return ModelEvidence(
        files,
        manifest.training_sha256,
        manifest.calibration_sha256,
        manifest.calibration_cameras,
        manifest.camera_thresholds,
    )


def learned_from(folder: Path, manifest_sha256: str) -> frozenset[str] | None:
    """Return the SHA-256 of all pictures that a model has learned from; None where its manifest is gone or altered.

    Args:
        folder: Where the registry says that the model is.
        manifest_sha256: SHA-256 of its manifest in hex, as the registry has it.
    """
    manifest = _manifest(folder / MANIFEST_FILE, manifest_sha256)
    return None if manifest is None else frozenset(manifest.training_sha256) | frozenset(manifest.calibration_sha256)


def picture_state(archive: Archive, sha256: str, reference: str | None) -> PictureState:
    """Look for a frame's picture, also where no reference says that it was kept: another frame may have had the same.

    Args:
        archive: Where pictures are kept.
        sha256: Of the frame's encoded picture, in hex.
        reference: Where the record says that it is kept; None: nowhere.
    """
    if reference is not None and reference != reference_of(sha256):
        return PictureState.ANOTHER
    try:
        archive.check_present()
        archive.read(reference_of(sha256))
    except PictureAlteredError:
        return PictureState.ALTERED
    except FileNotFoundError:
        return PictureState.NOT_KEPT if reference is None else PictureState.MISSING
    except ArchiveAwayError:
        return PictureState.ARCHIVE_AWAY
    return PictureState.WHOLE


def _states(folder: Path, expected: dict[str, str]) -> Iterator[tuple[str, FileState]]:
    for name, sha256 in expected.items():
        yield name, _state(folder / Path(name).name, sha256)


def _state(path: Path, sha256: str) -> FileState:
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except (FileNotFoundError, NotADirectoryError):
        return FileState.MISSING
    except (OSError, ValueError):  # ValueError: a NUL in the path
        return FileState.UNREADABLE
    return FileState.WHOLE if found == sha256 else FileState.ALTERED


def _manifest(path: Path, sha256: str) -> _Manifest | None:
    try:
        data = path.read_bytes()
    except (OSError, ValueError):
        return None
    if hashlib.sha256(data).hexdigest() != sha256:
        return None
    try:
        return _Manifest.model_validate_json(data)
    except ValidationError:
        return None
