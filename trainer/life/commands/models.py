"""`differline models`."""

from pathlib import Path
from typing import Annotated

import typer

from trainer.life.commands.opened import Product, Reason, Version, open_life, open_workshop, refusals

models_app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="Show models; put them in force, in shadow, or back."
)


@models_app.command("list")
def list_of_models(
    product: Annotated[str | None, typer.Option(help="Only this product; without it, all.")] = None,
) -> None:
    """List every version of every product: state, rate, calibration and challenge results."""
    from infra.store.promotions import list_models
    from trainer.life.tables import models_table

    with open_life() as (_, database):
        typer.echo(models_table(list_models(database, product)))


@models_app.command("show")
def show(product: Product, version: Version) -> None:
    """Show a version: what it is, how it judges each camera, what speaks against it, its report, how it came into force."""
    from infra.store.promotions import list_models, model_row, promotions_of
    from scorer.detector import read_manifest
    from trainer.life.cameras import camera_lines
    from trainer.life.promotion import examine
    from trainer.life.tables import cameras_table, examined_text, model_text, promotions_table
    from trainer.life.together import of_the_same_flow

    with open_life() as (_, database), refusals():
        row = model_row(database, product, version)
        typer.echo(model_text(row, of_the_same_flow(list_models(database), row)))
        if (cameras := cameras_table(camera_lines(read_manifest(Path(row.folder))))) is not None:
            typer.echo(cameras)
        typer.echo(examined_text(examine(database, row)))
        typer.echo(promotions_table(promotions_of(database, product)))
    if row.report:
        typer.echo(row.report)


@models_app.command("compare")
def compare(
    product: Product,
    version: Version,
    changed: Annotated[Path | None, typer.Option(metavar="FILE.csv", help="Write every changed verdict there.")] = None,
) -> None:
    """Compare a version with the verdicts on record: what it saw in shadow or by replay, and every verdict it would change."""
    from infra.store.promotions import model_row
    from trainer.life.promotion import examine
    from trainer.life.tables import changed_table, examined_text, write_changed

    with open_life() as (_, database), refusals():
        examined = examine(database, model_row(database, product, version))
    typer.echo(examined_text(examined))
    typer.echo(changed_table(examined.changed))
    if changed is not None:
        typer.echo(f"{write_changed(changed, examined.changed)} changed verdicts in {changed}")


@models_app.command("promote")
def promote(
    product: Product,
    version: Version,
    why: Reason,
    force: Annotated[bool, typer.Option("--force", help="Overrule what speaks against it.")] = False,
) -> None:
    """Put a version in force; scorers take it between two batches, within seconds."""
    from infra.store.promotions import list_models, model_row
    from infra.store.promotions import promote as put
    from trainer.life.promotion import examine, require_sound
    from trainer.life.tables import changed_table, examined_text, waiting_text
    from trainer.life.together import of_the_same_flow

    with open_workshop() as workshop, refusals():
        row = model_row(workshop.database, product, version)
        require_sound(workshop, row)  # also with --force
        examined = examine(workshop.database, row)
        typer.echo(examined_text(examined))
        typer.echo(changed_table(examined.changed))
        further = [line for line in examined.objections if line not in row.objections()]
        model = put(workshop.database, product, version, who=workshop.who, reason=why, force=force, further=further)
        others = of_the_same_flow(list_models(workshop.database), row)
    typer.echo(f"{product} version {model.version} is in force{waiting_text(others)}")


@models_app.command("rollback")
def rollback(product: Product, why: Reason) -> None:
    """Put back in force what the model in force replaced, if its files are still what the registry says."""
    from infra.store.promotions import rollback as put_back
    from infra.store.promotions import rollback_target
    from trainer.life.promotion import require_sound

    with open_workshop() as workshop:
        target = rollback_target(workshop.database, product)
        require_sound(workshop, target)  # a scorer would refuse it, and go on by the model before, or by none
        model = put_back(workshop.database, product, who=workshop.who, reason=why, checked=target)
    typer.echo(f"{product} version {model.version} is in force again")


@models_app.command("shadow")
def shadow(
    product: Product,
    version: Annotated[int | None, typer.Option(help="Which candidate; without it, none.")] = None,
) -> None:
    """Let a candidate score live frames silently beside the model in force; without --version, let none."""
    from infra.store.promotions import set_shadow

    with open_life() as (settings, database):
        set_shadow(database, product, version, settings.user)
    typer.echo(
        f"{product} version {version} scores in shadow" if version else f"no candidate of {product} is in shadow"
    )


@models_app.command("challenge")
def challenge(
    product: Product,
    version: Annotated[int | None, typer.Option(help="Which version; without it, the one in force.")] = None,
) -> None:
    """Show a model the product's challenge parts: the share that it finds, with its interval."""
    from infra.errors import PromotionError
    from infra.store.models import registered_model
    from trainer.life.challenge import challenge as show_parts
    from trainer.life.released import read_curated

    with open_workshop() as workshop, refusals():
        model = registered_model(workshop.database, product, version)
        if model is None:
            raise PromotionError(f"there is no version {version} of {product}" if version else f"no model of {product}")
        curated = read_curated(workshop.database, workshop.archive, product, workshop.max_pixels)
        found = show_parts(workshop.detector_of(model), curated.challenge, workshop.progress)
    typer.echo(f"{product} version {model.version}: {found}")


@models_app.command("refit-asked", hidden=True)
def refit_asked(request: int, worker: str, attempts: int) -> None:
    """Do a refit that `differline schedule` has taken."""
    from infra.errors import RequestLostError
    from infra.store.model_requests import taken_request
    from trainer.life.perform import refit_asked as perform

    with open_workshop() as workshop:
        asked = taken_request(workshop.database, request, worker, attempts)
        if asked is None:
            raise RequestLostError(f"request {request} is not this trainer's any more: nothing was done")
        perform(workshop, asked)
