"""Commands of the ground floor: `differline migrate`, `differline topics` and `differline ledger`."""

import json
from typing import Annotated

import typer

migrate_app = typer.Typer(add_completion=False, help="Bring the database schema to the newest version.")
topics_app = typer.Typer(add_completion=False, help="Make the topics on Kafka, or bring them to the settings.")
ledger_app = typer.Typer(
    add_completion=False, help="Show what was received and what became of it; exit 1 if it does not balance."
)


@migrate_app.command()
def migrate() -> None:
    """Bring the database schema to the newest version."""
    from infra import engines, settings
    from infra.clock import utc_now
    from infra.store import connect, schema

    chosen = settings.load_settings()
    with engines.running_engines(chosen) as running:
        database = connect.open_database(running.database_url, pool_size=1)
        typer.echo(f"schema at revision {schema.migrate(database, utc_now())}")
        database.dispose()


@topics_app.command()
def topics() -> None:
    """Make the topics on Kafka, or bring them to the settings; safe to repeat."""
    from infra import settings
    from infra.bus.topics import create_topics
    from infra.errors import SettingsError

    chosen = settings.load_settings()
    if chosen.bus != "kafka":
        raise SettingsError("DIFFERLINE_BUS is redis, which makes its streams by itself; topics are Kafka's")
    for line in create_topics(chosen):
        typer.echo(line)


@ledger_app.command()
def ledger(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Show, per camera, what was received and what became of it; exit code 1 if it does not balance."""
    from infra import engines, settings
    from infra.ledger_report import current_ledger, ledger_table

    chosen = settings.load_settings()
    with engines.running_engines(chosen) as running:
        book = current_ledger(chosen, running)
    typer.echo(json.dumps(book.as_json(), indent=2) if as_json else ledger_table(book))
    raise typer.Exit(0 if book.balanced else 1)
