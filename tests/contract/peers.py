"""Peers of the outputs, as the contract sees them: real servers on loopback, that go away and come back at the same address.

Another one joins by a class like `WebhookPeer` and its name in `EVERY_PEER` of test_sinks.py.
"""

import asyncio
import json
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from asyncua import Client, ua

from infra.bus.kafka import KafkaBusConsumer
from infra.settings import Settings

from ..kafka_server import KafkaServer, on_kafka
from ..mosquitto import Listener, Mosquitto
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


@dataclass
class MqttPeer:
    """An MES that listens at a broker, with a session that the broker keeps while either of them is away."""

    broker: Mosquitto
    output: Path
    _listener: Listener | None = None
    _up: bool = False

    def settings(self, of: Settings) -> Settings:
        self.come_back()
        self._listener = Listener(self.broker, self.output, topics="differline/verdicts/#")
        self._listener.wait_until_there()
        return Settings(
            data_dir=of.data_dir,
            database_url=of.database_url,
            redis_url=of.redis_url,
            mqtt_host="127.0.0.1",
            mqtt_port=self.broker.port,
        )

    def go_away(self) -> None:
        """In order: Mosquitto acknowledges what it has in memory alone, and a kill would lose that."""
        self.broker.stop()
        self._up = False

    def come_back(self) -> None:
        if not self._up:
            self.broker.start()
        self._up = True

    def got(self) -> list[Got]:
        assert self._listener is not None
        found: list[Got] = []
        quiet_since = time.monotonic()
        while time.monotonic() - quiet_since < 2.0:
            messages = self._listener.messages("differline/verdicts/")
            if len(messages) - 1 > len(found):
                quiet_since = time.monotonic()
            found = [Got(each["body"]["camera"], each["body"]["resultId"]) for each in messages if each["body"]]
            time.sleep(0.1)
        return found

    def close(self) -> None:
        if self._listener is not None:
            self._listener.close()
        self.broker.stop(signal.SIGKILL)


@dataclass
class OpcUaPeer:
    """An MES that is subscribed to the results' events, and asks for those it missed whenever it is connected again."""

    port: int = field(default_factory=free_port)
    _taken: list[Got] = field(default_factory=list)
    _seen: dict[str, str] = field(default_factory=dict)
    _here: threading.Event = field(default_factory=threading.Event)
    _closed: bool = False
    _thread: threading.Thread | None = None

    def settings(self, of: Settings) -> Settings:
        self._thread = threading.Thread(target=lambda: asyncio.run(self._listen()), daemon=True)
        self._thread.start()
        return Settings(
            data_dir=of.data_dir,
            database_url=of.database_url,
            redis_url=of.redis_url,
            opcua_port=self.port,
            opcua_events="wait",
        )

    def go_away(self) -> None:
        self._here.clear()

    def come_back(self) -> None:
        self._here.set()

    def got(self) -> list[Got]:
        return list(self._taken)

    def close(self) -> None:
        self._closed = True
        self._here.set()
        if self._thread is not None:
            self._thread.join(20)
            assert not self._thread.is_alive()

    async def _listen(self) -> None:
        while not self._closed:
            if self._here.is_set():
                with suppress(OSError, TimeoutError, ua.UaError):  # the relay is killed now and then
                    await self._connected()
            await asyncio.sleep(0.1)

    async def _connected(self) -> None:
        async with Client(f"opc.tcp://127.0.0.1:{self.port}/differline/", timeout=2) as client:
            collecting = _Collecting()
            kind = await client.nodes.base_event_type.get_child(["2:ResultReadyEventType"])
            subscription = await client.create_subscription(10, collecting)
            await subscription.subscribe_events(client.nodes.server, kind)
            management = client.get_node("ns=2;s=ResultManagement")
            for camera, known in self._seen.items():
                for text in await management.call_method("2:GetResultsAfter", camera, known) or ():
                    self._take(camera, json.loads(text)["resultId"])
            while self._here.is_set() and not self._closed:
                while collecting.waiting:
                    self._take(*collecting.waiting.pop(0))
                await client.check_connection()
                await asyncio.sleep(0.02)
            client.disconnect_socket()  # as when it is killed: no goodbye

    def _take(self, camera: str, result_id: str) -> None:
        self._seen[camera] = result_id
        self._taken.append(Got(camera, result_id))


class _Collecting:
    def __init__(self) -> None:
        self.waiting: list[tuple[str, str]] = []

    def event_notification(self, event: Any) -> None:
        self.waiting.append((event.Camera, event.ResultId))
