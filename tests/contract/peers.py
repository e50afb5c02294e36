"""Peers of the outputs, as the contract sees them: real servers on loopback, that go away and come back at the same address.

Another one joins by a class like `WebhookPeer` and its name in `EVERY_PEER` of test_sinks.py.
"""

import json
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, Protocol

from infra.bus.kafka import KafkaBusConsumer
from infra.settings import Settings

from ..kafka_server import KafkaServer, on_kafka
from ..servers import free_port

WEBHOOK_SECRET = "whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


class Got(NamedTuple):
    """One delivery: its idempotency key is the result id."""

    camera: str
    result_id: str


class Peer(Protocol):
    """The other side of an output."""

    def settings(self, of: Settings) -> Settings:
        """Return settings of a line with this output, and no other one, turned on; servers that it needs run."""

    def go_away(self) -> None:
        """Be gone, as after kill -9."""

    def come_back(self) -> None:
        """Answer at the same address."""

    def got(self) -> list[Got]:
        """Return every delivery that was acknowledged, doubles too, in the order in which those of a camera arrived."""

    def close(self) -> None:
        """Stop for good."""


@dataclass
class Request:
    """What was posted."""

    at: float
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def event(self) -> dict[str, object]:
        event: dict[str, object] = json.loads(self.body)
        return event


Answer = Callable[["_Handler", Request], int | None]
"""What the peer does with a request: returns the status; None: it has dealt with the connection itself."""


@dataclass
class WebhookPeer:
    """An HTTP server; `answer` says what it does with each request, 204 where it is left as it is."""

    answer: Answer = lambda _handler, _request: 204
    port: int = field(default_factory=free_port)
    taken: list[Request] = field(default_factory=list)
    asked: list[Request] = field(default_factory=list)
    _server: "_Server | None" = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    def settings(self, of: Settings) -> Settings:
        return Settings(
            data_dir=of.data_dir,
            database_url=of.database_url,
            redis_url=of.redis_url,
            webhook_url=self.url,
            webhook_secret=WEBHOOK_SECRET,
            webhook_timeout_s=2.0,
        )

    def come_back(self) -> None:
        peer = self

        class Handler(_Handler):
            def handle_request(self, request: Request) -> int | None:
                with peer._lock:
                    peer.asked.append(request)
                status = peer.answer(self, request)
                if status is not None and 200 <= status < 300:
                    with peer._lock:
                        peer.taken.append(request)
                return status

        self._server = _Server(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def go_away(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()
            server.cut_connections()

    def requests(self, kind: str) -> list[Request]:
        with self._lock:
            return [request for request in self.taken if request.event["type"] == kind]

    def got(self) -> list[Got]:
        verdicts = [request.event["data"] for request in self.requests("differline.verdict.v1")]
        return [Got(verdict["camera"], verdict["resultId"]) for verdict in verdicts if isinstance(verdict, dict)]

    def close(self) -> None:
        self.go_away()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    request_queue_size = 64

    def __init__(self, *arguments: Any) -> None:
        self._connections: set[socket.socket] = set()
        super().__init__(*arguments)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def cut_connections(self) -> None:
        """What a process that is killed does to its connections."""
        for connection in list(self._connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), OSError):  # whoever asked has hung up
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 30

    def handle_request(self, request: Request) -> int | None:
        raise NotImplementedError

    def do_POST(self) -> None:
        length = int(self.headers["content-length"])
        body = self.rfile.read(length)
        if len(body) < length:
            return  # cut off in the middle
        headers = {name.lower(): value for name, value in self.headers.items()}
        status = self.handle_request(Request(time.monotonic(), self.path, headers, body))
        if status is None:
            return
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@dataclass
class KafkaPeer:
    """The verdicts topic of a broker that is killed and started again."""

    server: KafkaServer
    _settings: Settings | None = None
    _up: bool = True

    def settings(self, of: Settings) -> Settings:
        self.come_back()
        self._settings = on_kafka(of, self.server, partitions=2)
        return self._settings

    def go_away(self) -> None:
        self.server.kill()
        self._up = False

    def come_back(self) -> None:
        if not self._up:
            self.server.start()
        self._up = True

    def got(self) -> list[Got]:
        assert self._settings is not None
        found: list[Got] = []
        with closing(KafkaBusConsumer(self._settings, self._settings.verdicts_topic, group=None)) as consumer:
            deadline = time.monotonic() + 60
            while len(consumer.assigned()) < self._settings.partitions:
                assert time.monotonic() < deadline
                time.sleep(0.02)
            for partition in consumer.assigned():
                consumer.seek_to_beginning(partition)
            while consumer.waiting(consumer.assigned()):
                assert time.monotonic() < deadline
                records = consumer.poll(1000, 0.2)
                found += [Got((each.key or b"").decode(), dict(each.headers)["ce_id"].decode()) for each in records]
        return found

    def close(self) -> None:
        self.come_back()
