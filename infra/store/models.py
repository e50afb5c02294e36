"""The registry of models: what was trained, its hashes, and which version is in force for a product."""

from dataclasses import asdict, dataclass

import sqlalchemy as sa

from infra.store.connect import transaction
from infra.store.tables import ModelState, models


@dataclass(frozen=True, slots=True)
class NewModel:
    """A model to be registered; the attributes are columns of `models`."""

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


_REGISTERED = (
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
        connection.execute(
            sa.text("SELECT pg_advisory_xact_lock(hashtext('models'), hashtext(:p))"), {"p": new.product}
        )
        of_product = models.c.product == new.product
        newest = connection.scalar(sa.select(sa.func.coalesce(sa.func.max(models.c.version), 0)).where(of_product))
        connection.execute(
            sa.update(models).where(of_product, models.c.state == ModelState.IN_FORCE).values(state=ModelState.RETIRED)
        )
        inserted = (
            sa.insert(models)
            .values(**asdict(new), version=(newest or 0) + 1, state=ModelState.IN_FORCE)
            .returning(*_REGISTERED)
        )
        return RegisteredModel(*connection.execute(inserted).one())


def registered_model(engine: sa.Engine, product: str, version: int | None = None) -> RegisteredModel | None:
    """Return a version of a product, or without a version the one in force; None where there is none.

    Raises:
        DatabaseAwayError: PostgreSQL does not answer.
    """
    wanted = models.c.state == ModelState.IN_FORCE if version is None else models.c.version == version
    with transaction(engine) as connection:
        row = connection.execute(sa.select(*_REGISTERED).where(models.c.product == product, wanted)).one_or_none()
        return None if row is None else RegisteredModel(*row)


def models_in_force(engine: sa.Engine) -> dict[str, RegisteredModel]:
    """Return the model in force of each product that has one.

    Raises:
        DatabaseAwayError: PostgreSQL does not answer.
    """
    with transaction(engine) as connection:
        rows = connection.execute(sa.select(*_REGISTERED).where(models.c.state == ModelState.IN_FORCE))
        return {row.product: RegisteredModel(*row) for row in rows}


def known_products(engine: sa.Engine) -> frozenset[str]:
    """Return every product that ever had a model.

    Raises:
        DatabaseAwayError: PostgreSQL does not answer.
    """
    with transaction(engine) as connection:
        return frozenset(connection.scalars(sa.select(models.c.product).distinct()))
