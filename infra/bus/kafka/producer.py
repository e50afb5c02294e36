"""Sending to Kafka."""

import threading
import time
from contextlib import suppress
from typing import Any

from kafka import KafkaProducer
from kafka.errors import KafkaError, KafkaTimeoutError

from infra.bus.kafka.connection import (
    bus_errors,
    connection_options,
    largest_message,
    open_client,
    require_fast_checksums,
)
from infra.errors import BusAwayError
from infra.frames import Header
from infra.settings import Settings
from infra.telemetry import get_logger

_DELIVERY_S = 10.0  # then a message that no broker acknowledged is given up, and tried again from above
_METADATA_S = 1.0
_UNANSWERED_KEPT = 16

_log = get_logger("bus")
_Message = tuple[str, bytes, tuple[Header, ...], bytes]


def producer_options(settings: Settings) -> dict[str, Any]:
    """Return the options of our producers.

    Raises:
        EngineError: Checksums would be computed in Python.
        SettingsError: The security settings contradict each other.
    """
    require_fast_checksums()
    return {
        **connection_options(settings),
        "acks": "all",
        "enable_idempotence": True,
        "compression_type": None,  # a JPEG does not get smaller
        "max_request_size": largest_message(settings),
        "max_block_ms": int(_METADATA_S * 1000),
        "request_timeout_ms": int(_DELIVERY_S * 1000) - 1000,
        "delivery_timeout_ms": int(_DELIVERY_S * 1000),
        "allow_auto_create_topics": False,
        "metrics_enabled": False,
    }


def close_producer(client: Any, timeout_s: float) -> None:
    """Close a client of kafka-python, which gives up what is not acknowledged within `timeout_s`."""
    try:
        client.close(timeout=timeout_s)
    except KafkaError as error:
        _log.warning("bus.messages_given_up", reason=str(error))
        # kafka-python ends its own close here and would leave its thread behind, still trying
        client._sender.force_close()
        client._sender.join(_METADATA_S)
        with suppress(KafkaError):
            client.close(timeout=0)


class KafkaBusProducer:
    """Sends to Kafka; see `infra.bus.protocol.Producer`. Connects with the first message."""

    def __init__(self, settings: Settings) -> None:
        """Prepare a producer.

        Raises:
            EngineError: Checksums would be computed in Python.
            SettingsError: The security settings contradict each other.
        """
        self._options = producer_options(settings)
        self._client: Any = None
        self._opening = threading.Lock()
        # Sends that were given up without an answer. The client still tries them for a while: the same message sent
        # again waits for that attempt instead of becoming a second message, and memory stays bounded in an outage.
        self._unanswered: dict[_Message, Any] = {}

    def send(self, topic: str, key: bytes, headers: tuple[Header, ...], value: bytes, timeout_s: float) -> None:
        """Send one message and wait for the acknowledgement of all replicas in sync, at most `timeout_s`."""
        deadline = time.monotonic() + timeout_s
        message = (topic, key, headers, value)
        with bus_errors(f"send to {topic}"):
            while not self._acknowledged(message, deadline):
                pass  # the client gave the message up; there is time left to try again

    def _acknowledged(self, message: _Message, deadline: float) -> bool:
        waiting = self._still_trying(message) or self._enqueue(message, deadline)
        try:
            waiting.get(timeout=max(0.0, deadline - time.monotonic()))
        except KafkaError as error:
            if waiting.is_done:
                self._begin_anew()
            else:
                self._remember(message, waiting)
            if not error.retriable or time.monotonic() >= deadline:
                raise
            return False
        return True

    def close(self) -> None:
        """Wait a little for what is under way and let go of the connections."""
        self._close_client(_DELIVERY_S + 1)  # no longer than until the last message is given up

    def _close_client(self, timeout_s: float) -> None:
        with self._opening:
            client, self._client = self._client, None
        if client is not None:
            close_producer(client, timeout_s)

    def _still_trying(self, message: _Message) -> Any:
        if any(waiting.failed() for waiting in self._unanswered.values()):
            self._begin_anew()
        return self._unanswered.pop(message, None)

    def _begin_anew(self) -> None:
        """Throw the client away after a message that failed for good, with whatever else it was trying.

        kafka-python 3.0.12 sends nothing more once it has given up a message that was under way: it forgets its producer id,
        and asks for one only as long as it never had one.
        """
        self._unanswered.clear()
        self._close_client(0)

    def _remember(self, message: _Message, waiting: Any) -> None:
        self._unanswered[message] = waiting
        while len(self._unanswered) > _UNANSWERED_KEPT:
            self._unanswered.pop(next(iter(self._unanswered)))

    def _enqueue(self, message: _Message, deadline: float) -> Any:
        topic, key, headers, value = message
        while True:
            try:
                client = self._open(max(0.1, deadline - time.monotonic()))
                return client.send(topic, value=value, key=key, headers=list(headers))
            except KafkaTimeoutError as error:
                if time.monotonic() >= deadline:
                    raise BusAwayError(
                        f"no broker leads the topic {topic}; `differline topics` makes it: {error}"
                    ) from error

    def _open(self, timeout_s: float) -> Any:
        with self._opening:
            if self._client is None:
                self._client = open_client(KafkaProducer, self._options, timeout_s)
            return self._client
