"""`differline refit`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from trainer.life.commands.opened import open_workshop

if TYPE_CHECKING:
    import sqlalchemy as sa

    from trainer.life.refit import Order, Workshop

refit_app = typer.Typer(add_completion=False, help="Learn a product anew from its released pictures, as a candidate.")


@refit_app.command()
def refit(
    product: Annotated[
        list[str] | None,
        typer.Option(
            help="Which product, with those that share its flow; several for one flow of just these; without it, and with "
            "--if-due, every product with decisions."
        ),
    ] = None,
    alone: Annotated[
        bool, typer.Option("--alone", help="A flow of its own, also where the product shared one.")
    ] = False,
    if_due: Annotated[bool, typer.Option("--if-due", help="Only where the rule says so.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be learned from, and learn nothing.")
    ] = False,
    preset: Annotated[str | None, typer.Option(help="`paper` or `compact`; without it, as before.")] = None,
    false_alarm_rate: Annotated[
        float | None, typer.Option(help="Share of good parts that may be called a defect; without it, as before.")
    ] = None,
    views: Annotated[int | None, typer.Option(min=1, max=1024, help="Views behind a score; as before.")] = None,
    adapt: Annotated[str, typer.Option(metavar="MINUTES|auto|off", help="Tune the extractor first.")] = "off",
    extractor: Annotated[str | None, typer.Option(help="`auto` takes the best of those at hand.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of split, views, initial weights and order.")] = 0,
) -> None:
    """Learn a product anew from its released pictures; the model in force stays until the candidate is promoted.

    Products whose newest models share a flow are learned anew together, in one flow, and each gets a candidate.
    """
    from infra.errors import DifferlineError, RefitError
    from trainer.adaptation import minutes_of_adaptation
    from trainer.life.refit import Order

    if not product and not if_due:
        raise RefitError("--product P says which product; only --if-due goes over all of them")
    if alone and product and len(product) > 1:
        raise RefitError("several --product are for one flow of all of them, --alone is for a flow of one")
    minutes = minutes_of_adaptation(adapt)
    failed: list[str] = []
    with open_workshop(extractor) as workshop:
        groups = _groups(workshop.database, product or (), alone=alone)
        for first, *others in groups:
            order = Order(first, preset, false_alarm_rate, views, minutes, seed, tuple(others))
            try:
                _refit_one(workshop, order, if_due=if_due, dry_run=dry_run)
            except DifferlineError as error:
                if product:
                    raise
                failed.append(f"{' and '.join(order.products)}: {error}")
    if failed:
        raise RefitError(f"{len(failed)} of {len(groups)} refits came to nothing: {'; '.join(failed)}")


def _groups(database: "sa.Engine", products: Sequence[str], *, alone: bool) -> list[tuple[str, ...]]:
    """The products of each refit; without products, those of all refits."""
    from infra.store.curation import products_with_decisions
    from infra.store.promotions import list_models
    from trainer.life.together import groups_of

    if len(set(products)) > 1:
        return [tuple(sorted(set(products)))]
    wanted = products or products_with_decisions(database)
    return [(product,) for product in wanted] if alone else groups_of(list_models(database), wanted)


def _refit_one(workshop: "Workshop", order: "Order", *, if_due: bool, dry_run: bool) -> None:
    from infra.printable import printable

    due = {product: workshop.due(product) for product in order.products}
    for product, each in due.items():
        typer.echo(f"{printable(product)}: {each}")
    if if_due and not any(each.reasons for each in due.values()):
        return
    if order.others:
        typer.echo(f"{printable(' and '.join(order.products))}: one flow of all of them, and a candidate for each")
    if dry_run:
        for product, curated in workshop.curated_together(order.products).items():
            typer.echo(
                f"{printable(product)}: would learn from {len(curated.released)} pictures of {curated.runs} production runs, "
                f"{curated.by_rule} of them released by a rule, and show the result {len(curated.challenge)} challenge parts"
            )
        return
    candidates = workshop.refit_together(order)
    for _, report in candidates.values():
        typer.echo("\n".join(map(printable, report.splitlines())))
    for model, _ in candidates.values():
        typer.echo(
            f"{printable(model.product)} version {model.version} is a candidate; the report is in {model.folder}"
        )
