"""The models in force, loaded once and followed: a scorer takes a new one between two batches, without a restart."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
import torch
from structlog.typing import FilteringBoundLogger

from infra.store.models import RegisteredModel, known_products, models_in_force
from infra.store.tables import NoVerdictReason
from scorer.detector import (
    ADAPTED,
    Detector,
    DetectorError,
    Extractor,
    ExtractorIdentity,
    load_artifact,
    load_extractor,
    read_manifest,
)

REFRESH_S = 2.0


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model that can score."""

    row: RegisteredModel
    detector: Detector


Loader = Callable[[RegisteredModel], Detector]
"""Reads an artifact; raises DetectorError where it is refused."""


class ArtifactLoader:
    """Reads artifacts onto a device; models that were fitted on the same extractor share it.

    Args:
        device: Where detectors compute.
        weights: The `extractor` setting; a file of weights is only known by it.
        seed: The `extractor_seed` setting.
        arithmetic: What extractors compute in.
    """

    def __init__(self, device: torch.device, weights: str, seed: int, arithmetic: torch.dtype = torch.float32) -> None:
        self._device = device
        self._arithmetic = arithmetic
        self._weights = weights
        self._seed = seed
        self._extractors: dict[str, Extractor] = {}

    def __call__(self, row: RegisteredModel) -> Detector:
        """Read one artifact.

        Raises:
            DetectorError: It is not what the registry says, or cannot score.
        """
        folder = Path(row.folder)
        extractor = self._extractor_of(read_manifest(folder).extractor)
        detector = load_artifact(folder, row.flow_sha256, row.manifest_sha256, self._device, extractor)
        if detector.extractor.arithmetic != self._arithmetic:
            detector.extractor.computing_in(self._arithmetic)
        if detector.extractor.name != ADAPTED:  # those are of one model each: kept, they would pile up refit by refit
            self._extractors[detector.extractor.sha256] = detector.extractor
        return detector

    def _extractor_of(self, identity: ExtractorIdentity) -> Extractor | None:
        """Return the extractor in memory, or the file of the settings; else the artifact says which."""
        if identity.name.startswith("file:") and identity.sha256 not in self._extractors:
            return load_extractor(self._weights, self._seed)
        return self._extractors.get(identity.sha256)


class ModelShelf:
    """Which detector judges which product."""

    def __init__(self, database: sa.Engine, load: Loader, log: FilteringBoundLogger) -> None:
        self._database = database
        self._load = load
        self._log = log
        self._loaded: dict[str, LoadedModel] = {}
        self._refused: dict[str, int] = {}
        self._products: frozenset[str] = frozenset()
        self._next_look = 0.0

    def refresh(self) -> None:
        """Follow the registry, at most every `REFRESH_S` seconds.

        An artifact that is refused leaves the product's loaded model in force.

        Raises:
            DatabaseAwayError: PostgreSQL does not answer; what is loaded stays.
        """
        if time.monotonic() < self._next_look:
            return
        in_force = models_in_force(self._database)
        self._products = known_products(self._database)
        self._next_look = time.monotonic() + REFRESH_S
        for product in set(self._loaded) - set(in_force):
            del self._loaded[product]
        self._refused = {product: model for product, model in self._refused.items() if product in in_force}
        for product, row in in_force.items():
            loaded = self._loaded.get(product)
            if (loaded is None or loaded.row != row) and self._refused.get(product) != row.id:
                self._take(product, row)

    def judge_of(self, product: str) -> LoadedModel | NoVerdictReason:
        """Return the model for a product, or why there is none."""
        if product in self._loaded:
            return self._loaded[product]
        if product in self._refused:
            return NoVerdictReason.MODEL_REFUSED
        return NoVerdictReason.NO_MODEL if product in self._products else NoVerdictReason.UNKNOWN_PRODUCT

    def _take(self, product: str, row: RegisteredModel) -> None:
        try:
            detector = self._load(row)
        except DetectorError as error:
            self._refused[product] = row.id
            self._log.error("model.refused", product=product, version=row.version, error=str(error))
            return
        self._refused.pop(product, None)
        self._loaded[product] = LoadedModel(row, detector)
        self._log.info("model.loaded", product=product, version=row.version, folder=Path(row.folder).name)
