"""`differline score`: where a scorer is put together."""

import os
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from infra.engines import Engines
    from infra.settings import Settings
    from scorer.fleet import Fleet
    from scorer.worker import Worker

_MOST_DECODE_THREADS = 8  # unless the setting says otherwise

app = typer.Typer(add_completion=False, help="Judge the frames on the bus.")
drift_app = typer.Typer(
    add_completion=False, help="Show how far scores and pictures have drifted; exit 1 if there is an alarm."
)
export_app = typer.Typer(add_completion=False, help="Write a model as ONNX, if it scores there as it does here.")


@app.command()
def score(
    until_idle: Annotated[
        float | None, typer.Option("--until-idle", metavar="S", min=0, help="End when no frame came for S seconds.")
    ] = None,
    workers: Annotated[
        str | None,
        typer.Option("--workers", metavar="N|auto", help="So many scorers, on Kafka; auto: one for each GPU, or one."),
    ] = None,
) -> None:
    """Judge the frames on the bus until Ctrl-C or SIGTERM; the batch under way is finished first.

    With --workers each scorer is a process of its own, which is started again when it dies, with its own GPU (as far as there
    are enough), its share of the CPU threads, and its own metrics port: the setting's, and those above it.
    """
    from infra.engines import running_engines
    from infra.monitoring import monitored
    from infra.settings import load_settings
    from infra.stopping import stop_on_signals
    from infra.telemetry import configure_logging, get_logger

    settings = load_settings()
    configure_logging(settings.log_level)
    stop = threading.Event()
    stop_on_signals(stop)
    if workers is not None and (fleet := build_fleet(settings, workers, until_idle, stop)):
        fleet.run()
        return
    with running_engines(settings) as engines:
        worker = build_worker(settings, engines, stop)
        try:
            with monitored(settings, worker.watch.metrics, worker.watch.health):
                totals = worker.run(until_idle)
        finally:
            worker.close()
    stages = {f"{stage}_s": round(seconds, 3) for stage, seconds in vars(worker.judge.stages).items()}
    get_logger("scorer").info("scorer.ended", **vars(totals), **stages)


@drift_app.command()
def drift(
    product: Annotated[str | None, typer.Option(help="Only this product.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Show, per camera and product, how far scores and pictures have drifted; exit code 1 if there is an alarm."""
    from infra.engines import running_engines
    from infra.settings import load_settings
    from infra.store.connect import open_database
    from scorer.drift_report import drift_json, drift_report, drift_table

    settings = load_settings()
    with running_engines(settings) as engines:
        database = open_database(engines.database_url, pool_size=1)
        lines = drift_report(database, product)
        database.dispose()
    typer.echo(drift_json(lines) if as_json else drift_table(lines))
    raise typer.Exit(1 if any(line.alarm for line in lines) else 0)


@export_app.command()
def export(
    product: Annotated[str, typer.Option(help="What the model is for.")],
    to: Annotated[Path, typer.Option(metavar="FOLDER", help="A new folder; it appears complete or not at all.")],
    version: Annotated[int | None, typer.Option(help="Which version; without it, the one in force.")] = None,
    images: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Compare scores on these pictures too, not on drawn ones alone.")
    ] = None,
) -> None:
    """Write a registered model as ONNX graphs and a manifest, if scores and verdicts are those of torch in float32."""
    from infra.engines import running_engines
    from infra.settings import load_settings
    from infra.store.connect import open_database
    from infra.telemetry import configure_logging
    from scorer.export import export_model
    from scorer.threads import cores_here, thread_count, use_threads

    settings = load_settings()
    configure_logging(settings.log_level)
    use_threads(thread_count(settings, cores_here()))
    with running_engines(settings) as engines:
        database = open_database(engines.database_url, pool_size=1)
        parity = export_model(settings, database, (product, version), to, images)
        database.dispose()
    typer.echo(f"{to} is written: on {parity.pictures} pictures scores are at most {parity.difference:.1e} apart")


def build_fleet(settings: "Settings", workers: str, until_idle: float | None, stop: threading.Event) -> "Fleet | None":
    """Put a fleet together; None on a bus with one scorer, which then runs in this process.

    Raises:
        FleetError: The GPUs cannot be counted.
        SettingsError: There cannot be so many scorers.
    """
    from infra.children import differline
    from infra.telemetry import get_logger
    from scorer.fleet import Fleet, gpu_count, number_of_workers, picks_gpus, plan_workers

    count = number_of_workers(workers, settings.bus)
    if settings.bus != "kafka":
        return None
    plans = plan_workers(settings, count, gpu_count() if picks_gpus(settings) else 0)
    log = get_logger("scorer")
    if len(plans) > settings.partitions:
        log.warning("fleet.idle_scorers", scorers=len(plans), partitions=settings.partitions)
    command = differline("score", *(() if until_idle is None else ("--until-idle", str(until_idle))))
    return Fleet(plans, command, dict(os.environ), until_idle is not None, log, stop)


def build_worker(settings: "Settings", engines: "Engines", stop: threading.Event) -> "Worker":
    """Put a worker together; nothing else in this service makes a connection."""
    from infra.archive import open_archive
    from infra.bus.connect import open_consumer
    from infra.clock import ClockWatch, utc_now
    from infra.errors import SettingsError
    from infra.live import LiveState
    from infra.store.connect import open_database
    from infra.telemetry import get_logger
    from scorer.camera_health import CameraHealth
    from scorer.clocks import SetBack
    from scorer.detector import DetectorError, choose_backend
    from scorer.drift import DriftAlarm
    from scorer.gaps import GapAlarm
    from scorer.judge import Judge
    from scorer.models import ArtifactLoader, ModelShelf
    from scorer.rollups import Roller
    from scorer.shadows import Shadows
    from scorer.threads import cores_here, thread_count, use_threads
    from scorer.trials import Trials
    from scorer.watch import ScorerWatch
    from scorer.worker import Worker

    threads = thread_count(settings, cores_here())
    use_threads(threads)
    decode_threads = settings.decode_threads or min(_MOST_DECODE_THREADS, threads or cores_here())
    name = f"{socket.gethostname()}-{os.getpid()}"
    log = get_logger("scorer").bind(worker=name)
    database = open_database(engines.database_url)
    try:
        device, arithmetic = choose_backend(settings.backend, settings.device, settings.arithmetic)
    except DetectorError as error:
        raise SettingsError(str(error)) from error
    load = ArtifactLoader(device, settings.extractor, settings.extractor_seed, arithmetic, backend=settings.backend)
    watch = ScorerWatch(settings.health_stale_s)
    shelf = ModelShelf(database, load, log, settings.models_in_memory)
    return Worker(
        name=name,
        settings=settings,
        consumer=open_consumer(settings, engines),
        database=database,
        live=LiveState(engines.redis_url),
        judge=Judge(settings, shelf, open_archive(settings.archive_location), utc_now, Shadows(database, load, log)),
        decoders=ThreadPoolExecutor(decode_threads, thread_name_prefix="decode"),
        trials=Trials(database, name),
        clock=utc_now,
        log=log,
        watch=watch,
        gaps=GapAlarm(database, log),
        health=CameraHealth(database, log, settings.silent_after_s, settings.clock_skew_s),
        drift=DriftAlarm(database, log, watch.drifts, utc_now),
        rollups=Roller(database, log),
        clocks=SetBack(log, ClockWatch()),
        stop=stop,
    )


if __name__ == "__main__":
    app()
