"""`differline relay`: where the service that delivers the outbox is put together."""

import threading
from contextlib import ExitStack, closing
from typing import Annotated

import typer

app = typer.Typer(
    add_completion=False, help="Deliver verdicts to the outputs that are set: Kafka, a webhook, machines."
)


@app.command()
def relay(
    until_idle: Annotated[
        float | None, typer.Option("--until-idle", metavar="S", min=0, help="End when nothing waited for S seconds.")
    ] = None,
) -> None:
    """Deliver what scorers put into the outbox until Ctrl-C or SIGTERM, at least once and in the order of each camera."""
    from infra.engines import running_engines
    from infra.errors import SettingsError
    from infra.monitoring import monitored
    from infra.outputs.connect import open_sinks, output_rules
    from infra.outputs.relay import Relay
    from infra.outputs.watch import RelayWatch
    from infra.settings import load_settings
    from infra.stopping import stop_on_signals
    from infra.store.connect import open_database
    from infra.telemetry import configure_logging, get_logger

    settings = load_settings()
    if not settings.outputs:
        raise SettingsError(
            "no output is set, so there is nothing to do: DIFFERLINE_BUS=kafka, DIFFERLINE_WEBHOOK_URL, "
            "DIFFERLINE_MQTT_HOST or DIFFERLINE_OPCUA_PORT"
        )
    if not settings.fills_outbox:
        raise SettingsError("DIFFERLINE_OUTBOX is off: nothing is put aside for the outputs that are set")
    configure_logging(settings.log_level)
    stop = threading.Event()
    stop_on_signals(stop)
    log = get_logger("relay")
    watch = RelayWatch(settings.health_stale_s)
    with ExitStack() as opened:
        opened.enter_context(monitored(settings, watch.metrics, watch.health))
        engines = opened.enter_context(running_engines(settings))
        database = open_database(engines.database_url)
        opened.callback(database.dispose)
        sinks = [opened.enter_context(closing(sink)) for sink in open_sinks(settings)]
        log.info("relay.started", sinks=[sink.name for sink in sinks])
        delivered = Relay(database, sinks, log, output_rules(settings), watch, stop).run(until_idle)
    log.info("relay.ended", published=delivered)


if __name__ == "__main__":
    app()
