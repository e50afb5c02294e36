"""`differline curate`, `refit`, `schedule`, `models` and `replay`: where the life of a model is put together."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from infra.store.tables import FrameDecision

if TYPE_CHECKING:
    import sqlalchemy as sa

    from infra.bus import Observer
    from infra.settings import Settings
    from trainer.life.curation import Curator
    from trainer.life.refit import Order, Workshop

curate_app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="Decide which frames may be learned from, and which are defects."
)

refit_app = typer.Typer(add_completion=False, help="Learn a product anew from its released pictures, as a candidate.")
schedule_app = typer.Typer(add_completion=False, help="Refit what is due, by the clock, until Ctrl-C.")
models_app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="Show models; put them in force, in shadow, or back."
)
replay_app = typer.Typer(add_completion=False, help="Score frames again, by any model.")

Product = Annotated[str, typer.Option(help="Of which product.")]
Version = Annotated[int, typer.Option(help="Which version of the product.")]
Reason = Annotated[str, typer.Option("--why", metavar="TEXT", help="The reason; it stays on record.")]


class Source(StrEnum):
    """Where `replay` takes frames from."""

    ARCHIVE = "archive"
    TOPIC = "topic"


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
    with _workshop(extractor) as workshop:
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


@schedule_app.command()
def schedule(
    cron: Annotated[
        str, typer.Option(help="When, as a crontab line: minute, hour, day, month, day of week.")
    ] = "0 2 * * *",
    timezone: Annotated[str | None, typer.Option(help="Its time zone; without it, this machine's.")] = None,
    product: Annotated[
        list[str] | None, typer.Option(help="Only this product, as in `differline refit`; without it, all.")
    ] = None,
    only_requests: Annotated[
        bool, typer.Option("--only-requests", help="Leave the clock to a timer or a CronJob.")
    ] = False,
) -> None:
    """Run `differline refit --if-due` by the clock, and what the dashboard asks for, until Ctrl-C or SIGTERM."""
    from infra.children import differline
    from infra.stopping import stop_on_signals
    from infra.telemetry import get_logger
    from trainer.life.schedule import run_schedule, trigger_of

    trigger = trigger_of(cron, timezone)
    stop = threading.Event()
    stop_on_signals(stop)
    command = differline("refit", "--if-due", *(part for name in product or () for part in ("--product", name)))
    with _life() as (settings, database), _requests_taken(settings, database):
        if only_requests:
            stop.wait()
        else:
            run_schedule(trigger, command, get_logger("schedule"), stop)


@models_app.command("list")
def list_of_models(
    product: Annotated[str | None, typer.Option(help="Only this product; without it, all.")] = None,
) -> None:
    """List every version of every product: state, rate, calibration and challenge results."""
    from infra.store.promotions import list_models
    from trainer.life.tables import models_table

    with _life() as (_, database):
        typer.echo(models_table(list_models(database, product)))


@models_app.command("show")
def show(product: Product, version: Version) -> None:
    """Show a version: what it is, how it judges each camera, what speaks against it, its report, how it came into force."""
    from infra.store.promotions import list_models, model_row, promotions_of
    from scorer.detector import read_manifest
    from trainer.life.promotion import examine
    from trainer.life.tables import cameras_table, examined_text, model_text, promotions_table
    from trainer.life.together import of_the_same_flow

    with _life() as (_, database), _refusals():
        row = model_row(database, product, version)
        typer.echo(model_text(row, of_the_same_flow(list_models(database), row)))
        if (cameras := cameras_table(read_manifest(Path(row.folder)))) is not None:
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

    with _life() as (_, database), _refusals():
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

    with _workshop() as workshop, _refusals():
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

    with _workshop() as workshop:
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

    with _life() as (settings, database):
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

    with _workshop() as workshop, _refusals():
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

    with _workshop() as workshop:
        asked = taken_request(workshop.database, request, worker, attempts)
        if asked is None:
            raise RequestLostError(f"request {request} is not this trainer's any more: nothing was done")
        perform(workshop, asked)


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
    with _workshop() as workshop, _refusals():
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


def _time(text: str) -> datetime:
    """A time with its zone; without one it is this machine's."""
    from infra.errors import SettingsError

    try:
        return datetime.fromisoformat(text).astimezone()
    except ValueError:
        raise SettingsError(f"not a time in ISO 8601: {text!r}") from None


