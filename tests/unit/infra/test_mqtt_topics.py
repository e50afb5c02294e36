import json

import pytest

from infra.outputs import mqtt
from infra.outputs.camera_level import camera_level
from infra.outputs.sink import CameraStanding

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
    assert json.loads(mqtt._json(mqtt._state(in_time("cam"))))["at"] == "2026-03-03T12:00:00.000Z"
