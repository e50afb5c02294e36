"""A product learned anew from its released frames: one at a time, whole or not at all, and a candidate at the end."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import sqlalchemy as sa
import torch

from infra.archive import Archive
from infra.clock import Clock
from infra.errors import RefitError
from infra.store.curation import open_frames
from infra.store.models import RegisteredModel, register_candidate
from infra.store.promotions import ModelRow, list_models
from infra.store.tables import ModelState
from scorer.detector import Detector, DetectorError, Extractor, Manifest, load_artifact, read_manifest
from trainer.fit import FittedModel, fit
from trainer.images import require_enough
from trainer.life.challenge import Challenged, challenge
from trainer.life.due import Due, DueRule, look_due
from trainer.life.released import Curated, read_curated
from trainer.life.report import PLOT_FILE, REPORT_FILE, Story, markdown, plot
from trainer.presets import choose_preset
from trainer.progress import Progress, silent
from trainer.register import save

FIRST_RATE = 0.01
FIRST_PRESET = "compact"


@dataclass(frozen=True)
class Order:
    """What is asked for; what is None is as in the newest model of the product.

    Attributes:
        product: Which product.
        preset: How to train.
        false_alarm_rate: Share of good parts that may be called a defect.
        views: Views behind a score.
        adapt_minutes: Minutes in which the extractor is tuned to the product.
        seed: Seed of split, views, initial weights and order.
    """

    product: str
    preset: str | None = None
    false_alarm_rate: float | None = None
    views: int | None = None
    adapt_minutes: float = 0.0
    seed: int = 0


@dataclass
class Workshop:
    """Where refits are made.

    Attributes:
        database: Registry and decisions.
        archive: Where pictures are.
        models_folder: Where artifacts go.
        extractors: To choose from; the one of the settings first.
        device: Where to compute.
        who: In whose name.
        max_pixels: Largest width x height that is decoded.
        quarantine: p-value below which only a person releases.
        rule: When a refit is due.
        clock: The time.
        progress: Told how far it is.
    """

    database: sa.Engine
    archive: Archive
    models_folder: Path
    extractors: Sequence[Extractor]
    device: torch.device
    who: str
    max_pixels: int
    quarantine: float
    rule: DueRule
    clock: Clock
    progress: Progress = silent

    def due(self, product: str) -> Due:
        """Tell whether a product is to be learned anew."""
        return look_due(self.database, product, self.rule, self.clock())

    def curated(self, product: str) -> Curated:
        """Read what was decided about a product's pictures; all of them are there and decode.

        Raises:
            RefitError: Some are not.
            TrainingSetError: Fewer than 16 are released.
        """
        curated = read_curated(self.database, self.archive, product, self.max_pixels, self.progress)
        require_enough(curated.released, f"what is released of {product}")
        return curated

    def refit(self, order: Order) -> tuple[RegisteredModel, str]:
        """Fit a product to its released pictures, show the result the challenge parts, and register it as a candidate.

        The model in force stays in force. Killed at any time, it leaves a folder that nobody reads at most; it can be
        started again at once.

        Returns:
            The candidate, and its report.

        Raises:
            RefitError: Another refit of this product runs, or a picture cannot be used.
            TrainingSetError: Too few pictures, or nothing was learned.
            DatabaseAwayError: PostgreSQL does not answer; nothing was registered.
        """
        with self._alone(order.product) as still_alone:
            reasons = self.due(order.product).reasons
            curated = self.curated(order.product)
            newest, in_force = self._before(order.product)
            fitted = self._fit(order, curated, newest)
            self._require_sound(fitted)
            challenged = challenge(fitted.detector, curated.challenge, self.progress)
            story = Story(
                product=order.product,
                reasons=reasons,
                curated=curated,
                quarantined=self._quarantined(order.product),
                fit=fitted.report,
                calibration_scores=fitted.detector.manifest.calibration_scores,
                challenged=challenged,
                in_force=in_force,
                challenged_before=self._challenged_by(in_force, curated),
            )
            report = markdown(story)
            still_alone()
            new = replace(
                save(self.models_folder, fitted, self.who),
                challenge_parts=challenged.parts or None,
                challenge_found=challenged.count if challenged.parts else None,
                challenge_found_before=None if story.challenged_before is None else story.challenged_before.count,
                report=report,
            )
            (Path(new.folder) / REPORT_FILE).write_text(report, encoding="utf-8")
            (Path(new.folder) / PLOT_FILE).write_bytes(plot(story))
            return register_candidate(self.database, new), report

    def detector_of(self, model: ModelRow | RegisteredModel) -> Detector:
        """Load a registered model.

        Raises:
            DetectorError: It is refused.
        """
        folder = Path(model.folder)
        wanted = read_manifest(folder).extractor.sha256
        extractor = next((each for each in self.extractors if each.sha256 == wanted), None)
        return load_artifact(folder, model.flow_sha256, model.manifest_sha256, self.device, extractor)

    @contextmanager
    def _alone(self, product: str) -> Iterator["_StillAlone"]:
        """Hold the product's refit lock; PostgreSQL lets go of it when this process, or its connection, ends."""
        with self.database.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            key = {"product": product}
            if not connection.scalar(_TRY_LOCK, key):
                raise RefitError(f"another refit of {product} is running; nothing was done")
            try:
                yield _StillAlone(connection, product)
            finally:
                if not connection.invalidated:
                    connection.execute(_UNLOCK, key)

    def _before(self, product: str) -> tuple[Manifest | None, ModelRow | None]:
        """The manifest of the newest model, for what the order leaves open; and the model in force."""
        versions = list_models(self.database, product)
        in_force = next((row for row in versions if row.state is ModelState.IN_FORCE), None)
        for row in ([in_force] if in_force else []) + versions:
            try:
                return read_manifest(Path(row.folder)), in_force
            except DetectorError:
                continue
        return None, in_force

    def _fit(self, order: Order, curated: Curated, before: Manifest | None) -> FittedModel:
        preset = order.preset or (before.preset if before else FIRST_PRESET)
        rate = order.false_alarm_rate or (before.false_alarm_rate if before else FIRST_RATE)
        return fit(
            curated.released,
            order.product,
            choose_preset(preset),
            self.extractors,
            adapt_minutes=order.adapt_minutes,
            false_alarm_rate=rate,
            views=order.views or (before.views.count if before else None),
            seed=order.seed,
            device=self.device,
            max_pixels=self.max_pixels,
            progress=self.progress,
        )

    def _require_sound(self, fitted: FittedModel) -> None:
        """A weight that is not a number would be refused by every scorer: it is not registered at all."""
        parts = [fitted.detector.flow, fitted.detector.local]
        weights = [weight for part in parts if part is not None for weight in part.state_dict().values()]
        if not all(bool(torch.isfinite(weight).all()) for weight in weights if weight.is_floating_point()):
            raise RefitError("the fit ended with a weight that is not a number; nothing was registered")

    def _challenged_by(self, model: ModelRow | None, curated: Curated) -> Challenged | None:
        if model is None or not len(curated.challenge):
            return None
        try:
            return challenge(self.detector_of(model), curated.challenge, self.progress)
        except DetectorError:
            return None

    def _quarantined(self, product: str) -> int:
        return sum(frame.quarantined(self.quarantine) for frame in open_frames(self.database, product))


class _StillAlone:
    """Asks whether the lock is still held: a connection that broke meanwhile has let go of it."""

    def __init__(self, connection: sa.Connection, product: str) -> None:
        self._connection = connection
        self._product = product

    def __call__(self) -> None:
        try:
            self._connection.execute(sa.text("SELECT 1"))
        except sa.exc.DBAPIError as error:
            raise RefitError(
                f"the database was away while {self._product} was fitted, and another refit may have begun: nothing was "
                "registered"
            ) from error


_TRY_LOCK = sa.text("SELECT pg_try_advisory_lock(hashtext('refit'), hashtext(:product))")
_UNLOCK = sa.text("SELECT pg_advisory_unlock(hashtext('refit'), hashtext(:product))")
