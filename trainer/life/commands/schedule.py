"""`differline schedule`."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from trainer.life.commands.opened import open_life, open_workshop

if TYPE_CHECKING:
    import sqlalchemy as sa

    from infra.settings import Settings
    from trainer.life.refit import Workshop

schedule_app = typer.Typer(add_completion=False, help="Refit what is due, by the clock, until Ctrl-C.")


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
    with open_life() as (settings, database), _requests_taken(settings, database):
        if only_requests:
            stop.wait()
        else:
            run_schedule(trigger, command, get_logger("schedule"), stop)


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
            opened.append(stack.enter_context(open_workshop()))
        do(opened[0], taken)

    def refit(taken: TakenRequest) -> list[str]:
        return differline("models", "refit-asked", "--", str(taken.id), taken.worker, str(taken.attempts))

    with ExitStack() as stack:
        engines = stack.enter_context(running_engines(settings))
        live = LiveState(engines.redis_url)
        stack.callback(live.close)
        with taking_requests(Asked(database, perform, refit, log), live, log):
            yield
