"""Sending many messages to Kafka at the same time."""

import time
from collections.abc import Sequence
from typing import Any

from kafka import KafkaProducer

from infra.bus.kafka.connection import bus_errors, open_client
from infra.bus.kafka.producer import close_producer, producer_options
from infra.bus.protocol import Message
from infra.errors import BusAwayError, TransientError
from infra.settings import Settings

_CLOSE_S = 1.0


class KafkaPublisher:
    """Sends to Kafka; see `infra.bus.protocol.Publisher`. Connects with the first message; one thread uses it.

    After a message that was not acknowledged it begins with a new client: kafka-python 3.0.12 sends nothing more once it has
    given up a message that was under way.
    """

    def __init__(self, settings: Settings) -> None:
        """Prepare a publisher.

        Raises:
            EngineError: Checksums would be computed in Python.
            SettingsError: The security settings contradict each other.
        """
        self._options = producer_options(settings)
        self._client: Any = None

    def publish(self, messages: Sequence[Message], timeout_s: float) -> list[TransientError | None]:
        """Send messages; each returns as None once all replicas in sync have it."""
        deadline = time.monotonic() + timeout_s
        waiting: list[Any] = []
        away: TransientError | None = None
        try:
            with bus_errors("publish"):
                client = self._open(timeout_s)
                for message in messages:
                    sending = client.send(message.topic, message.value, key=message.key, headers=list(message.headers))
                    waiting.append(sending)
        except BusAwayError as error:
            away = error  # the later ones would wait as long as this one
        answers = [_answer(each, deadline) for each in waiting] + [away] * (len(messages) - len(waiting))
        if any(answers):
            self._begin_anew()
        return answers

    def close(self) -> None:
        """Let go of the connections; whatever was published is acknowledged or given up already."""
        client, self._client = self._client, None
        if client is not None:
            close_producer(client, _CLOSE_S)

    def _begin_anew(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            close_producer(client, 0)

    def _open(self, timeout_s: float) -> Any:
        if self._client is None:
            self._client = open_client(KafkaProducer, self._options, timeout_s)
        return self._client


def _answer(waiting: Any, deadline: float) -> TransientError | None:
    try:
        with bus_errors("publish"):
            waiting.get(timeout=max(0.0, deadline - time.monotonic()))
    except BusAwayError as error:
        return error
    return None
