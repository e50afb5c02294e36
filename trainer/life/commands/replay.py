"""`differline replay`."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trainer.life.commands.opened import Product, open_workshop, refusals

if TYPE_CHECKING:
    from infra.bus import Observer

replay_app = typer.Typer(add_completion=False, help="Score frames again, by any model.")


class Source(StrEnum):
    """Where `replay` takes frames from."""

    ARCHIVE = "archive"
    TOPIC = "topic"


@replay_app.command()
def replay(
    product: Product,
    since: Annotated[str, typer.Option("--from", metavar="TIME", help="Frames received then or later (ISO 8601).")],
    until: Annotated[str, typer.Option("--to", metavar="TIME", help="Frames received before (ISO 8601).")],
    version: Annotated[int, typer.Option("--model", metavar="VERSION", help="By which version of the product.")],
    source: Annotated[
        Source, typer.Option(help="Pictures of the archive, or frames that the bus has not dropped yet, kept or not.")
    ] = Source.ARCHIVE,
    changed: Annotated[Path | None, typer.Option(metavar="FILE.csv", help="Write every changed verdict there.")] = None,
) -> None:
    """Score frames again by any model, beside their verdicts; list the verdicts that differ, with part ids."""
    from infra.store.promotions import model_row
    from infra.store.second_verdicts import changed_verdicts
    from trainer.life.replay import replay as score_again
    from trainer.life.tables import changed_table, write_changed
    from trainer.life.topic_replay import replay_from_topic

    start, end = _time(since), _time(until)
    with open_workshop() as workshop, refusals():
        row = model_row(workshop.database, product, version)
        done: object
        if source is Source.TOPIC:
            with _frames_topic() as bus:
                done = replay_from_topic(workshop, bus, row, start, end)
        else:
            done = score_again(workshop, row, start, end)
        differing = changed_verdicts(workshop.database, row.id, since=start, until=end)
    typer.echo(str(done))
    typer.echo(changed_table(differing))
    if changed is not None:
        typer.echo(f"{write_changed(changed, differing)} changed verdicts in {changed}")


def _time(text: str) -> datetime:
    """A time with its zone; without one it is this machine's."""
    from infra.errors import SettingsError

    try:
        return datetime.fromisoformat(text).astimezone()
    except ValueError:
        raise SettingsError(f"not a time in ISO 8601: {text!r}") from None


@contextmanager
def _frames_topic() -> "Iterator[Observer]":
    """A reader of the frames topic that takes nothing from a scorer."""
    from infra.bus.connect import open_observer
    from infra.engines import running_engines
    from infra.settings import load_settings

    settings = load_settings()
    with running_engines(settings) as engines, closing(open_observer(settings, engines)) as bus:
        yield bus
