"""Commands of the ground floor: `differline migrate`, `topics`, `ledger`, `positions`, `trace` and `audit`."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    import sqlalchemy as sa

migrate_app = typer.Typer(add_completion=False, help="Bring the database schema to the newest version.")
topics_app = typer.Typer(add_completion=False, help="Make the topics on Kafka, or bring them to the settings.")
ledger_app = typer.Typer(
    add_completion=False, help="Show what was received and what became of it; exit 1 if it does not balance."
)
positions_app = typer.Typer(
    add_completion=False, help="Show where scorers read on, and what the bus holds; move a position."
)
trace_app = typer.Typer(
    add_completion=False, help="Show what the verdict of a frame stands on; exit 1 if it is unknown."
)
audit_app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="Show who did what and why, and verify that nobody has changed it."
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


@positions_app.command()
def positions(
    reset: Annotated[str | None, typer.Option(metavar="TOPIC/PARTITION", help="Move this position.")] = None,
    to: Annotated[str | None, typer.Option(metavar="oldest|newest|OFFSET", help="Where scorers read on.")] = None,
    why: Annotated[str | None, typer.Option(metavar="TEXT", help="The reason, for the audit log.")] = None,
    skip_frames: Annotated[
        bool, typer.Option("--skip-frames", help="Leave out frames that wait before the new position.")
    ] = False,
) -> None:
    """Show where scorers read on, and what the bus holds; or move one position, when the bus has lost it."""
    from infra import engines, settings
    from infra.kept_positions import kept_positions, move_position, positions_table
    from infra.telemetry import configure_logging, get_logger

    chosen = settings.load_settings()
    if reset is None:
        _refuse_without_reset(to, why, skip_frames)
        with engines.running_engines(chosen) as running:
            typer.echo(positions_table(kept_positions(chosen, running)))
        return
    to, why = _checked_reset(to, why)
    configure_logging(chosen.log_level)
    with engines.running_engines(chosen) as running:
        moved = move_position(chosen, running, reset, to, skip_frames=skip_frames, why=why)
    get_logger("positions").warning(
        "position.reset",
        topic=moved.partition.topic,
        partition=moved.partition.number,
        before=moved.before,
        after=moved.after,
        epoch=moved.epoch,
        skipped=moved.skipped,
        read_again=moved.again,
        who=chosen.user,
        why=why,
    )
    typer.echo(str(moved))
    typer.echo("A scorer that runs gives way with its next batch; on Redis Streams it ends, and must be started again.")


@trace_app.command()
def trace(
    frame_id: Annotated[str, typer.Argument(metavar="FRAME_ID", help="The frame's id.")],
    camera: Annotated[str | None, typer.Option(help="Only of this camera; ids of two cameras may be the same.")] = None,
    as_of: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Leave out what came on record after it; ISO 8601, UTC by default."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON, with the hashes of all training frames.")
    ] = False,
) -> None:
    """Show what the verdict of a frame stands on, from its picture to who acknowledged its alert; exit code 1 if unknown."""
    from infra import engines, settings, trace_report, trace_words

    chosen = settings.load_settings()
    moment = None if as_of is None else trace_report.parsed_time(as_of)
    with engines.running_engines(chosen) as running:
        report = trace_report.current_trace(chosen, running, frame_id, camera, as_of=moment)
    if not report.trace.found:
        typer.echo(trace_report.not_on_record(report.trace, camera), err=True)
        raise typer.Exit(1)
    typer.echo(trace_report.trace_json(report) if as_json else trace_words.trace_text(report))


@audit_app.command("verify")
def verify_audit(
    head: Annotated[
        str | None, typer.Option(metavar="HASH", help="A hash that was once the newest: it must still be in the chain.")
    ] = None,
) -> None:
    """Compute the chain of the audit log again; exit code 1 if it is broken."""
    from infra.store.audit import checked_hash, verify

    wanted = None if head is None else checked_hash(head)
    with _database() as database:
        found = verify(database, wanted)
    typer.echo(str(found))
    raise typer.Exit(0 if found.broken is None else 1)


@audit_app.command("list")
def list_audit(
    subject: Annotated[
        str | None, typer.Option(help="Only what was done to this, as `alert 3` or `model tile 2`.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Most rows that are shown, the newest.")] = 50,
) -> None:
    """Show the newest rows of the audit log, newest first."""
    from infra.audit_report import audit_table
    from infra.store.audit import newest

    with _database() as database:
        typer.echo(audit_table(newest(database, limit, subject)))


@contextmanager
def _database() -> "Iterator[sa.Engine]":
    from infra.opened import opened_database
    from infra.settings import load_settings

    with opened_database(load_settings()) as database:
        yield database


def _refuse_without_reset(to: str | None, why: str | None, skip_frames: bool) -> None:
    from infra.errors import SettingsError

    if to is not None or why is not None or skip_frames:
        raise SettingsError("--to, --why and --skip-frames belong to --reset TOPIC/PARTITION")


def _checked_reset(to: str | None, why: str | None) -> tuple[str, str]:
    from infra.errors import SettingsError
    from infra.kept_positions import MAX_WHY

    text = (why or "").strip()
    if to is None or not text:
        raise SettingsError(
            "--reset needs --to oldest|newest|OFFSET and --why TEXT: it is on record who moved it and why"
        )
    if len(text) > MAX_WHY:
        raise SettingsError(f"--why may have {MAX_WHY} characters, it has {len(text)}")
    return to, text
