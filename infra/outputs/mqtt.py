"""Verdicts by MQTT 5, for a PLC, an MES or a gateway.

PREFIX/verdicts/CAMERA   each verdict, QoS 1, JSON by `schemas/verdict.v1.json`; CloudEvents 1.0 as user properties, the result
                         id as `id` and as correlation data: the same whenever it is published again
PREFIX/state/CAMERA      with each beat: the camera's last verdict, and NO_VERDICT when verdicts come late; retained, and
                         forgotten by the broker after a few seconds
PREFIX/heartbeat         with each beat: a counter, and whether the verdicts of all cameras arrive in time
PREFIX/status            ONLINE; OFFLINE once our connection has ended, as our last will; retained

CAMERA is the camera's name; in it `/`, `+`, `#`, `%` and what cannot be printed are percent-encoded.
"""

import json
from collections.abc import Sequence

from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from infra.errors import PeerAwayError, TransientError
from infra.outputs.camera_level import camera_level
from infra.outputs.mqtt_broker import Broker
from infra.outputs.mqtt_link import MqttLink, Packet
from infra.outputs.sink import CameraStanding, NotTried, Refused, Standing
from infra.settings import Settings
from infra.store.outbox import OutboxKind, OutboxRow, PublishedVerdict
from infra.verdict_message import rfc3339, verdict_message

_STATE_EXPIRES_S = 5
_LONGEST_TOPIC = 65_535
_CLOUD_EVENT = "ce_"
# What the broker says of the message itself; whatever else it says may be otherwise later, and is waited out.
_NEVER = {0x90: "topic name invalid", 0x95: "packet too large", 0x99: "payload format invalid"}


class MqttSink:
    """Publishes verdicts; acknowledged is what the broker has sent a PUBACK for."""

    name = "mqtt"
    kinds = frozenset({OutboxKind.VERDICT})

    def __init__(self, broker: Broker, prefix: str) -> None:
        """Prepare; nothing is connected before the first delivery or beat.

        Args:
            broker: Where.
            prefix: First level or levels of every topic.

        Raises:
            SettingsError: A certificate or key cannot be read.
        """
        self._prefix = prefix
        status = f"{prefix}/status"
        self._link = MqttLink(
            broker,
            greeting=Packet(status, _json({"state": "ONLINE"}), _properties(), retain=True),
            will=Packet(status, _json({"state": "OFFLINE"}), _properties(PacketTypes.WILLMESSAGE), retain=True),
        )

    def deliver(self, rows: Sequence[OutboxRow], timeout_s: float) -> list[TransientError | Refused | None]:
        """See `infra.outputs.sink.Sink`."""
        self._link.open()
        if not self._link.connected_within(timeout_s):
            return [PeerAwayError(f"MQTT is away: {self._link.why_away}")] * len(rows)
        packets = [self._packet(row) for row in rows]
        answers = iter(self._link.publish([one for one in packets if isinstance(one, Packet)], timeout_s))
        untried = (
            NotTried("no time was left")
            if self._link.connected
            else PeerAwayError(f"MQTT is away: {self._link.why_away}")
        )
        return [self._meant(next(answers, untried)) if isinstance(packet, Packet) else packet for packet in packets]

    def beat(self, standing: Standing) -> None:
        """See `infra.outputs.sink.Sink`."""
        self._link.open()
        beat = {"alive": standing.alive, "at": rfc3339(standing.at), "inTime": standing.in_time}
        self._link.tell(Packet(f"{self._prefix}/heartbeat", _json(beat), _properties()))
        for camera in standing.cameras.values():
            expiring = _properties()
            expiring.MessageExpiryInterval = _STATE_EXPIRES_S
            topic = f"{self._prefix}/state/{camera_level(camera.camera)}"
            self._link.tell(Packet(topic, _json(_state(camera)), expiring, retain=True))

    def close(self) -> None:
        """See `infra.outputs.sink.Sink`."""
        self._link.close()

    def _packet(self, row: OutboxRow) -> Packet | Refused:
        if not isinstance(row.content, PublishedVerdict):
            return Refused("it is no verdict")
        topic = f"{self._prefix}/verdicts/{camera_level(row.camera)}"
        message = verdict_message(row.content, topic)
        properties = _properties()
        properties.CorrelationData = row.content.result_id.encode()
        properties.UserProperty = [
            (name.removeprefix(_CLOUD_EVENT), value.decode())
            for name, value in message.headers
            if name.startswith(_CLOUD_EVENT)
        ]
        packet = Packet(topic, message.value, properties)
        if len(topic.encode()) > _LONGEST_TOPIC:
            return Refused("the camera's name is too long for a topic")
        if self._link.largest is not None and packet.size > self._link.largest:
            return Refused(f"the broker takes no packet of more than {self._link.largest} bytes")
        return packet

    def _meant(self, answer: ReasonCode | TransientError | None) -> TransientError | Refused | None:
        if isinstance(answer, TransientError):
            return answer
        if answer is None:
            return PeerAwayError(f"MQTT: no acknowledgement in time; {self._link.why_away}")
        if not answer.is_failure:
            return None
        if answer.value in _NEVER:
            return Refused(f"the broker says: {answer}")
        return PeerAwayError(f"MQTT: the broker says: {answer}")


def mqtt_sink(settings: Settings) -> MqttSink:
    """Return the sink of the broker that is set.

    Raises:
        SettingsError: A certificate or key cannot be read.
    """
    broker = Broker(
        host=settings.mqtt_host or "",
        port=settings.mqtt_port,
        client_id=settings.mqtt_client_id,
        username=settings.mqtt_username,
        password=settings.mqtt_password,
        tls=settings.mqtt_tls,
        cafile=settings.mqtt_ssl_cafile,
        certfile=settings.mqtt_ssl_certfile,
        keyfile=settings.mqtt_ssl_keyfile,
    )
    return MqttSink(broker, settings.mqtt_prefix)


def _state(camera: CameraStanding) -> dict[str, object]:
    """Never GOOD while verdicts come late or not at all."""
    known = camera.last_state if camera.in_time else None
    return {
        "camera": camera.camera,
        "state": known or "NO_VERDICT",
        "reason": camera.reason,
        "inTime": camera.in_time,
        "resultId": camera.last_result_id,
        "at": None if camera.last_at is None else rfc3339(camera.last_at),
    }


def _properties(packet: int = PacketTypes.PUBLISH) -> Properties:
    properties = Properties(packet)  # type: ignore[no-untyped-call]
    properties.PayloadFormatIndicator = 1  # UTF-8
    properties.ContentType = "application/json"
    return properties


def _json(value: dict[str, object]) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
