"""One camera put together: its spool, the sender that empties it, its books and its gateway."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from infra.archive import open_archive
from infra.bus.connect import open_producer
from infra.engines import Engines
from infra.errors import TransientError
from infra.frames import new_id
from infra.metrics import Metrics
from infra.settings import Settings
from infra.store.connect import open_database
from infra.store.runs import report_ended
from ingest.books import CameraBooks
from ingest.claim_check import ClaimCheck
from ingest.gateway import Camera, Gateway, WhenFull
from ingest.spool import Spool, SpoolSender
from ingest.spool.files import spool_path
from ingest.watch import CaptureWatch, IngestWatch


@dataclass(frozen=True, slots=True)
class CameraLine:
    """What a source needs of its camera.

    Attributes:
        gateway: Takes its pictures.
        on_skipped: Told how many frames it could not hand in, and why: `bus_away` or `camera_away`.
        spool: Where they wait for the bus; None: the gateway waits itself.
        health: None while all is well, else the reason in one line.
    """

    gateway: Gateway
    on_skipped: Callable[[int, str], None]
    spool: Spool | None
    health: Callable[[], str | None]


def camera_of(settings: Settings, name: str, product: str, fps: float | None = None) -> Camera:
    """Return what all frames of a camera share."""
    return Camera(name, product, settings.frames_topic, settings.max_frame_bytes, settings.bus_send_timeout_s, fps)


@contextmanager
def camera_line(
    settings: Settings,
    engines: Engines,
    camera: Camera,
    *,
    stop: threading.Event,
    spooled: bool,
    spool_folder: Path | None = None,
    when_full: WhenFull = WhenFull.WAIT,
    metrics: Metrics,
) -> Iterator[CameraLine]:
    """Open a camera's line for one run, and end the run when the block is left.

    Args:
        settings: The settings.
        engines: Where PostgreSQL and Redis answer.
        camera: The camera.
        stop: Set from outside when the run should end.
        spooled: Whether its frames go through a spool on disk, so that it never waits for the bus.
        spool_folder: Where the spool is; the settings' folder where left out.
        when_full: What it does when the spool is full.
        metrics: Where it counts; the cameras of a process share one.

    Raises:
        SettingsError: Another process has the camera's spool, or it cannot be written.
    """
    run = new_id()
    claim_check = ClaimCheck(open_archive(settings.archive_location), settings.claim_check_bytes)
    watch = IngestWatch(camera.name, settings.health_stale_s, metrics=metrics)
    with ExitStack() as opened:
        database = open_database(engines.database_url, pool_size=1)
        opened.callback(database.dispose)
        spool = None
        if spooled:
            path = spool_path(spool_folder or settings.spool_folder, camera.name)
            limits = {"max_bytes": settings.spool_max_bytes, "keep_free_bytes": settings.spool_keep_free_bytes}
            spool = opened.enter_context(Spool(path, camera.name, **limits))
        producer = opened.enter_context(closing(open_producer(settings, engines)))

        def end_run() -> None:
            with suppress(TransientError):  # the camera will be called silent, no more than that
                report_ended(database, camera.name, run)

        opened.callback(end_run)
        books = opened.enter_context(CameraBooks(database, camera.name, run, metrics=metrics, spool=spool))
        if spool is None:
            gateway = Gateway(
                producer, camera, stop=stop, claim_check=claim_check, on_accepted=books.accepted, run=run, watch=watch
            )
        else:
            sender = opened.enter_context(
                SpoolSender(spool, producer, camera.topic, watch=watch, claim_check=claim_check, on_sent=books.sent)
            )

            def on_spooled(count: int) -> None:
                sender.check()
                books.captured(count)

            gateway = Gateway(
                spool,
                camera,
                stop=stop,
                when_full=when_full,
                on_skipped=books.skipped,
                on_accepted=on_spooled,
                run=run,
                watch=CaptureWatch(camera.name, settings.health_stale_s, metrics=metrics),
            )
        yield CameraLine(gateway, books.skipped, spool, watch.health)
