"""The relay: publishes what waits in the outbox, at least once, in the order of each camera.

A row is taken out after the broker's acknowledgement. When a message does not go out, the later ones of the same camera
wait for it; so whatever is published twice, after a kill or by two relays at a change of turn, the first appearances of a
camera's verdicts are always in order.
"""

import threading
import time
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import sqlalchemy as sa
from structlog.typing import FilteringBoundLogger
from tenacity import (
    RetryCallState,
    RetryError,
    Retrying,
    retry_if_exception_type,
    sleep_using_event,
    stop_when_event_set,
    wait_random_exponential,
)

from infra.archive import Archive
from infra.bus.protocol import Producer
from infra.clock import utc_now
from infra.dead_letters import Message, dead_letter_message
from infra.errors import TransientError
from infra.relay_watch import RelayWatch
from infra.store.outbox import DeadLetter, OutboxKey, OutboxRow, OutboxTurn, backlog, outbox_turn
from infra.verdict_message import verdict_message

_PAGE = 500
_LOOK_S = 0.2
_STANDBY_S = 1.0
_SEND_TIMEOUT_S = 10.0
_LONGEST_PAUSE_S = 5.0
_REPORT_S = 30.0
_LATE_S = 60.0
_LATE_ADVICE = "if messages go out at all, look for a writing transaction that stays open in PostgreSQL"


@dataclass(frozen=True, slots=True)
class Topics:
    """Where messages go.

    Attributes:
        verdicts: Topic of the verdicts.
        dead_letters: Topic of the dead letters.
        largest_body: Most bytes of a dead letter's body that the topic takes; a larger one stays in the archive.
    """

    verdicts: str
    dead_letters: str
    largest_body: int


@dataclass
class Relay:
    """Publishes the outbox; any number may run, one works at a time and the others stand by.

    Attributes:
        database: Where the outbox is.
        producers: A camera keeps one of them, so they may send at the same time.
        archive: Where the bodies of dead letters are.
        topics: Where messages go.
        log: Where events go.
        watch: Told what is done; metrics and health come from it. One that nobody looks at when left out.
        stop: Set it, and the relay ends after the messages in hand.
        published: Messages that were acknowledged since the start.
    """

    database: sa.Engine
    producers: Sequence[Producer]
    archive: Archive
    topics: Topics
    log: FilteringBoundLogger
    watch: RelayWatch = field(default_factory=lambda: RelayWatch(_LATE_S))
    stop: threading.Event = field(default_factory=threading.Event)
    published: int = 0
    _idle_since: float = 0.0
    _next_report: float = 0.0
    _standing_by: bool = False

    def run(self, until_idle_s: float | None = None) -> int:
        """Publish until stopped, or until nothing has waited for `until_idle_s` seconds; return how many messages."""
        self._idle_since = time.monotonic()
        retry = Retrying(
            retry=retry_if_exception_type(TransientError),
            wait=wait_random_exponential(multiplier=0.2, max=_LONGEST_PAUSE_S),
            stop=stop_when_event_set(self.stop),
            sleep=sleep_using_event(self.stop),
            before_sleep=self._tell,
        )
        with ThreadPoolExecutor(len(self.producers), thread_name_prefix="relay") as pool:
            busy = True
            while busy and not self.stop.is_set():
                try:
                    busy = retry(self._take_turn, pool, until_idle_s)
                except RetryError:
                    break  # told to stop while a server was away
        return self.published

    def _take_turn(self, pool: ThreadPoolExecutor, until_idle_s: float | None) -> bool:
        """Publish while it is our turn; False once nothing has waited for long enough to end."""
        with outbox_turn(self.database) as turn:
            if turn is None:
                return self._stand_by(until_idle_s)
            self._standing_by = False
            while not self.stop.is_set():
                self._report()
                if rows := turn.take(_PAGE):
                    self._publish(pool, turn, rows)
                    self._idle_since = time.monotonic()
                elif self._idle_for(until_idle_s):
                    return False
                else:
                    self.stop.wait(_LOOK_S)
        return True

    def _publish(self, pool: ThreadPoolExecutor, turn: OutboxTurn, rows: list[OutboxRow]) -> None:
        """Send a page; what was acknowledged is taken out, also when another message was not."""
        lanes: list[list[OutboxRow]] = [[] for _ in self.producers]
        for row in rows:
            lanes[zlib.crc32(row.camera.encode()) % len(lanes)].append(row)
        sent = list(pool.map(self._send_lane, self.producers, lanes))
        done = [key for keys, _ in sent for key in keys]
        turn.remove(done)
        self.published += len(done)
        self.watch.published(len(done))
        for _, error in sent:
            if error is not None:
                raise error

    def _send_lane(self, producer: Producer, rows: list[OutboxRow]) -> tuple[list[OutboxKey], TransientError | None]:
        """Send one after the other and end at the first that does not go out, for the next may be of the same camera."""
        sent: list[OutboxKey] = []
        for row in rows:
            if self.stop.is_set():
                break
            try:
                if (message := self._message(row)) is not None:
                    producer.send(message.topic, message.key, message.headers, message.value, _SEND_TIMEOUT_S)
            except TransientError as error:
                return sent, error
            sent.append(row.key)
        return sent, None

    def _message(self, row: OutboxRow) -> Message | None:
        if isinstance(row.content, DeadLetter):
            return dead_letter_message(row.content, self.topics.dead_letters, self._body(row.content))
        if row.content is None:  # nobody deletes results that young; if somebody did, there is nothing left to send
            self.log.error("outbox.result_gone", txid=row.key.txid, id=row.key.id)
            return None
        return verdict_message(row.content, self.topics.verdicts)

    def _body(self, letter: DeadLetter) -> bytes | None:
        """Return the original body; None where it is too large for the topic, or the archive no longer has it."""
        if letter.body_ref is None:
            return b""
        try:
            body = self.archive.read(letter.body_ref)
        except FileNotFoundError as error:
            self.archive.check_present()
            self.log.warning("outbox.body_gone", frame_id=letter.frame_id, reason=str(error))
            return None
        return body if len(body) <= self.topics.largest_body else None

    def _stand_by(self, until_idle_s: float | None) -> bool:
        if not self._standing_by:
            self._standing_by = True
            self.log.info("relay.standing_by", reason="another relay has the turn")
        self.watch.standing_by()
        self.stop.wait(_STANDBY_S)
        return not self._idle_for(until_idle_s)

    def _tell(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        self.log.warning("server.away", during="relay", attempt=state.attempt_number, error=str(error))
        self.watch.server_away(error)

    def _report(self) -> None:
        if time.monotonic() < self._next_report:
            return
        self._next_report = time.monotonic() + _REPORT_S
        waiting = backlog(self.database)
        self.watch.looked(waiting)
        self.log.info("relay.published", messages=self.published, waiting=waiting.rows)
        if waiting.oldest_at is not None and (age_s := (utc_now() - waiting.oldest_at).total_seconds()) > _LATE_S:
            self.log.warning("relay.late", waiting=waiting.rows, oldest_s=round(age_s), advice=_LATE_ADVICE)

    def _idle_for(self, seconds: float | None) -> bool:
        return seconds is not None and time.monotonic() - self._idle_since >= seconds
