"""The models in force, in memory by use and followed: a scorer takes a new one between two batches, without a restart."""

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from weakref import WeakValueDictionary

import sqlalchemy as sa
import torch
from structlog.typing import FilteringBoundLogger

from infra.store.models import RegisteredModel, known_products, models_in_force
from infra.store.tables import NoVerdictReason
from scorer.detector import (
    ADAPTED,
    Backend,
    Detector,
    DetectorError,
    Extractor,
    ExtractorIdentity,
    load_artifact,
    load_extractor,
    on_onnxruntime,
    read_manifest,
)

REFRESH_S = 2.0
REFUSED_S = 60.0


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model that can score."""

    row: RegisteredModel
    detector: Detector


Loader = Callable[[RegisteredModel], Detector]
"""Reads an artifact; raises DetectorError where it is refused."""


class ArtifactLoader:
    """Reads artifacts onto a device; models that were fitted on the same extractor share it.

    Products of one flow share that as well, and their local model, as long as one of them is in memory; in ONNX Runtime each
    has graphs of its own.

    Args:
        device: Where detectors compute.
        weights: The `extractor` setting; a file of weights is only known by it.
        seed: The `extractor_seed` setting.
        arithmetic: What extractors compute in.
        backend: What computes; `onnxruntime` takes only models that it scores as torch does.
    """

    def __init__(
        self,
        device: torch.device,
        weights: str,
        seed: int,
        arithmetic: torch.dtype = torch.float32,
        *,
        backend: Backend = "torch",
    ) -> None:
        self._device = device
        self._arithmetic = arithmetic
        self._weights = weights
        self._seed = seed
        self._backend = backend
        self._extractors: dict[str, Extractor] = {}
        # Of few models each: kept any longer than these are, they would pile up refit by refit.
        self._adapted: WeakValueDictionary[str, Extractor] = WeakValueDictionary()
        self._parts: WeakValueDictionary[str, torch.nn.Module] = WeakValueDictionary()

    def __call__(self, row: RegisteredModel) -> Detector:
        """Read one artifact.

        Raises:
            DetectorError: It is not what the registry says, or cannot score.
        """
        folder = Path(row.folder)
        extractor = self._extractor_of(read_manifest(folder).extractor)
        detector = load_artifact(
            folder, row.flow_sha256, row.manifest_sha256, self._device, extractor, parts=self._parts
        )
        if self._backend == "onnxruntime":
            detector = on_onnxruntime(detector)
        if detector.extractor.arithmetic != self._arithmetic:
            detector.extractor.computing_in(self._arithmetic)
        known = self._adapted if detector.extractor.name == ADAPTED else self._extractors
        known[detector.extractor.sha256] = detector.extractor
        return detector

    def _extractor_of(self, identity: ExtractorIdentity) -> Extractor | None:
        """Return the extractor in memory, or the file of the settings; else the artifact says which."""
        if identity.name.startswith("file:") and identity.sha256 not in self._extractors:
            return load_extractor(self._weights, self._seed)
        return self._extractors.get(identity.sha256) or self._adapted.get(identity.sha256)


class ModelShelf:
    """Which detector judges which product. A bounded number is in memory: those that were used last.

    Products that share a flow count as one model.

    Args:
        database: Where the registry is.
        load: Reads artifacts.
        log: Where events go.
        most: How many models are in memory.
        monotonic: The clock, in seconds.
    """

    def __init__(
        self,
        database: sa.Engine,
        load: Loader,
        log: FilteringBoundLogger,
        most: int,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._load = load
        self._log = log
        self._most = most
        self._monotonic = monotonic
        self._in_force: dict[str, RegisteredModel] = {}
        self._before: dict[str, RegisteredModel] = {}  # what a successor that is refused leaves in force
        self._loaded: dict[str, LoadedModel] = {}  # the one that was not used for the longest time is first
        self._held: set[str] = set()
        self._refused: dict[int, float] = {}  # by model: when it may be tried again
        self._products: frozenset[str] = frozenset()
        self._next_look = 0.0

    def refresh(self) -> None:
        """Follow the registry, at most every `REFRESH_S` seconds; call it between two batches.

        A new version of a model in memory is loaded, and what is not in memory where there is room, so that a first frame
        need not wait. An artifact that is refused leaves the model before it in force.

        Raises:
            DatabaseAwayError: PostgreSQL does not answer; what is loaded stays.
        """
        self._held = set()
        self._make_room(0)
        if self._monotonic() < self._next_look:
            return
        in_force = models_in_force(self._database)
        self._products = known_products(self._database)
        self._next_look = self._monotonic() + REFRESH_S
        self._follow(in_force)
        for product, row in in_force.items():
            loaded = self._loaded.get(product)
            wanted = self._has_room_for(row) if loaded is None else loaded.row != row
            if wanted and row.id not in self._refused:
                self._take(product, row)

    def model_of(self, product: str) -> str | None:
        """Tell products apart whose models count by themselves; None where none is in force."""
        row = self._in_force.get(product)
        return None if row is None else row.flow_sha256

    def hold(self, products: Collection[str]) -> None:
        """Have the models of some frames in memory, and keep them there until the next `hold` or `refresh`.

        Call it before the frames are begun: a model that kills the process while it is loaded must not be held against them.
        """
        self._held = set(products)
        for product in products:
            self._bring(product)

    def judge_of(self, product: str) -> LoadedModel | NoVerdictReason:
        """Return the model for a product, or why there is none; loaded now, where it was not held."""
        self._held.add(product)
        self._bring(product)
        if product in self._loaded:
            return self._loaded[product]
        if product in self._in_force:
            return NoVerdictReason.MODEL_REFUSED
        return NoVerdictReason.NO_MODEL if product in self._products else NoVerdictReason.UNKNOWN_PRODUCT

    def _follow(self, in_force: dict[str, RegisteredModel]) -> None:
        for product, row in self._in_force.items():
            if product in in_force and in_force[product].id != row.id and row.id not in self._refused:
                self._before[product] = row
        self._in_force = in_force
        self._before = {product: row for product, row in self._before.items() if product in in_force}
        self._loaded = {product: model for product, model in self._loaded.items() if product in in_force}
        ids = {row.id for row in (*in_force.values(), *self._before.values())}
        self._refused = {model: due for model, due in self._refused.items() if model in ids}

    def _bring(self, product: str) -> None:
        if product in self._loaded:
            self._loaded[product] = self._loaded.pop(product)  # to the end: used last
            return
        for row in (self._in_force.get(product), self._before.get(product)):
            if row is not None and self._monotonic() >= self._refused.get(row.id, 0.0):
                self._make_room(0 if self._has_room_for(row) else 1)
                if self._take(product, row):
                    return

    def _has_room_for(self, row: RegisteredModel) -> bool:
        flows = self._flows()
        return row.flow_sha256 in flows or len(flows) < self._most

    def _flows(self) -> dict[str, list[str]]:
        """The products of each flow in memory; the flow that was not used for the longest time is first."""
        flows: dict[str, list[str]] = {}
        for product, model in self._loaded.items():
            sha256 = model.row.flow_sha256
            flows[sha256] = [*flows.pop(sha256, []), product]
        return flows

    def _make_room(self, count: int) -> None:
        """Drop flows, with all their products, but none of which a product is held."""
        flows = self._flows()
        too_many = max(0, len(flows) + count - self._most)
        free = [products for products in flows.values() if self._held.isdisjoint(products)]
        for product in [product for products in free[:too_many] for product in products]:
            dropped = self._loaded.pop(product)
            self._log.info("model.dropped", product=product, version=dropped.row.version)

    def _take(self, product: str, row: RegisteredModel) -> bool:
        try:
            detector = self._load(row)
        except DetectorError as error:
            self._refused[row.id] = self._monotonic() + REFUSED_S
            self._log.error("model.refused", product=product, version=row.version, error=str(error))
            return False
        self._refused.pop(row.id, None)
        self._loaded[product] = LoadedModel(row, detector)
        if row == self._in_force.get(product):
            self._before.pop(product, None)
        self._log.info("model.loaded", product=product, version=row.version, folder=Path(row.folder).name)
        return True