@contextmanager
def _refusals() -> Iterator[None]:
    """A model that is refused is said in one line."""
    from infra.errors import PromotionError
    from scorer.detector import DetectorError

    try:
        yield
    except DetectorError as error:
        raise PromotionError(f"the model is refused: {error}") from error


@contextmanager
def _life() -> "Iterator[tuple[Settings, sa.Engine]]":
    """Settings and an open database."""
    from infra.engines import running_engines
    from infra.settings import load_settings
    from infra.store.connect import open_database
    from infra.telemetry import configure_logging

    settings = load_settings()
    configure_logging(settings.log_level)
    with running_engines(settings) as engines:
        database = open_database(engines.database_url, pool_size=2)
        try:
            yield settings, database
        finally:
            database.dispose()


@contextmanager
def _workshop(extractor: str | None = None) -> "Iterator[Workshop]":
    from datetime import timedelta

    from infra.archive import open_archive
    from infra.clock import utc_now
    from infra.refit_due import DueRule
    from trainer.bars import progress_shown
    from trainer.equipment import extractors_and_device
    from trainer.life.refit import Workshop

    with _life() as (settings, database), progress_shown() as progress:
        extractors, device = extractors_and_device(settings, extractor)
        archive = open_archive(settings.archive_location)
        archive.prepare()
        yield Workshop(
            database=database,
            archive=archive,
            models_folder=settings.models_folder,
            extractors=extractors,
            device=device,
            who=settings.user,
            max_pixels=settings.max_pixels,
            quarantine=settings.quarantine_p_value,
            rule=DueRule(timedelta(days=settings.refit_after_days), settings.refit_after_frames),
            clock=utc_now,
            progress=progress,
        )


@contextmanager
def _requests_taken(settings: "Settings", database: "sa.Engine") -> Iterator[None]:
    """What the dashboard asks for is done, while the block runs; the workshop is opened when it is first needed."""
    from contextlib import ExitStack

    from infra.children import differline
    from infra.engines import running_engines
    from infra.live import LiveState
    from infra.store.model_requests import TakenRequest
    from infra.telemetry import get_logger
    from trainer.life.asked import Asked, taking_requests

    opened: list[Workshop] = []
    log = get_logger("requests")

    def perform(taken: TakenRequest) -> None:
        from trainer.life.perform import perform as do

        if not opened:
            opened.append(stack.enter_context(_workshop()))
        do(opened[0], taken)

    def refit(taken: TakenRequest) -> list[str]:
        return differline("models", "refit-asked", "--", str(taken.id), taken.worker, str(taken.attempts))

    with ExitStack() as stack:
        engines = stack.enter_context(running_engines(settings))
        live = LiveState(engines.redis_url)
        stack.callback(live.close)
        with taking_requests(Asked(database, perform, refit, log), live, log):
            yield


@contextmanager
def _frames_topic() -> "Iterator[Observer]":
    """A reader of the frames topic that takes nothing from a scorer."""
    from infra.bus.connect import open_observer
    from infra.engines import running_engines
    from infra.settings import load_settings

    settings = load_settings()
    with running_engines(settings) as engines, closing(open_observer(settings, engines)) as bus:
        yield bus


@contextmanager
def _curator(product: str) -> "Iterator[Curator]":
    from infra.archive import open_archive
    from trainer.life.curation import Curator

    with _life() as (settings, database):
        archive = open_archive(settings.archive_location)
        archive.prepare()
        yield Curator(database, archive, product, settings.user, settings.max_pixels)
