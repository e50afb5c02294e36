"""The HTTP server around the app: uvicorn, which a request to stop ends, and which no slow client holds."""

import asyncio
import contextlib
import logging
import socket
import threading
from collections.abc import Iterator
from typing import Any

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from infra.errors import SettingsError

_CONNECTIONS = 512
_LAST_REQUESTS_S = 5
_GRACE_S = 5.0  # beyond what the app allows a body, so that its answer comes first
_BACKLOG = 256


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket; port 0 takes a free one.

    Raises:
        SettingsError: The port is taken, or the address is not one of this machine.
    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise SettingsError(f"cannot listen on {host}:{port}: {error.strerror or error}") from error


def serve(app: ASGIApp, listener: socket.socket, stop: threading.Event, *, read_timeout_s: float) -> None:
    """Serve until `stop` is set; requests that are under way then have a few seconds to end."""
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    config = uvicorn.Config(
        app,
        http=_protocol(read_timeout_s + _GRACE_S),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        limit_concurrency=_CONNECTIONS,
        timeout_graceful_shutdown=_LAST_REQUESTS_S,
    )
    server = _Server(config)
    ended = threading.Event()

    def ask_to_stop() -> None:
        while not ended.is_set():
            if stop.wait(0.5):
                server.should_exit = True
                return

    asking = threading.Thread(target=ask_to_stop, name="stop-http", daemon=True)
    asking.start()
    try:
        server.run(sockets=[listener])
    finally:
        ended.set()
        asking.join()


class _Server(uvicorn.Server):
    """Leaves signals to the command."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _protocol(request_s: float) -> type[H11Protocol]:
    class _Protocol(H11Protocol):
        """Ends a connection on which a request, headers and body, is not whole in time; uvicorn alone would wait for ever."""

        _deadline: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._arm()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self.conn.their_state in (h11.IDLE, h11.SEND_BODY):
                self._arm()
            else:
                self._disarm()

        def connection_lost(self, exc: Exception | None) -> None:
            self._disarm()
            super().connection_lost(exc)

        def _arm(self) -> None:
            if self._deadline is None:
                self._deadline = self.loop.call_later(request_s, self.transport.abort)

        def _disarm(self) -> None:
            if self._deadline is not None:
                self._deadline.cancel()
                self._deadline = None

    return _Protocol
