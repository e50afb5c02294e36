"""The registry of models: what was trained, its hashes, and which version is in force for a product."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import sqlalchemy as sa

from infra.store.audit import PROMOTION, model_subject, record
from infra.store.connect import transaction
from infra.store.tables import ModelState, PromotionKind, models, promotions

CALIBRATION_LEVELS = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
"""At which `NewModel.calibration_quantiles` lie."""
QUALITY_LEVELS = (0.05, 0.5, 0.95)
"""At which each row of `NewModel.calibration_quality` lies."""


@dataclass(frozen=True, slots=True)
class NewModel:
    """A model to be registered; the attributes are columns of `models`.

    Attributes:
        challenge_parts: Known-defective pictures that it was shown; None: it was shown none.
        challenge_found: How many of them it called a defect.
        challenge_found_before: How many of them the model in force did.
        report: What a person should know of it, as Markdown.
        calibration_quantiles: Of its calibration scores, at CALIBRATION_LEVELS; None: nobody said.
        calibration_quality: Of focus, brightness and contrast of its calibration pictures, at QUALITY_LEVELS.
        score_histogram: Scores to draw, by `infra.score_histogram`.
    """

    product: str
    folder: str
    flow_sha256: str
    manifest_sha256: str
    preset: str
    threshold: float
    false_alarm_rate: float
    attainable_rate: float
    views: int
    heat_scale: float
    training_frames: int
    calibration_frames: int
    registered_by: str
    challenge_parts: int | None = None
    challenge_found: int | None = None
    challenge_found_before: int | None = None
    report: str | None = None
    calibration_quantiles: tuple[float, ...] | None = None
    calibration_quality: tuple[tuple[float, ...], ...] | None = None
    score_histogram: dict[str, list[float]] | None = None


@dataclass(frozen=True, slots=True)
class RegisteredModel:
    """A row of the registry, as far as scoring needs it."""

    id: int
    product: str
    version: int
    folder: str
    flow_sha256: str
    manifest_sha256: str
    threshold: float


AlongAll = Callable[[sa.Connection, list[RegisteredModel]], None]
"""What is done along with the registration of candidates; told what was registered."""

REGISTERED = (
    models.c.id,
    models.c.product,
    models.c.version,
    models.c.folder,
    models.c.flow_sha256,
    models.c.manifest_sha256,
    models.c.threshold,
)


def register_in_force(engine: sa.Engine, new: NewModel) -> RegisteredModel:
    """Register a model as the product's next version and put it in force; the one before is retired.

    Raises:
        DatabaseAwayError: PostgreSQL does not answer; nothing was registered.
    """
    with transaction(engine) as connection:
        registered = _register(connection, new)
        put_in_force(connection, registered, PromotionKind.TRAINED, new.registered_by, "")
        return registered


def register_candidates(
    engine: sa.Engine, new: Sequence[NewModel], along: AlongAll | None = None
) -> list[RegisteredModel]:
    """Register models, each as its product's next version, all or none; those in force stay.

    Args:
        engine: The registry.
        new: One for each product.
        along: What else is done, as the last step of the same transaction.

    Returns:
        What was registered, in the order of `new`.

    Raises:
        DatabaseAwayError: PostgreSQL does not answer; nothing was registered.
    """
    with transaction(engine) as connection:
        for product in sorted({each.product for each in new}):  # two that wait for each other would wait for ever
            lock_product(connection, product)
        registered = [_register(connection, each) for each in new]
        if along is not None:
            along(connection, registered)
        return registered


def lock_product(connection: sa.Connection, product: str) -> None:
    """Wait for whoever changes the models of a product, and keep others waiting until the transaction ends."""
    connection.execute(sa.text("SELECT pg_advisory_xact_lock(hashtext('models'), hashtext(:p))"), {"p": product})


def put_in_force(
    connection: sa.Connection, model: RegisteredModel, kind: PromotionKind, who: str, reason: str
) -> int | None:
    """Put a registered model in force and on record who did it: the last step of a transaction that locked the product.

    Returns:
        Number of the model that was in force and is retired now; None where there was none.
    """
    retire = (
        sa.update(models)
        .where(models.c.product == model.product, models.c.state == ModelState.IN_FORCE)
        .values(state=ModelState.RETIRED)
        .returning(models.c.id)
    )
    replaced: int | None = connection.scalar(retire)
    connection.execute(sa.update(models).where(models.c.id == model.id).values(state=ModelState.IN_FORCE, shadow=False))
    promotion = sa.insert(promotions).values(
        product=model.product, model_id=model.id, replaced_id=replaced, kind=kind, who=who, reason=reason
    )
    number: int = connection.execute(promotion.returning(promotions.c.id)).scalar_one()
    detail = {PROMOTION: number, "flow_sha256": model.flow_sha256, "manifest_sha256": model.manifest_sha256}
    record(connection, who, kind, model_subject(model.product, model.version), reason=reason, detail=detail)
    return replaced


def _columns_of(new: NewModel) -> dict[str, Any]:
    columns = asdict(new)
    if new.calibration_quantiles is not None:
        columns["calibration_quantiles"] = list(new.calibration_quantiles)
    if new.calibration_quality is not None:
        columns["calibration_quality"] = [list(row) for row in new.calibration_quality]
    return columns


def _register(connection: sa.Connection, new: NewModel) -> RegisteredModel:
    lock_product(connection, new.product)
    of_product = models.c.product == new.product
    newest = connection.scalar(sa.select(sa.func.coalesce(sa.func.max(models.c.version), 0)).where(of_product))
    inserted = (
        sa.insert(models)
        .values(**_columns_of(new), version=(newest or 0) + 1, state=ModelState.CANDIDATE)
        .returning(*REGISTERED)
    )
    return RegisteredModel(*connection.execute(inserted).one())


def registered_model(engine: sa.Engine, product: str, version: int | None = None) -> RegisteredModel | None:
    """Return a version of a product, or without a version the one in force; None where there is none.

    Raises:
        DatabaseAwayError: PostgreSQL does not answer.
    """
    wanted = models.c.state == ModelState.IN_FORCE if version is None else models.c.version == version
    with transaction(engine) as connection:
        row = connection.execute(sa.select(*REGISTERED).where(models.c.product == product, wanted)).one_or_none()
        return None if row is None else RegisteredModel(*row)


def models_in_force(engine: sa.Engine) -> dict[str, RegisteredModel]:
    """Return the model in force of each product that has one.

    Raises:
        DatabaseAwayError: PostgreSQL does not answer.
    """
    with transaction(engine) as connection:
        rows = connection.execute(sa.select(*REGISTERED).where(models.c.state == ModelState.IN_FORCE))
        return {row.product: RegisteredModel(*row) for row in rows}


def models_in_shadow(engine: sa.Engine) -> dict[str, RegisteredModel]:
    """Return the candidate that scores beside the model in force, of each product that has one.

    Raises:
        DatabaseAwayError: PostgreSQL does not answer.
    """
    with transaction(engine) as connection:
        rows = connection.execute(sa.select(*REGISTERED).where(models.c.shadow))
        return {row.product: RegisteredModel(*row) for row in rows}


def known_products(engine: sa.Engine) -> frozenset[str]:
    """Return every product that ever had a model.

    Raises:
        DatabaseAwayError: PostgreSQL does not answer.
    """
    with transaction(engine) as connection:
        return frozenset(connection.scalars(sa.select(models.c.product).distinct()))
