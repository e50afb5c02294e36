"""`differline relay`: where the service that publishes the outbox is put together."""

import threading
from contextlib import ExitStack, closing
from typing import Annotated

import typer

app = typer.Typer(add_completion=False, help="Publish verdicts and dead letters on Kafka, for a PLC gateway or an MES.")


@app.command()
def relay(
    until_idle: Annotated[
        float | None, typer.Option("--until-idle", metavar="S", min=0, help="End when nothing waited for S seconds.")
    ] = None,
) -> None:
    """Publish what scorers put into the outbox until Ctrl-C or SIGTERM, at least once and in the order of each camera."""
    from infra.archive import open_archive
    from infra.bus.kafka import KafkaPublisher
    from infra.bus.topics import DEAD_LETTERS_SUFFIX
    from infra.engines import running_engines
    from infra.errors import SettingsError
    from infra.monitoring import monitored
    from infra.outbox_relay import Relay, Topics
    from infra.relay_watch import RelayWatch
    from infra.settings import load_settings
    from infra.stopping import stop_on_signals
    from infra.store.connect import open_database
    from infra.telemetry import configure_logging, get_logger

    settings = load_settings()
    if settings.bus != "kafka":
        raise SettingsError("DIFFERLINE_BUS is redis: verdicts stay in PostgreSQL; the relay publishes them on Kafka")
    configure_logging(settings.log_level)
    stop = threading.Event()
    stop_on_signals(stop)
    log = get_logger("relay")
    watch = RelayWatch(settings.health_stale_s)
    with ExitStack() as opened:
        opened.enter_context(monitored(settings, watch.metrics, watch.health))
        engines = opened.enter_context(running_engines(settings))
        database = open_database(engines.database_url, pool_size=2)
        opened.callback(database.dispose)
        published = Relay(
            database=database,
            publisher=opened.enter_context(closing(KafkaPublisher(settings))),
            archive=open_archive(settings.archive_location),
            topics=Topics(
                verdicts=settings.verdicts_topic,
                dead_letters=settings.frames_topic + DEAD_LETTERS_SUFFIX,
                largest_body=settings.largest_body,
            ),
            log=log,
            watch=watch,
            stop=stop,
        ).run(until_idle)
    log.info("relay.ended", published=published)


if __name__ == "__main__":
    app()
