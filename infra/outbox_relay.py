"""The relay: publishes what waits in the outbox, at least once, in the order of each camera.

Messages of different cameras go out at the same time; one of a camera goes out when the one before it was acknowledged, and a
row is taken out after that. So whatever is published twice, after a kill or by two relays at a change of turn, the first
appearances of a camera's verdicts are always in order.
"""

import threading
import time
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
from infra.bus.protocol import Message, Publisher
from infra.clock import utc_now
from infra.dead_letters import dead_letter_message
from infra.errors import ArchiveAwayError, TransientError
from infra.relay_page import Page
from infra.relay_watch import RelayWatch
from infra.store.outbox import DeadLetter, OutboxRow, OutboxTurn, backlog, outbox_turn
from infra.verdict_message import verdict_message

_PAGE = 1000
_WAVE_BYTES = 8 * 2**20  # then a wave is cut, for the bodies of dead letters
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
        publisher: Sends the messages.
        archive: Where the bodies of dead letters are.
        topics: Where messages go.
        log: Where events go.
        watch: Told what is done; metrics and health come from it. One that nobody looks at when left out.
        stop: Set it, and the relay ends after the messages in hand.
        published: Messages that were acknowledged since the start.
    """

    database: sa.Engine
    publisher: Publisher
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
        busy = True
        while busy and not self.stop.is_set():
            try:
                busy = retry(self._take_turn, until_idle_s)
            except RetryError:
                break  # told to stop while a server was away
        return self.published

    def _take_turn(self, until_idle_s: float | None) -> bool:
        """Publish while it is our turn; False once nothing has waited for long enough to end."""
        with outbox_turn(self.database) as turn:
            if turn is None:
                return self._stand_by(until_idle_s)
            self._standing_by = False
            while not self.stop.is_set():
                self._report()
                if rows := turn.take(_PAGE):
                    self._publish(turn, rows)
                    self._idle_since = time.monotonic()
                elif self._idle_for(until_idle_s):
                    return False
                else:
                    self.stop.wait(_LOOK_S)
        return True

    def _publish(self, turn: OutboxTurn, rows: list[OutboxRow]) -> None:
        """Send a page; what was acknowledged is taken out, also when another message was not."""
        page = Page(rows)
        while (heads := page.heads()) and not self.stop.is_set():
            wave = self._wave(page, heads)
            answers = self.publisher.publish([message for _, message in wave], _SEND_TIMEOUT_S)
            for (row, _), answer in zip(wave, answers, strict=True):
                page.settle(row, answer)
            if any(answers):
                break  # the broker is away: the rest of the page would wait as long, wave by wave
        turn.remove(page.sent)
        self.published += len(page.sent)
        self.watch.published(len(page.sent))
        if page.error is not None:
            raise page.error

    def _wave(self, page: Page, heads: list[OutboxRow]) -> list[tuple[OutboxRow, Message]]:
        wave: list[tuple[OutboxRow, Message]] = []
        size = 0
        for row in heads:
            try:
                message = self._message(row)
            except ArchiveAwayError as error:  # holds up this camera's dead letters, and nothing else
                page.settle(row, error)
                continue
            if message is None:
                page.settle(row, None)
                continue
            wave.append((row, message))
            size += len(message.value)
            if size >= _WAVE_BYTES:
                break
        return wave

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
