"""`differline outputs`: how the outputs stand, what their peers refused, and what to do about it."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    import sqlalchemy as sa

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="Show how outputs stand and what was refused; send it again; forget an output.",
)
_Sink = Annotated[str, typer.Argument(metavar="OUTPUT", help="kafka, webhook, mqtt or opcua.")]
_Why = Annotated[str, typer.Option("--why", metavar="TEXT", help="The reason, for the audit log.")]


@app.command("list")
def list_outputs(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Show each output that was ever on: whether a relay works for it, what waits and what its peer refused."""
    from infra.outputs.report import outputs_json, outputs_table
    from infra.store.output_cursors import output_states
    from infra.store.output_refusals import refusal_counts

    with _database() as (database, _):
        states, refused = output_states(database), refusal_counts(database)
    typer.echo(json.dumps(outputs_json(states, refused), indent=2) if as_json else outputs_table(states, refused))


@app.command("refused")
def list_refused(
    sink: Annotated[str | None, typer.Option("--output", metavar="OUTPUT", help="Only of this one.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Most messages that are shown, the newest.")] = 50,
) -> None:
    """Show what peers refused for ever and have not taken since, with their reasons, newest first."""
    from infra.outputs.report import refusals_table
    from infra.store.output_refusals import refusals

    with _database() as (database, _):
        typer.echo(refusals_table(refusals(database, sink, limit)))


@app.command("again")
def again(
    sink: _Sink,
    why: _Why,
    number: Annotated[int | None, typer.Option(min=1, help="Only this message, by its number in `refused`.")] = None,
) -> None:
    """Let the relay send refused messages again, all of them or one; they come out of their camera's order."""
    from infra.errors import OutputError
    from infra.store.output_refusals import send_again

    with _database() as (database, who), _as_errors():
        asked = send_again(database, sink, number, who=who, reason=why)
        if not asked:
            raise OutputError(f"nothing of that kind was refused by {sink}, or all of it is to be sent again already")
    typer.echo(f"{asked} to be sent again; the relay does it within seconds while the output is on")


@app.command("forget")
def forget_output(sink: _Sink, why: _Why) -> None:
    """Let an output that was turned off hold nothing any more; what waits for it is not delivered to it."""
    from infra.store.output_cursors import forget

    with _database() as (database, who), _as_errors():
        forget(database, sink, who=who, reason=why)
    typer.echo(f"{sink} is forgotten; if it is turned on again, it begins at that time")


@contextmanager
def _database() -> "Iterator[tuple[sa.Engine, str]]":
    from infra.opened import opened_database
    from infra.settings import load_settings

    settings = load_settings()
    with opened_database(settings) as database:
        yield database, settings.user


@contextmanager
def _as_errors() -> Iterator[None]:
    from infra.errors import OutputError

    try:
        yield
    except (LookupError, ValueError) as error:
        raise OutputError(str(error)) from error


if __name__ == "__main__":
    app()
