"""What the relay asks of a peer that wants verdicts; every kind keeps the same contract (tests/contract/test_sinks.py).

A sink never retries and never waits longer than it is told: how long to pause, what to keep and what to put on record is the
relay's. Whatever goes wrong at the peer is an answer, not an exception.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from infra.errors import TransientError
from infra.store.outbox import OutboxKind, OutboxRow


class Refused(Exception):  # noqa: N818 - an answer of the peer that is put on record, not a failure of ours
    """The peer will not take this message, however often it is sent; its text says why, in one line without credentials."""


class NotTried(TransientError):  # noqa: N818 - an answer, as the one above
    """There was no time left to try this message; nothing is known to be wrong, so it goes with the next ones."""


@dataclass(frozen=True, slots=True)
class CameraStanding:
    """Whether the verdicts of a camera arrive in time.

    Attributes:
        camera: Which.
        in_time: Whether they do; a camera that has nothing to say, because it was ended, is in time.
        last_state: GOOD, DEFECT or NO_VERDICT, of its newest verdict; NO_VERDICT while not in time; None before the first.
        last_result_id: Of its newest verdict; None before the first.
        last_at: When that was committed (UTC); None before the first.
        reason: Why it is not in time: `late` or `stopped`; None while it is.
    """

    camera: str
    in_time: bool
    last_state: str | None
    last_result_id: str | None
    last_at: datetime | None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """That we live, and whether verdicts are fresh.

    Attributes:
        alive: A heartbeat counter that grows by one with each beat, from 0 at the start of the relay.
        at: When it was looked at (UTC).
        cameras: By name.
        in_time: Whether the verdicts of all cameras that are expected to deliver do arrive in time.
    """

    alive: int
    at: datetime
    cameras: Mapping[str, CameraStanding]
    in_time: bool


class Sink(Protocol):
    """Where verdicts go: one of Kafka, webhook, MQTT, OPC UA.

    One thread delivers and another one beats, at the same time: a peer that hangs, or a database that does, must not still the
    heart. Nothing is opened before the first delivery or beat, so an absent peer keeps nobody from starting.
    """

    name: str
    """`kafka`, `webhook`, `mqtt` or `opcua`: names its cursor, its metrics and its log lines."""

    kinds: frozenset[OutboxKind]
    """Which rows it wants; others are passed over."""

    def deliver(self, rows: Sequence[OutboxRow], timeout_s: float) -> list[TransientError | Refused | None]:
        """Deliver rows, at most one of each camera and kind, in no order among each other.

        Returns:
            For each row None once the peer has acknowledged it, `Refused` when it never will, and a `TransientError` when it is
            not known to have arrived; it may have. `NotTried`, one of these, lets it go with the next wave, without a pause.
        """

    def beat(self, standing: Standing) -> None:
        """Tell the peer that we live and whether verdicts are fresh.

        Called about once a second, by another thread than `deliver` and while that may run; it returns within a second or so
        and never raises for an absent peer.
        """

    def close(self) -> None:
        """Let go of the connection; nothing is delivered after that."""
