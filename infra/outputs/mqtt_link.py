"""A connection to an MQTT 5 broker that comes back by itself: paho-mqtt's thread connects, pings and reconnects with backoff.

A message that was not acknowledged when the connection ended is forgotten, and never sent again by paho: the relay publishes it
again, and an old copy that came after newer verdicts would take a camera's order away.
"""

import contextlib
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessageInfo, PayloadType
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from infra.outputs.mqtt_broker import Broker, tls_of
from infra.telemetry import get_logger

_KEEPALIVE_S = 5  # the broker gives us up, and sends our last will, after 1.5 times as long
_LONGEST_PAUSE_S = 5
_IN_FLIGHT = 100
_MOST_UNACKNOWLEDGED = 5000
_CONNECT_TIMEOUT_S = 5.0
_GOODBYE_S = 1.0
_DISCONNECT_WITH_WILL = 0x04


@dataclass(frozen=True, slots=True)
class Packet:
    """One message to be published."""

    topic: str
    payload: bytes
    properties: Properties | None = None
    retain: bool = False

    @property
    def size(self) -> int:
        """About how large it is on the wire, in bytes, with its header."""
        properties = len(self.properties.pack()) if self.properties else 1  # type: ignore[no-untyped-call]
        return len(self.payload) + len(self.topic.encode()) + properties + 16


