"""The life of a registered model: candidate, in force, retired; who changed that, when and why is on record."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from infra.errors import PromotionError
from infra.store.audit import product_subject, record
from infra.store.connect import transaction
from infra.store.model_requests import Along
from infra.store.models import REGISTERED, RegisteredModel, lock_product, put_in_force
from infra.store.tables import ModelState, PromotionKind, models, promotions


@dataclass(frozen=True, slots=True)
class ModelRow:
    """Everything that the registry knows of a model; the attributes are columns of `models`."""

    id: int
    product: str
    version: int
    state: ModelState
    folder: str
    flow_sha256: str
    manifest_sha256: str
    preset: str
    threshold: float
    false_alarm_rate: float
    attainable_rate: float
    views: int
    training_frames: int
    calibration_frames: int
    shadow: bool
    registered_by: str
    registered_at: datetime
    challenge_parts: int | None
    challenge_found: int | None
    challenge_found_before: int | None
    report: str | None

    def objections(self) -> list[str]:
        """Say what speaks against putting it in force, one line each."""
        found: list[str] = []
        if self.attainable_rate > self.false_alarm_rate:
            found.append(
                f"its {self.calibration_frames} calibration frames promise {self.attainable_rate:.3%} false alarms at best, "
                f"not {self.false_alarm_rate:.3%}"
            )
        before = self.challenge_found_before
        if self.challenge_found is not None and before is not None and self.challenge_found < before:
            found.append(
                f"it finds {self.challenge_found} of {self.challenge_parts} challenge parts, the model in force {before}"
            )
        return found


@dataclass(frozen=True, slots=True)
class Promotion:
    """That a model was put in force: how, by whom, why, when, and what it replaced (versions of its product)."""

    product: str
    version: int
    replaced: int | None
    kind: PromotionKind
    who: str
    reason: str
    done_at: datetime


def list_models(engine: sa.Engine, product: str | None = None) -> list[ModelRow]:
    """Return the models of a product, or of all, newest version first.

    Raises:
        DatabaseAwayError: PostgreSQL does not answer.
    """
    query = sa.select(*(models.c[name] for name in ModelRow.__dataclass_fields__))
    if product is not None:
        query = query.where(models.c.product == product)
    with transaction(engine) as connection:
        rows = connection.execute(query.order_by(models.c.product, models.c.version.desc())).mappings()
        return [ModelRow(**{**row, "state": ModelState(row["state"])}) for row in rows]


def newest_model(engine: sa.Engine, product: str) -> ModelRow | None:
    """Return the newest version of a product, in force or not; None where there is none.

    Raises:
        DatabaseAwayError: PostgreSQL does not answer.
    """
    query = _of(product, sa.true()).order_by(models.c.version.desc()).limit(1)
    with transaction(engine) as connection:
        row = connection.execute(query).mappings().first()
        return ModelRow(**{**row, "state": ModelState(row["state"])}) if row else None


def model_row(engine: sa.Engine, product: str, version: int) -> ModelRow:
    """Return one version of a product.

    Raises:
        PromotionError: There is none.
        DatabaseAwayError: PostgreSQL does not answer.
    """
    for row in list_models(engine, product):
        if row.version == version:
            return row
    raise PromotionError(f"there is no version {version} of {product}")


def promote(
    engine: sa.Engine,
    product: str,
    version: int,
    *,
    who: str,
    reason: str,
    force: bool = False,
    further: Sequence[str] = (),
    along: Along | None = None,
) -> RegisteredModel:
    """Put a version in force; scorers take it between two batches.

    Args:
        engine: The registry.
        product: Whose.
        version: Which.
        who: Who wants it.
        reason: Why; needed where it is forced.
        force: Whether objections are overruled.
        further: Objections that the caller found, beside those of the registry.
        along: What else is done, in the same transaction.

    Raises:
        PromotionError: There is no such version, it is in force already, something speaks against it, or a reason is missing.
        DatabaseAwayError: PostgreSQL does not answer; what is in force stays.
    """
    if force and not reason.strip():
        raise PromotionError("--force needs a reason: it stays on record")
    with transaction(engine) as connection:
        lock_product(connection, product)
        row = connection.execute(_of(product, models.c.version == version)).mappings().one_or_none()
        if row is None:
            raise PromotionError(f"there is no version {version} of {product}")
        wanted = ModelRow(**{**row, "state": ModelState(row["state"])})
        if wanted.state is ModelState.IN_FORCE:
            raise PromotionError(f"{product} version {version} is in force already")
        objections = [*wanted.objections(), *further]
        if objections and not force:
            raise PromotionError(f"{product} version {version} is not put in force: {'; '.join(objections)}")
        model = _registered(connection, wanted.id)
        kind = PromotionKind.FORCED if objections else PromotionKind.PROMOTED
        put_in_force(connection, model, kind, who, reason.strip())
        if along is not None:
            along(connection, model.version)
        return model


def rollback_target(engine: sa.Engine, product: str, instead_of: int | None = None) -> RegisteredModel:
    """Return what a rollback would put back in force: what the model in force replaced.

    Args:
        engine: The registry.
        product: Whose.
        instead_of: As for `rollback`.

    Raises:
        PromotionError: There is nothing to go back to, or another version than `instead_of` is in force.
        DatabaseAwayError: PostgreSQL does not answer.
    """
    with transaction(engine) as connection:
        return _target(connection, product, instead_of)


def rollback(
    engine: sa.Engine,
    product: str,
    *,
    who: str,
    reason: str,
    instead_of: int | None = None,
    checked: RegisteredModel | None = None,
    along: Along | None = None,
) -> RegisteredModel:
    """Put back in force what the model in force replaced; a second time goes one further back.

    Args:
        engine: The registry.
        product: Whose.
        who: Who wants it.
        reason: Why.
        instead_of: Only if this version is in force, so that two people who want the same do not go back twice.
        checked: The only model that may be put back, since its files were looked at; None: whichever it is.
        along: What else is done, in the same transaction.

    Raises:
        PromotionError: There is nothing to go back to, another version than `instead_of` is in force, or it is another model
            than `checked` by now.
        DatabaseAwayError: PostgreSQL does not answer; what is in force stays.
    """
    with transaction(engine) as connection:
        lock_product(connection, product)
        model = _target(connection, product, instead_of)
        if checked is not None and checked != model:
            raise PromotionError(
                f"another model of {product} was put in force meanwhile: a rollback would now put back version "
                f"{model.version}, not version {checked.version}; nothing was done"
            )
        put_in_force(connection, model, PromotionKind.ROLLED_BACK, who, reason.strip())
        if along is not None:
            along(connection, model.version)
        return model


def set_shadow(
    engine: sa.Engine,
    product: str,
    version: int | None,
    who: str,
    *,
    reason: str = "",
    along: Along | None = None,
) -> None:
    """Let a candidate score live frames beside the model in force, silently, instead of any other; None: let none.

    Raises:
        PromotionError: There is no such version, or it is no candidate.
        DatabaseAwayError: PostgreSQL does not answer; what is in shadow stays.
    """
    with transaction(engine) as connection:
        lock_product(connection, product)
        of_product = models.c.product == product
        connection.execute(sa.update(models).where(of_product, models.c.shadow).values(shadow=False))
        if version is not None:
            candidate = (of_product, models.c.version == version, models.c.state == ModelState.CANDIDATE)
            if connection.execute(sa.update(models).where(*candidate).values(shadow=True)).rowcount == 0:
                raise PromotionError(f"{product} has no candidate of version {version}")
        record(connection, who, "shadow", product_subject(product), reason=reason, detail={"version": version})
        if along is not None:
            along(connection, version)


def promotions_of(engine: sa.Engine, product: str, limit: int = 100) -> list[Promotion]:
    """Return how the models of a product came into force, newest first.

    Raises:
        DatabaseAwayError: PostgreSQL does not answer.
    """
    after, before = models.alias("after"), models.alias("before")
    row = promotions.c
    query = (
        sa.select(
            row.product,
            after.c.version,
            before.c.version.label("replaced"),
            row.kind,
            row.who,
            row.reason,
            row.done_at,
        )
        .join(after, after.c.id == row.model_id)
        .outerjoin(before, before.c.id == row.replaced_id)
        .where(row.product == product)
        .order_by(row.id.desc())
        .limit(limit)
    )
    with transaction(engine) as connection:
        found = connection.execute(query).mappings()
        return [Promotion(**{**each, "kind": PromotionKind(each["kind"])}) for each in found]


def _version_in_force(connection: sa.Connection, product: str) -> int | None:
    query = sa.select(models.c.version).where(models.c.product == product, models.c.state == ModelState.IN_FORCE)
    version: int | None = connection.scalar(query)
    return version


def _replaced_by_the_one_in_force(connection: sa.Connection, product: str) -> int | None:
    """The model before the one in force, by the record: the last time that one came in other than by a rollback."""
    in_force = sa.select(models.c.id).where(models.c.product == product, models.c.state == ModelState.IN_FORCE)
    query = (
        sa.select(promotions.c.replaced_id)
        .where(
            promotions.c.product == product,
            promotions.c.kind != PromotionKind.ROLLED_BACK,
            promotions.c.model_id == in_force.scalar_subquery(),
        )
        .order_by(promotions.c.id.desc())
        .limit(1)
    )
    replaced: int | None = connection.scalar(query)
    return replaced


def _target(connection: sa.Connection, product: str, instead_of: int | None = None) -> RegisteredModel:
    if instead_of is not None and _version_in_force(connection, product) != instead_of:
        raise PromotionError(f"{product} version {instead_of} is not in force any more; nothing was rolled back")
    number = _replaced_by_the_one_in_force(connection, product)
    if number is None:
        raise PromotionError(f"{product} has no earlier model to go back to")
    return _registered(connection, number)


def _of(product: str, condition: sa.ColumnElement[bool]) -> sa.Select[*tuple[Any, ...]]:
    columns = (models.c[name] for name in ModelRow.__dataclass_fields__)
    return sa.select(*columns).where(models.c.product == product, condition)


def _registered(connection: sa.Connection, model_id: int) -> RegisteredModel:
    return RegisteredModel(*connection.execute(sa.select(*REGISTERED).where(models.c.id == model_id)).one())
