"""The standing as a message, for peers that take events: Kafka and the webhook; JSON by `schemas/standing.v1.json`.

Each one is whole, so a peer that missed some knows everything from the next: a camera that is not named in it is in time. It
goes out when a camera changes, and again and again as the heartbeat: a peer that has heard none for three times that long takes
every camera for NO_VERDICT, for then it is the relay that has stopped.
"""

import json
import time
from collections.abc import Callable
from importlib.resources import files
from typing import Any, cast

from infra.frames import SPEC_VERSION, new_id
from infra.outputs.sink import Standing
from infra.verdict_message import rfc3339

STANDING_TYPE = "differline.standing.v1"
SCHEMA_ID = "urn:differline:schema:standing.v1"
_State = tuple[bool, frozenset[tuple[str, str | None]]]


class Announcer:
    """Knows what a peer was told last, and when it is to be told again."""

    def __init__(self, every_s: float, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Begin with nothing told.

        Args:
            every_s: How often the standing is told where it does not change, in seconds.
            monotonic: A clock that only grows, in seconds.
        """
        self._every_s = every_s
        self._monotonic = monotonic
        self._told: _State | None = None
        self._due_at = 0.0

    def due(self, standing: Standing) -> bool:
        """Return whether the peer is to be told."""
        return _state(standing) != self._told or self._monotonic() >= self._due_at

    def told(self, standing: Standing) -> None:
        """Note that the peer has acknowledged it."""
        self._told = _state(standing)
        self._due_at = self._monotonic() + self._every_s


def standing_schema() -> dict[str, Any]:
    """Return the published JSON Schema of a standing."""
    text = files("infra").joinpath("schemas", "standing.v1.json").read_text(encoding="utf-8")
    return cast("dict[str, Any]", json.loads(text))


def standing_attributes(standing: Standing) -> dict[str, str]:
    """Return the attributes of the CloudEvent, without those of its encoding; the id is a new one each time."""
    return {
        "specversion": SPEC_VERSION,
        "type": STANDING_TYPE,
        "id": new_id(),
        "source": "/relay",
        "time": rfc3339(standing.at),
        "dataschema": SCHEMA_ID,
    }


def standing_json(standing: Standing) -> dict[str, object]:
    """Return the body; its schema says what each name means."""
    return {
        "alive": standing.alive,
        "time": rfc3339(standing.at),
        "inTime": standing.in_time,
        "cameras": len(standing.cameras),
        "notInTime": [
            {
                "camera": each.camera,
                "state": "NO_VERDICT",
                "reason": each.reason,
                "lastResultId": each.last_result_id,
                "lastTime": None if each.last_at is None else rfc3339(each.last_at),
            }
            for each in standing.cameras.values()
            if not each.in_time
        ],
    }


def _state(standing: Standing) -> _State:
    wrong = frozenset((each.camera, each.reason) for each in standing.cameras.values() if not each.in_time)
    return standing.in_time, wrong
