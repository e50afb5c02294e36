"""The versions of a product as a page shows them: no more than are shown, those that count always among them."""

from typing import Any

import sqlalchemy as sa

from infra.store.connect import transaction
from infra.store.promotions import ModelRow
from infra.store.tables import ModelState, models


def newest_versions(engine: sa.Engine, product: str, limit: int = 50) -> list[ModelRow]:
    """Return versions of a product, newest first: the newest `limit`, and the one in force and the one in shadow always.

    Raises:
        DatabaseAwayError: PostgreSQL does not answer.
    """
    row = models.c
    counts_first = (row.state == ModelState.IN_FORCE).desc(), row.shadow.desc(), row.version.desc()
    columns = (row[name] for name in ModelRow.__dataclass_fields__)
    query = sa.select(*columns).where(row.product == product).order_by(*counts_first).limit(limit)
    with transaction(engine) as connection:
        found = connection.execute(query).mappings()
        versions = [ModelRow(**{**each, "state": ModelState(each["state"])}) for each in found]
    return sorted(versions, key=lambda model: model.version, reverse=True)


def histogram_of(engine: sa.Engine, model_id: int) -> dict[str, Any] | None:
    """Return the scores of a model as they are drawn (`infra.score_histogram`); None where they are not known.

    Raises:
        DatabaseAwayError: PostgreSQL does not answer.
    """
    with transaction(engine) as connection:
        found: dict[str, Any] | None = connection.scalar(
            sa.select(models.c.score_histogram).where(models.c.id == model_id)
        )
        return found


def products_of_models(engine: sa.Engine) -> list[str]:
    """Return the products that have a model, or pictures that somebody decided about, by name.

    Raises:
        DatabaseAwayError: PostgreSQL does not answer.
    """
    with transaction(engine) as connection:
        return list(connection.scalars(_PRODUCTS))


# One step into the index for each product that was decided about, however many pictures it has.
_PRODUCTS = sa.text("""
WITH RECURSIVE decided (product) AS (
    SELECT min(product) FROM decisions
    UNION ALL
    SELECT (SELECT min(product) FROM decisions d WHERE d.product > decided.product) FROM decided
    WHERE decided.product IS NOT NULL
)
SELECT product FROM models UNION SELECT product FROM decided WHERE product IS NOT NULL ORDER BY product
""")
