"""`differline notify`: where the service that tells people of alerts is put together."""

import threading
from contextlib import ExitStack
from typing import Annotated

import typer

app = typer.Typer(add_completion=False, help="Tell people of alerts, by mail, chat or SMS.")
_JOIN_TIMEOUT_S = 60.0


@app.command()
def notify(
    try_out: Annotated[
        bool, typer.Option("--try", help="Send a test message to each target and end; exit 1 where one is not taken.")
    ] = False,
) -> None:
    """Tell people of alerts until Ctrl-C or SIGTERM; what nobody acknowledges goes to those whom it escalates to."""
    from infra.engines import running_engines
    from infra.errors import TransientError
    from infra.monitoring import monitored
    from infra.notices.notifier import Notifier
    from infra.notices.targets import targets_of
    from infra.notices.watch import NoticeWatch
    from infra.settings import load_settings
    from infra.stopping import stop_on_signals
    from infra.store.connect import open_database
    from infra.telemetry import configure_logging, get_logger

    settings = load_settings()
    targets = targets_of(settings)
    configure_logging(settings.log_level)
    log = get_logger("notifier")
    if try_out:
        failed = False
        for sender, _ in targets:
            try:
                sender.send("test message", "This is a test message of differline; nothing has happened.")
                log.info("notice.sent", target=sender.name, alerts=0)
            except TransientError as error:
                failed = True
                log.warning("notice.away", target=sender.name, error=str(error))
        raise typer.Exit(1 if failed else 0)
    stop = threading.Event()
    stop_on_signals(stop)
    watch = NoticeWatch([sender.name for sender, _ in targets], settings.health_stale_s)
    with ExitStack() as opened:
        opened.enter_context(monitored(settings, watch.metrics, watch.health))
        engines = opened.enter_context(running_engines(settings))
        database = open_database(engines.database_url, pool_size=len(targets) + 1)
        opened.callback(database.dispose)
        notifiers = [
            Notifier(database, sender, rule, log, watch, settings.dashboard_url, stop) for sender, rule in targets
        ]
        threads = [threading.Thread(target=each.run, name=each.sender.name, daemon=True) for each in notifiers]
        for thread in threads:
            thread.start()
        log.info("notifier.started", targets=[sender.name for sender, _ in targets])
        while not stop.wait(1.0) and all(thread.is_alive() for thread in threads):
            pass
        failed = not stop.is_set()  # one of them met what it does not know; the traceback is in the log
        stop.set()
        for thread in threads:
            thread.join(_JOIN_TIMEOUT_S)
    log.info("notifier.ended")
    if failed:
        raise typer.Exit(1)


if __name__ == "__main__":
    app()
