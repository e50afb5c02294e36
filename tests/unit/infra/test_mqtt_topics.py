import json

import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.reasoncodes import ReasonCode

from infra.errors import TransientError
from infra.outputs import mqtt
from infra.outputs.camera_level import camera_level
from infra.outputs.mqtt_broker import Broker
from infra.outputs.sink import CameraStanding, Refused

from ...verdicts_out import NOON, in_time, stopped


@pytest.mark.parametrize(
    ("camera", "level"),
    [
        ("cam 1", "cam 1"),
        ("Straße", "Straße"),
        ("a/b", "a%2Fb"),
        ("+", "%2B"),
        ("#", "%23"),
        ("%2F", "%252F"),
        ("a\n", "a%0A"),
    ],
)
def test_a_camera_is_one_level_of_a_topic(camera: str, level: str) -> None:
    assert camera_level(camera) == level


def test_a_state_is_never_good_while_verdicts_are_late() -> None:
    assert mqtt._state(in_time("cam"))["state"] == "GOOD"
    assert mqtt._state(stopped("cam"))["state"] == "NO_VERDICT"
    assert mqtt._state(CameraStanding("cam", False, "GOOD", "id", NOON))["state"] == "NO_VERDICT"
    assert mqtt._state(CameraStanding("cam", True, None, None, None))["state"] == "NO_VERDICT"
    assert json.loads(mqtt._json(mqtt._state(in_time("cam"))))["at"] == "2026-03-03T12:00:00.000000Z"


@pytest.mark.parametrize(
    ("code", "meaning"),
    [
        (0x00, type(None)),
        (0x10, type(None)),  # no subscribers: the broker has it all the same
        (0x80, TransientError),  # unspecified
        (0x87, TransientError),  # not authorized
        (0x97, TransientError),  # quota exceeded
        (0x90, Refused),  # topic name invalid
        (0x99, Refused),  # payload format invalid
    ],
)
def test_what_a_broker_says_of_us_is_waited_out_and_what_it_says_of_a_message_counts(code: int, meaning: type) -> None:
    sink = mqtt.MqttSink(Broker("127.0.0.1", 1883, "line"), "differline")
    assert isinstance(sink._meant(ReasonCode(PacketTypes.PUBACK, identifier=code)), meaning)
