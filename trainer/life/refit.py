"""Products learned anew from their released frames: one refit at a time, whole or not at all, and candidates at the end."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import sqlalchemy as sa
import torch

from infra.archive import Archive
from infra.clock import Clock
from infra.errors import RefitError
from infra.refit_due import Due, DueRule, look_due
from infra.score_histogram import score_histogram
from infra.store.curation import open_frames
from infra.store.model_requests import Along
from infra.store.models import AlongAll, NewModel, RegisteredModel, register_candidates
from infra.store.promotions import ModelRow, list_models
from infra.store.tables import ModelState
from scorer.detector import Detector, DetectorError, Extractor, Manifest, load_artifact, read_manifest
from trainer.fit import FittedModel, fit_together
from trainer.images import require_enough
from trainer.life.challenge import Challenged, challenge
from trainer.life.released import Curated, read_curated
from trainer.life.report import PLOT_FILE, REPORT_FILE, Other, Story, markdown, plot
from trainer.life.together import agreed, require_apart
from trainer.presets import choose_preset
from trainer.progress import Progress, Stage, silent
from trainer.register import save

FIRST_RATE = 0.01
FIRST_PRESET = "compact"


@dataclass(frozen=True)
class Order:
    """What is asked for; what is None is as in the model in force of each product, without one as in the newest.

    Attributes:
        product: Which product.
        preset: How to train.
        false_alarm_rate: Share of good parts that may be called a defect.
        views: Views behind a score.
        adapt_minutes: Minutes in which the extractor is tuned to the product.
        seed: Seed of split, views, initial weights and order.
        others: Products that share its flow, and are learned anew with it.
    """

    product: str
    preset: str | None = None
    false_alarm_rate: float | None = None
    views: int | None = None
    adapt_minutes: float = 0.0
    seed: int = 0
    others: tuple[str, ...] = ()

    @property
    def products(self) -> tuple[str, ...]:
        """All products of the flow, by name."""
        return tuple(sorted({self.product, *self.others}))


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
        along: What else is done in the transaction that registers a candidate.
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
    along: Along | None = None

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

    def curated_together(self, products: Sequence[str]) -> dict[str, Curated]:
        """Read what was decided about the pictures of products that share a flow, or of a single one.

        Raises:
            RefitError: A picture cannot be used, or is of two products.
            TrainingSetError: Fewer than 16 are released of one of them; each needs its own, for its own threshold.
        """
        curated = {product: self.curated(product) for product in products}
        require_apart(self.database, curated)
        return curated

    def refit(self, order: Order) -> tuple[RegisteredModel, str]:
        """Learn anew as `refit_together` does; returns the candidate of the order's product, and its report."""
        return self.refit_together(order)[order.product]

    def refit_together(self, order: Order) -> dict[str, tuple[RegisteredModel, str]]:
        """Fit one flow to released pictures, show each product's model its challenge parts, and register candidates.

        The models in force stay in force. Candidates are registered all or none. Killed at any time, it leaves folders that
        nobody reads at most; it can be started again at once.

        Returns:
            For each product its candidate, and its report.

        Raises:
            RefitError: Another refit of one of the products runs, or a picture cannot be used.
            TrainingSetError: Too few pictures, or nothing was learned.
            DatabaseAwayError: PostgreSQL does not answer; nothing was registered.
        """
        products = order.products
        with self._alone(*products) as still_alone:
            reasons = {product: self.due(product).reasons for product in products}
            curated = self.curated_together(products)
            before = {product: self._before(product) for product in products}
            fitted = self._fit(order, curated, {product: manifest for product, (manifest, _) in before.items()})
            for each in fitted.values():
                self._require_sound(each)
            stories = [self._story(name, reasons, curated, fitted[name], before[name][1]) for name in products]
            still_alone()
            self.progress(Stage.REGISTER, 0, 1)
            new = [self._written(fitted[story.product], story) for story in stories]
            registered = register_candidates(self.database, new, self._along(order.product))
            self.progress(Stage.REGISTER, 1, 1)
            return {model.product: (model, each.report or "") for model, each in zip(registered, new, strict=True)}

    def _along(self, product: str) -> AlongAll | None:
        """What else is done with the registration; told the version of the product that the order names first."""
        along = self.along
        if along is None:
            return None

        def of_the_first(connection: sa.Connection, registered: list[RegisteredModel]) -> None:
            along(connection, next(model.version for model in registered if model.product == product))

        return of_the_first

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
    def _alone(self, *products: str) -> Iterator["_StillAlone"]:
        """Hold the products' refit locks; PostgreSQL lets go of them when this process, or its connection, ends.

        Nobody waits for one, so that two refits of the same products cannot wait for each other.
        """
        with self.database.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            held: list[str] = []
            try:
                for product in sorted(products):
                    if not connection.scalar(_TRY_LOCK, {"product": product}):
                        raise RefitError(f"another refit of {product} is running; nothing was done")
                    held.append(product)
                yield _StillAlone(connection, " and ".join(held))
            finally:
                if not connection.invalidated:
                    for product in held:
                        connection.execute(_UNLOCK, {"product": product})

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

    def _fit(
        self, order: Order, curated: Mapping[str, Curated], before: Mapping[str, Manifest | None]
    ) -> dict[str, FittedModel]:
        known = {product: manifest for product, manifest in before.items() if manifest is not None}
        preset = order.preset or agreed("--preset", {name: each.preset for name, each in known.items()}) or FIRST_PRESET
        rates = {name: known[name].false_alarm_rate if name in known else FIRST_RATE for name in curated}
        return fit_together(
            {product: each.released for product, each in curated.items()},
            choose_preset(preset),
            self.extractors,
            adapt_minutes=order.adapt_minutes,
            false_alarm_rate=order.false_alarm_rate or rates,
            views=order.views or agreed("--views", {name: each.views.count for name, each in known.items()}),
            seed=order.seed,
            device=self.device,
            max_pixels=self.max_pixels,
            progress=self.progress,
        )

    def _story(
        self,
        product: str,
        reasons: Mapping[str, tuple[str, ...]],
        curated: Mapping[str, Curated],
        fitted: FittedModel,
        in_force: ModelRow | None,
    ) -> Story:
        mine = curated[product]
        return Story(
            product=product,
            reasons=reasons[product],
            curated=mine,
            quarantined=self._quarantined(product),
            fit=fitted.report,
            manifest=fitted.detector.manifest,
            challenged=challenge(fitted.detector, mine.challenge, self.progress),
            in_force=in_force,
            challenged_before=self._challenged_by(in_force, mine),
            others=tuple(
                Other(name, len(curated[name].released), reasons[name]) for name in curated if name != product
            ),
        )

    def _written(self, fitted: FittedModel, story: Story) -> NewModel:
        """Write artifact and report of one product into a folder of its own; returns what is to be registered."""
        report, challenged = markdown(story), story.challenged
        new = replace(
            save(self.models_folder, fitted, self.who),
            challenge_parts=challenged.parts or None,
            challenge_found=challenged.count if challenged.parts else None,
            challenge_found_before=None if story.challenged_before is None else story.challenged_before.count,
            report=report,
            score_histogram=score_histogram(
                story.manifest.calibration_scores, challenged.scores, fitted.report.threshold
            ),
        )
        (Path(new.folder) / REPORT_FILE).write_text(report, encoding="utf-8")
        (Path(new.folder) / PLOT_FILE).write_bytes(plot(story))
        return new

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

    def __init__(self, connection: sa.Connection, products: str) -> None:
        self._connection = connection
        self._products = products

    def __call__(self) -> None:
        try:
            self._connection.execute(sa.text("SELECT 1"))
        except sa.exc.DBAPIError as error:
            raise RefitError(
                f"the database was away while {self._products} was fitted, and another refit may have begun: nothing was "
                "registered"
            ) from error


_TRY_LOCK = sa.text("SELECT pg_try_advisory_lock(hashtext('refit'), hashtext(:product))")
_UNLOCK = sa.text("SELECT pg_advisory_unlock(hashtext('refit'), hashtext(:product))")
