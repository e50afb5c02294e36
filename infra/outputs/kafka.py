"""Kafka as an output: verdicts and dead letters on their topics, and the standing of the cameras on one of its own."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from infra.archive import Archive
from infra.bus.protocol import Message, Publisher
from infra.dead_letters import dead_letter_message
from infra.errors import ArchiveAwayError, TransientError
from infra.outputs.announcing import Announcer, standing_attributes, standing_json
from infra.outputs.sink import Refused, Standing
from infra.store.outbox import DeadLetter, OutboxKind, OutboxRow
from infra.telemetry import get_logger
from infra.verdict_message import verdict_message

_WAVE_BYTES = 8 * 2**20  # then a wave is cut, for the bodies of dead letters
_BEAT_TIMEOUT_S = 1.0
_KEY = b"standing"  # one partition, so that they stay in order

_log = get_logger("relay")


@dataclass(frozen=True, slots=True)
class Topics:
    """Where messages go.

    Attributes:
        verdicts: Topic of the verdicts.
        dead_letters: Topic of the dead letters.
        largest_body: Most bytes of a dead letter's body that the topic takes; a larger one stays in the archive.
        standing: Topic of the standing.
    """

    verdicts: str
    dead_letters: str
    largest_body: int
    standing: str = "standing"


class KafkaSink:
    """Publishes on Kafka; see `infra.outputs.sink.Sink`. Nothing is refused: what Kafka does not take is waited out."""

    name = "kafka"
    kinds = frozenset(OutboxKind)

    def __init__(
        self, publisher: Publisher, beats: Publisher, archive: Archive, topics: Topics, every_s: float
    ) -> None:
        """Prepare a sink.

        Args:
            publisher: Sends verdicts and dead letters.
            beats: Sends the standing, from another thread.
            archive: Where the bodies of dead letters are.
            topics: Where messages go.
            every_s: How often the standing is told where it does not change, in seconds.
        """
        self._publisher = publisher
        self._beats = beats
        self._archive = archive
        self._topics = topics
        self._announcer = Announcer(every_s)
        self._told_away = False

    def deliver(self, rows: Sequence[OutboxRow], timeout_s: float) -> list[TransientError | Refused | None]:
        """Publish rows, as many at the same time as fit into memory."""
        answers: list[TransientError | Refused | None] = [None] * len(rows)
        wave: list[tuple[int, Message]] = []
        size = 0
        for place, row in enumerate(rows):
            try:
                message = self._message(row)
            except ArchiveAwayError as error:  # holds up this camera's dead letters, and nothing else
                answers[place] = error
                continue
            wave.append((place, message))
            size += len(message.value)
            if size >= _WAVE_BYTES or place == len(rows) - 1:
                self._publish(wave, answers, timeout_s)
                wave, size = [], 0
        self._publish(wave, answers, timeout_s)
        return answers

    def beat(self, standing: Standing) -> None:
        """Publish the standing where it is due."""
        if not self._announcer.due(standing):
            return
        headers = {f"ce_{name}": text for name, text in standing_attributes(standing).items()}
        headers["content-type"] = "application/json"
        packed = tuple((name, text.encode()) for name, text in headers.items())
        body = json.dumps(standing_json(standing), ensure_ascii=False).encode()
        message = Message(self._topics.standing, _KEY, packed, body)
        (error,) = self._beats.publish([message], _BEAT_TIMEOUT_S)
        if error is None:
            self._announcer.told(standing)
        elif not self._told_away:
            _log.warning("standing.not_told", sink=self.name, topic=self._topics.standing, error=str(error))
        self._told_away = error is not None

    def close(self) -> None:
        """Let go of the connections."""
        self._publisher.close()
        self._beats.close()

    def _publish(
        self, wave: list[tuple[int, Message]], answers: list[TransientError | Refused | None], timeout_s: float
    ) -> None:
        if wave:
            sent = self._publisher.publish([message for _, message in wave], timeout_s)
            for (place, _), answer in zip(wave, sent, strict=True):
                answers[place] = answer

    def _message(self, row: OutboxRow) -> Message:
        if isinstance(row.content, DeadLetter):
            return dead_letter_message(row.content, self._topics.dead_letters, self._body(row.content))
        assert row.content is not None  # noqa: S101 - the outlet passes such rows over
        return verdict_message(row.content, self._topics.verdicts)

    def _body(self, letter: DeadLetter) -> bytes | None:
        """Return the original body; None where it is too large for the topic, or the archive no longer has it."""
        if letter.body_ref is None:
            return b""
        try:
            body = self._archive.read(letter.body_ref)
        except FileNotFoundError as error:
            self._archive.check_present()
            _log.warning("outbox.body_gone", frame_id=letter.frame_id, reason=str(error))
            return None
        return body if len(body) <= self._topics.largest_body else None
