"""`differline curate`."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from infra.store.tables import FrameDecision
from trainer.life.commands.opened import Product, Reason, open_life

if TYPE_CHECKING:
    from trainer.life.curation import Curator

curate_app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="Decide which frames may be learned from, and which are defects."
)


@curate_app.command("import")
def import_decisions(
    source: Annotated[Path, typer.Argument(metavar="CSV|DIR", help="Decisions, or pictures in MVTec AD layout.")],
    product: Product,
    runs: Annotated[
        Path | None, typer.Option(metavar="CSV", help="For a folder: file and production run, which stays together.")
    ] = None,
) -> None:
    """Take decisions from a CSV, or pictures from a folder: good ones are released, defects become challenge parts."""
    from infra.errors import CurationError

    if runs is not None and not source.is_dir():
        raise CurationError("--runs belongs to a folder; a CSV has a column `run`")
    with _curator(product) as curator:
        done = curator.import_folder(source, runs) if source.is_dir() else curator.import_csv(source)
    typer.echo(str(done))


@curate_app.command("export")
def export_decisions(
    target: Annotated[Path, typer.Argument(metavar="FILE.csv|DIR", help="A CSV, or a folder in MVTec AD layout.")],
    product: Product,
) -> None:
    """Write decisions and open frames as a CSV, or the decided pictures as a folder in MVTec AD layout."""
    with _curator(product) as curator:
        if target.suffix.lower() == ".csv":
            typer.echo(f"{curator.export_csv(target)} rows in {target}")
            return
        for place, count in sorted(curator.export_folder(target).items()):
            typer.echo(f"{count} pictures in {target / place}")


@curate_app.command("release")
def release(
    product: Product,
    least_p_value: Annotated[float, typer.Option(min=0, max=1, help="Release open GOOD frames from this p-value on.")],
) -> None:
    """Release open frames by a stated rule; those in quarantine stay open, they need a person."""
    from infra.settings import load_settings

    with _curator(product) as curator:
        done, quarantined = curator.release_by_rule(least_p_value, load_settings().quarantine_p_value)
    typer.echo(f"{done}; {quarantined} frames wait in quarantine for a person")


@curate_app.command("set")
def set_decision(
    decision: Annotated[FrameDecision, typer.Argument(help="What is decided.")],
    sha256: Annotated[list[str], typer.Argument(metavar="SHA256…", help="About which pictures.")],
    product: Product,
    why: Reason,
    challenge: Annotated[
        bool, typer.Option("--challenge", help="Show it to each new model, as a known defect.")
    ] = False,
) -> None:
    """Decide about single pictures."""
    with _curator(product) as curator:
        typer.echo(str(curator.set(sha256, decision, why, challenge=challenge)))


@curate_app.command("status")
def status(product: Product) -> None:
    """Count what is released, rejected and open, and what waits in quarantine."""
    from infra.settings import load_settings

    with _curator(product) as curator:
        for line in curator.counts(load_settings().quarantine_p_value):
            typer.echo(line)


@contextmanager
def _curator(product: str) -> "Iterator[Curator]":
    from infra.archive import open_archive
    from trainer.life.curation import Curator

    with open_life() as (settings, database):
        archive = open_archive(settings.archive_location)
        archive.prepare()
        yield Curator(database, archive, product, settings.user, settings.max_pixels)
