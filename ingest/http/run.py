"""`differline ingest http`: where the service that takes posted frames is put together."""

import threading
from contextlib import ExitStack, closing

from infra.addresses import is_loopback
from infra.engines import running_engines
from infra.errors import SettingsError
from infra.metrics import INGEST_HTTP_ANSWERS, Metrics, Service
from infra.monitoring import monitored
from infra.settings import Settings
from infra.telemetry import configure_logging, get_logger
from ingest.camera_line import camera_line, camera_of
from ingest.gateway import WhenFull
from ingest.http.app import FramePosts, Tokens
from ingest.http.cameras import PostingCameras, open_left_over
from ingest.http.server import listen, serve
from ingest.spool.files import cameras_with_frames


def take_posts(settings: Settings, stop: threading.Event, product: str | None) -> None:
    """Take frames by HTTP until `stop` is set.

    Args:
        settings: The settings.
        stop: Ends it.
        product: The product of a post that names none.

    Raises:
        SettingsError: The port is taken, or others may reach it and there is no token.
    """
    token = settings.http_token.get_secret_value() if settings.http_token else None
    of_cameras = {camera: secret.get_secret_value() for camera, secret in settings.http_camera_tokens.items()}
    if token is None and not of_cameras and not is_loopback(settings.http_host):
        raise SettingsError(
            f"DIFFERLINE_HTTP_HOST is {settings.http_host}: others reach it, and DIFFERLINE_HTTP_TOKEN is not set"
        )
    configure_logging(settings.log_level)
    log = get_logger("ingest")
    metrics = Metrics(Service.INGEST)
    folder = settings.spool_folder / "http"  # spools that no other kind of source may be waiting for
    with ExitStack() as opened:
        listener = opened.enter_context(closing(listen(settings.http_host, settings.http_port)))
        engines = opened.enter_context(running_engines(settings))
        cameras = PostingCameras(
            lambda name: camera_line(
                settings,
                engines,
                camera_of(settings, name, product or ""),
                stop=stop,
                spooled=True,
                spool_folder=folder,
                when_full=WhenFull.STOP,
                metrics=metrics,
            ),
            most=settings.http_max_cameras,
            largest=settings.max_frame_bytes,
        )
        opened.enter_context(monitored(settings, metrics, cameras.health))
        opened.enter_context(cameras)
        open_left_over(cameras, cameras_with_frames(folder))
        posts = FramePosts(
            cameras,
            Tokens(token, of_cameras),
            largest=settings.max_frame_bytes,
            read_timeout_s=settings.http_read_timeout_s,
            default_product=product,
            on_failure=stop.set,
            on_answer=lambda status: metrics.count(INGEST_HTTP_ANSWERS, status=str(int(status))),
        )
        host, port = listener.getsockname()[:2]
        log.info("http.listening", host=host, port=port)
        serve(posts.app(), listener, stop, read_timeout_s=settings.http_read_timeout_s)
        log.info("http.ended")
        if posts.failure is not None:
            raise posts.failure  # a supervisor starts it again; what was accepted is on disk