class MqttLink:
    """One client of a broker; any thread may publish."""

    def __init__(self, broker: Broker, greeting: Packet, will: Packet) -> None:
        """Prepare; nothing is connected before `open`.

        Args:
            broker: Where.
            greeting: Published whenever a connection begins.
            will: Published by the broker whenever one ends, in whatever way.

        Raises:
            SettingsError: A certificate or key cannot be read.
        """
        self._broker = broker
        self._greeting = greeting
        self._log = get_logger("mqtt")
        self._changed = threading.Condition()
        self._opening = threading.Lock()
        self._opened = self._closed = False
        self._connected = False
        self._why = f"{broker.host}:{broker.port} does not answer"
        self._answers: dict[int, ReasonCode] = {}  # by packet id, of which there are 65,535
        self._unanswered: set[int] = set()
        self._largest: int | None = None
        self._at_once = _IN_FLIGHT
        self._connections = 0
        self._client = self._make_client(will)

    def _make_client(self, will: Packet) -> Client:
        broker = self._broker
        client = Client(CallbackAPIVersion.VERSION2, client_id=broker.client_id, protocol=MQTTProtocolVersion.MQTTv5)
        client.on_pre_connect = _forget
        client.on_connect = self._on_connect
        client.on_connect_fail = lambda *_: self._lost(_reason(sys.exc_info()[1]))
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        client.on_socket_open = _without_delay
        client.connect_timeout = _CONNECT_TIMEOUT_S
        client.reconnect_delay_set(1, _LONGEST_PAUSE_S)
        client.max_inflight_messages_set(_IN_FLIGHT)
        client.max_queued_messages_set(_MOST_UNACKNOWLEDGED)
        client.will_set(will.topic, will.payload, qos=1, retain=will.retain, properties=will.properties)
        if broker.username is not None:
            client.username_pw_set(broker.username, broker.password.get_secret_value() if broker.password else None)
        if broker.tls:
            client.tls_set_context(tls_of(broker))
        return client

    def open(self) -> None:
        """Begin to connect, where that has not begun; return at once."""
        with self._opening:
            if self._closed:
                return
            if not self._opened:
                self._opened = True
                self._client.connect_async(self._broker.host, self._broker.port, keepalive=_KEEPALIVE_S)
            self._client.loop_start()  # does nothing while its thread lives; one that died of a surprise comes back

    @property
    def why_away(self) -> str:
        """Why there is no connection, or was none when there last was not."""
        return self._why

    @property
    def connected(self) -> bool:
        """Whether there is a connection."""
        return self._connected

    @property
    def largest(self) -> int | None:
        """Largest packet that the broker takes, in bytes; None where it sets no limit."""
        return self._largest

    def connected_within(self, timeout_s: float) -> bool:
        """Wait for a connection; False where there is none in time."""
        with self._changed:
            return self._changed.wait_for(lambda: self._connected, timeout_s)

    def tell(self, packet: Packet) -> None:
        """Publish at most once (QoS 0); without a connection nothing happens."""
        if self._connected:
            self._publish(packet, 0)

    def publish(self, packets: Sequence[Packet], timeout_s: float) -> list[ReasonCode | None]:
        """Publish at least once (QoS 1), as many at a time as the broker takes; one thread at a time.

        Returns:
            What the broker answered to each that was tried, the first ones; None where it did not, in time or at all.
        """
        deadline = time.monotonic() + timeout_s
        with self._changed:
            self._answers.clear()  # of packet ids that are used again
            self._unanswered.clear()
            connection = self._connections
        sent: list[MQTTMessageInfo] = []

        def lost() -> bool:
            return not self._connected or self._connections != connection

        for packet in packets:
            if not self._wait(lambda: lost() or len(self._unanswered) < self._at_once, deadline) or lost():
                break
            sent.append(self._publish(packet, 1))
            with self._changed:
                if sent[-1].rc == MQTTErrorCode.MQTT_ERR_SUCCESS and sent[-1].mid not in self._answers:
                    self._unanswered.add(sent[-1].mid)
        self._wait(lambda: lost() or not self._unanswered, deadline)
        with self._changed:
            return [self._answers.get(info.mid) for info in sent]

    def _wait(self, happens: Callable[[], bool], deadline: float) -> bool:
        with self._changed:
            return self._changed.wait_for(happens, max(0.0, deadline - time.monotonic()))

    def close(self) -> None:
        """Say goodbye, so that the broker sends our last will, and end the thread."""
        with self._opening:
            self._closed = True
            if not self._opened:
                return
        self._client.drop_out_messages()
        self._client.disconnect(reasoncode=ReasonCode(PacketTypes.DISCONNECT, identifier=_DISCONNECT_WITH_WILL))
        with self._changed:
            self._changed.wait_for(lambda: not self._connected, _GOODBYE_S)
        hung = self._client.socket()
        if isinstance(hung, socket.socket):
            with contextlib.suppress(OSError):
                hung.shutdown(socket.SHUT_RDWR)  # else the thread waits until the packets are written
        self._client.loop_stop()

    def _publish(self, packet: Packet, qos: int) -> MQTTMessageInfo:
        payload: PayloadType = packet.payload
        return self._client.publish(packet.topic, payload, qos, packet.retain, packet.properties)

    def _on_connect(
        self, _client: Client, _userdata: object, _flags: ConnectFlags, code: ReasonCode, properties: Properties | None
    ) -> None:
        if code.is_failure:
            self._lost(f"the broker refuses us: {code}")
            return
        # One less than it allows: our greeting may be under way.
        self._at_once = max(1, min(_IN_FLIGHT, getattr(properties, "ReceiveMaximum", _IN_FLIGHT)) - 1)
        self._largest = getattr(properties, "MaximumPacketSize", None)
        self._publish(self._greeting, 1)
        with self._changed:
            self._connected = True
            self._connections += 1
            self._changed.notify_all()
        self._log.info("mqtt.connected", host=self._broker.host, port=self._broker.port)

    def _on_disconnect(
        self, _client: Client, _userdata: object, _flags: DisconnectFlags, code: ReasonCode, _properties: object
    ) -> None:
        if self._connected:  # else why there was no connection has been told
            self._lost(f"the connection ended: {code}")

    def _lost(self, why: str) -> None:
        where = f"{self._broker.host}:{self._broker.port}"
        text, told = f"{where}: {why}", self._why
        with self._changed:
            self._connected, self._why = False, text
            self._changed.notify_all()
        if text != told:
            self._log.warning("mqtt.away", reason=text)

    def _on_publish(
        self, _client: Client, _userdata: object, mid: int, code: ReasonCode, _properties: Properties
    ) -> None:
        with self._changed:
            self._answers[mid] = code
            self._unanswered.discard(mid)
            self._changed.notify_all()


def _forget(client: Client, _userdata: object) -> None:
    client.drop_out_messages()


def _without_delay(_client: Client, _userdata: object, opened: object) -> None:
    """The kernel would hold a small packet back until the one before it was acknowledged, for 40 ms or so."""
    if isinstance(opened, socket.socket):
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _reason(error: BaseException | None) -> str:
    return " ".join(str(error).split()) if error else "no connection"
