"""`/metrics` and `/healthz` of a service, over HTTP on the address and port of the settings.

Health is the freshness of results, not that the process lives: a scorer that hangs with frames waiting is not healthy, one
without work is. What counts as fresh, each service says with a `Freshness`.
"""

import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from infra.errors import SettingsError
from infra.metrics import HEALTHY, Metrics
from infra.settings import Settings

Health = Callable[[], str | None]  # None while all is well, else the reason in one line

_STOP_LOOK_S = 0.1
_CLIENT_TIMEOUT_S = 5.0
_TEXT = "text/plain; charset=utf-8"


class Freshness:
    """How long ago a service last had a result, or nothing to do. Any thread may ask.

    It begins fresh, so that a service has its first `limit_s` seconds to come up.
    """

    def __init__(self, limit_s: float, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Begin fresh.

        Args:
            limit_s: How old the last result may be, in seconds.
            monotonic: The clock, in seconds.
        """
        self._limit_s = limit_s
        self._monotonic = monotonic
        self._why = ""
        self.fresh()

    def fresh(self) -> None:
        """Say that a result was stored just now, or that there is nothing to do."""
        self._fresh_at = self._monotonic()
        self._why = "nothing came of the work since"

    def stale(self, why: str) -> None:
        """Say what keeps the next result away; it counts once the last result is too old."""
        self._why = " ".join(why.split())

    def health(self) -> str | None:
        """Return None while fresh, else why not, in one line."""
        age_s = self._monotonic() - self._fresh_at
        return None if age_s <= self._limit_s else f"no result for {age_s:.0f} s: {self._why}"


class MonitoringServer:
    """Serves `/metrics` and `/healthz` from threads of its own; a context manager."""

    def __init__(self, host: str, port: int, metrics: Metrics, health: Health) -> None:
        """Listen on the address; requests are answered once it is entered.

        Args:
            host: Address; 127.0.0.1 is for this machine alone.
            port: Port; 0 takes a free one.
            metrics: What `/metrics` serves.
            health: What `/healthz` answers.

        Raises:
            SettingsError: The port is taken, or the address is not one of this machine.
        """
        try:
            self._server = _Server(host, port, metrics, health)
        except OSError as error:
            raise SettingsError(
                f"cannot serve metrics on {host}:{port}: {error.strerror or error}; each service of a machine needs its own "
                "DIFFERLINE_METRICS_PORT, and 0 serves none"
            ) from error
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(_STOP_LOOK_S,), name="monitoring", daemon=True
        )

    def __enter__(self) -> "MonitoringServer":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@contextmanager
def monitored(settings: Settings, metrics: Metrics, health: Health) -> Iterator[None]:
    """Serve `/metrics` and `/healthz` while the block runs; nothing where the setting `metrics_port` is 0.

    Raises:
        SettingsError: The port is taken.
    """
    if not settings.metrics_port:
        yield
        return
    with MonitoringServer(settings.metrics_host, settings.metrics_port, metrics, health):
        yield


class _Server(ThreadingHTTPServer):
    """One thread a request, so that a scrape that hangs keeps no probe waiting; none of them outlives the program."""

    block_on_close = False

    def __init__(self, host: str, port: int, metrics: Metrics, health: Health) -> None:
        self._metrics = metrics
        self._health = health
        self._healthy = next(metric for metric in HEALTHY if metric.service is metrics.service)
        super().__init__((host, port), _Handler)

    def server_bind(self) -> None:
        """Bind without asking the network for this machine's name, which may take seconds."""
        socketserver.TCPServer.server_bind(self)

    def answer(self, path: str) -> tuple[HTTPStatus, str, bytes]:
        """Return status, content type and body."""
        if path == "/metrics":
            self._metrics.show(self._healthy, 0.0 if self._health() else 1.0)
            return HTTPStatus.OK, CONTENT_TYPE_LATEST, generate_latest(self._metrics.registry)
        if path == "/healthz":
            reason = self._health()
            status = HTTPStatus.SERVICE_UNAVAILABLE if reason else HTTPStatus.OK
            return status, _TEXT, f"{reason or 'fresh'}\n".encode()
        return HTTPStatus.NOT_FOUND, _TEXT, b"here are /metrics and /healthz\n"


class _Handler(BaseHTTPRequestHandler):
    timeout = _CLIENT_TIMEOUT_S  # a client that says nothing holds a thread no longer
    server_version = "differline"
    sys_version = ""

    def do_GET(self) -> None:
        assert isinstance(self.server, _Server)  # noqa: S101 - nobody else makes a handler
        status, content_type, body = self.server.answer(self.path.partition("?")[0])
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the signature is the library's
        """Say nothing: a probe every few seconds is no event."""
