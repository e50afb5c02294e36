"""Products that share a flow: which they are, what they have in common, and that their pictures are kept apart."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

import sqlalchemy as sa

from infra.errors import RefitError
from infra.store.curation import products_of_pictures
from infra.store.promotions import ModelRow
from trainer.life.released import Curated

T = TypeVar("T", str, int)


def groups_of(rows: Sequence[ModelRow], products: Iterable[str]) -> list[tuple[str, ...]]:
    """Put products together with all others that share a flow with them, so that each is in one group.

    The newest versions count, candidates too: a group stays one while its products are promoted one by one.

    Args:
        rows: Every version of every product.
        products: The products that are asked for.

    Returns:
        Each group by name; the groups in the order of `products`.
    """
    newest: dict[str, ModelRow] = {}
    for row in rows:
        if row.product not in newest or row.version > newest[row.product].version:
            newest[row.product] = row
    groups = []
    for product in products:
        flow = newest[product].flow_sha256 if product in newest else None
        group = tuple(sorted({product} | {other for other, row in newest.items() if row.flow_sha256 == flow}))
        if group not in groups:
            groups.append(group)
    return groups


def of_the_same_flow(rows: Sequence[ModelRow], model: ModelRow) -> list[ModelRow]:
    """Return the models of other products that have the flow of a model."""
    return [row for row in rows if row.flow_sha256 == model.flow_sha256 and row.product != model.product]


def agreed(option: str, found: Mapping[str, T]) -> T | None:
    """Return what the models of all products have; None where there are no models.

    Args:
        option: The option that decides where they differ.
        found: What the model of each product has.

    Raises:
        RefitError: They differ.
    """
    values = sorted(set(found.values()), key=str)
    if len(values) > 1:
        each = ", ".join(f"{value} for {product}" for product, value in found.items())
        raise RefitError(f"{option} was {each}, and one flow has one: say which; nothing was done")
    return values[0] if values else None


def require_apart(database: sa.Engine, curated: Mapping[str, Curated]) -> None:
    """Refuse a picture of two products, or one that the line took for another product only.

    What is learned from for one product must neither calibrate another nor be a known defect of it.

    Raises:
        RefitError: There is one; which, and of which products.
        DatabaseAwayError: PostgreSQL does not answer.
    """
    product_of: dict[str, str] = {}
    for product, decided in curated.items():
        pictures = {picture.sha256 for part in (decided.released, decided.challenge) for picture in part.pictures}
        for sha256 in sorted(pictures):
            other = product_of.setdefault(sha256, product)
            if other != product:
                raise RefitError(f"picture {sha256} is decided about for {other} and for {product}: {_TAKE_BACK}")
        for sha256, seen in sorted(products_of_pictures(database, pictures).items()):
            if product not in seen:
                raise RefitError(
                    f"picture {sha256} is a frame of {', '.join(sorted(seen))}, not of {product}: {_TAKE_BACK}"
                )


_TAKE_BACK = "take one decision back (`differline curate set open SHA256 --product … --why …`)"
