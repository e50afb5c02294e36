"""`differline export`: a registered model as ONNX, for programs that have no torch."""

from collections.abc import Iterator
from pathlib import Path

import sqlalchemy as sa

from infra.errors import ExportError, SettingsError
from infra.pictures import SUFFIXES, RgbPicture, decode, picture_files
from infra.settings import Settings
from infra.store.models import registered_model
from scorer.detector import DetectorError, Parity, export_onnx, load_artifact, load_extractor, read_manifest


def export_model(
    settings: Settings, database: sa.Engine, model: tuple[str, int | None], to: Path, images: Path | None = None
) -> Parity:
    """Write a registered model into a new folder, if its graphs score as it does.

    Args:
        settings: Say which extractor's weights are in use, and how large a picture may be.
        database: Where the registry is.
        model: Product and version; without a version the one in force.
        to: The folder; it appears complete or not at all.
        images: Folder of pictures that are compared beside the drawn ones.

    Raises:
        BadFrameError: A picture cannot be decoded.
        DatabaseAwayError: PostgreSQL does not answer.
        ExportError: The model is refused, or scores and verdicts differ; nothing was written.
        SettingsError: There is no such model or no pictures, or the folder is there already.
    """
    product, version = model
    pictures = [] if images is None else _files(images)
    row = registered_model(database, product, version)
    if row is None:
        which = "model in force" if version is None else f"version {version}"
        raise SettingsError(f"product {product!r} has no {which}")
    folder = Path(row.folder)
    try:
        named = read_manifest(folder).extractor.name
        own = load_extractor(settings.extractor, settings.extractor_seed) if named.startswith("file:") else None
        detector = load_artifact(folder, row.flow_sha256, row.manifest_sha256, extractor=own)
        return export_onnx(detector, to, _decoded(pictures, settings.max_pixels), version=row.version)
    except DetectorError as error:
        raise ExportError(f"{product} version {row.version} is not exported: {error}") from error
    except FileExistsError as error:
        raise SettingsError(f"--to {error}") from error


def _files(images: Path) -> list[Path]:
    found = picture_files(images)
    if not found:
        raise SettingsError(f"--images {images}: no pictures ({', '.join(sorted(SUFFIXES))}) are there")
    return found


def _decoded(pictures: list[Path], max_pixels: int) -> Iterator[RgbPicture]:
    for path in pictures:
        yield decode(path.read_bytes(), max_pixels)
