"""Delivers what waits in the outbox to one peer, at least once, in the order of each camera.

Messages of different cameras go out at the same time; one of a camera goes out when the one before it was settled, and the
place in the outbox moves on after that. So whatever is delivered twice, after a kill or by two relays at a change of turn, the
first appearances of a camera's verdicts are always in order. A peer that does not answer is tried again and again; a camera
that it does not take holds up no other. What it refuses for ever is put on record and passed: but only so many, for where a
peer refuses everything the address is wrong, more likely than that all messages are bad.
"""

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import sqlalchemy as sa
from structlog.typing import FilteringBoundLogger
from tenacity import RetryCallState, RetryError, Retrying

from infra.clock import utc_now
from infra.errors import DatabaseAwayError, PeerAwayError, TransientError
from infra.outputs.delivered import Delivered
from infra.outputs.sink import NotTried, Refused, Sink
from infra.outputs.watch import OutputWatch
from infra.outputs.window import Window
from infra.stopping import retrying
from infra.store.connect import transaction
from infra.store.outbox import OutboxKey, OutboxKind, OutboxRow
from infra.store.output_cursors import output_turn, subscribe, waiting_for
from infra.store.output_turn import OutputTurn

_PAGE = 1000
_MOST_AHEAD = 10_000  # rows beyond one that the peer does not take, while it takes others
_GIVE_UP_S = 3600.0  # then such a row is put on record, too
_LOOK_S = 0.2
_STANDBY_S = 1.0
_SEND_TIMEOUT_S = 10.0
_LONGEST_PAUSE_S = 5.0
_KEEP_PLACE_S = 0.5  # a relay that is killed delivers again what was acknowledged since
_AGAIN_LOOK_S = 2.0
_REPORT_S = 30.0
_LATE_S = 60.0
_LATE_ADVICE = "if messages go out at all, look for a writing transaction that stays open in PostgreSQL"


@dataclass
class _Lane:
    """Rows of one kind, and what is known of them and not yet in the database."""

    window: Window
    in_a_row: int
    saved: OutboxKey
    saved_at: float = field(default_factory=time.monotonic)
    read_at: float = 0.0
    look_at: float = 0.0
    refused: list[tuple[OutboxRow, str]] = field(default_factory=list)
    tried_since: dict[OutboxKey, float] = field(default_factory=dict)

    def to_save(self, now: float) -> bool:
        done = not self.window or now - self.saved_at >= _KEEP_PLACE_S
        return bool(self.refused) or (done and self.window.passed != self.saved)


@dataclass
class Outlet:
    """Works for one sink; any number may run, one of each sink works at a time and the others stand by.

    Attributes:
        database: Where the outbox is.
        sink: Where the messages go.
        together: The kinds that each sink of this relay wants, so that those that begin at the same time do so at one place.
        most_refused: Refusals in a minute, or in a row, that are put on record; then the peer is waited for.
        delivered: What the peer has.
        watch: Told what is done; metrics and health come from it.
        log: Where events go.
        stop: Set it, and the outlet ends after the messages in hand.
        beating: Set while it is for this relay to tell the peer that we live: since it first had the turn, or found the
            database away; not while another relay works.
        settled: Messages that were acknowledged since the start.
    """

    database: sa.Engine
    sink: Sink
    together: Mapping[str, frozenset[OutboxKind]]
    most_refused: int
    delivered: Delivered
    watch: OutputWatch
    log: FilteringBoundLogger
    stop: threading.Event = field(default_factory=threading.Event)
    beating: threading.Event = field(default_factory=threading.Event)
    settled: int = 0
    _lanes: dict[OutboxKind, _Lane] = field(default_factory=dict)
    _took_at: float = 0.0
    _idle_since: float = 0.0
    _next_report: float = 0.0
    _next_again: float = 0.0
    _standing_by: bool = False

    def run(self, until_idle_s: float | None = None) -> int:
        """Deliver until stopped, or until nothing has waited for `until_idle_s` seconds; return how many messages.

        Raises:
            OutputError: The output was forgotten while it was worked for.
        """
        self._idle_since = time.monotonic()
        retry = self._retrying(TransientError)
        busy = True
        while busy and not self.stop.is_set():
            try:
                busy = retry(self._take_turn, until_idle_s)
            except RetryError:
                break  # told to stop while a server was away
        return self.settled

    def _take_turn(self, until_idle_s: float | None) -> bool:
        """Deliver while it is our turn; False once nothing has waited for long enough to end."""
        try:
            subscribe(self.database, self.together)
            with output_turn(self.database, self.sink.name) as turn:
                if turn is None:
                    return self._stand_by(until_idle_s)
                return self._work(turn, until_idle_s)
        except DatabaseAwayError:
            if not self._standing_by:
                self.beating.set()  # who else should tell the peer?
            raise

    def _work(self, turn: OutputTurn, until_idle_s: float | None) -> bool:
        self._standing_by = False
        self.beating.set()
        self._lanes = {kind: _Lane(Window(at.key), at.refused_in_a_row, at.key) for kind, at in turn.cursors().items()}
        retry = self._retrying(PeerAwayError)
        busy = True
        while busy and not self.stop.is_set():
            try:
                if retry(self._step, turn):
                    self._idle_since = time.monotonic()
                elif busy := not self._idle_for(until_idle_s):
                    self.stop.wait(_LOOK_S)
            except RetryError:
                break  # told to stop while the peer was away
        self._save(turn, at_once=True)
        return busy

    def _step(self, turn: OutputTurn) -> bool:
        """Deliver one wave; False where nothing waits.

        Raises:
            PeerAwayError: Nothing was taken; it is to be tried again after a pause.
            DatabaseAwayError: PostgreSQL does not answer; the turn is over.
        """
        self._report(turn)
        self._send_again(turn)
        self._read(turn)
        heads = [(lane, head) for lane in self._lanes.values() for head in lane.window.heads()]
        taken = self._deliver(turn, heads) if heads else 0
        self._save(turn)
        if taken:
            return True
        held = [error for lane in self._lanes.values() if (error := lane.window.release()) is not None]
        if held:
            raise PeerAwayError(str(held[0])) from held[0]
        return bool(heads)

    def _read(self, turn: OutputTurn) -> None:
        for kind, lane in self._lanes.items():
            now = time.monotonic()
            if len(lane.window) < _MOST_AHEAD and not lane.window.heads() and now >= lane.look_at:
                lane.read_at = self.delivered.read_at()
                rows = turn.take(kind, lane.window.end, _PAGE)
                lane.window.fill(rows)
                lane.look_at = 0.0 if rows else now + _LOOK_S  # not once a wave, for a kind of which there is none
            if kind is OutboxKind.VERDICT:
                self.delivered.waits(lane.window.oldest, lane.read_at)

    def _deliver(self, turn: OutputTurn, heads: list[tuple[_Lane, OutboxRow]]) -> int:
        """Send heads; return how many are settled."""
        sent = [(lane, head) for lane, head in heads if head.content is not None]
        answers = self.sink.deliver([head for _, head in sent], _SEND_TIMEOUT_S) if sent else []
        acknowledged = settled = 0
        for (lane, head), answer in zip(sent, answers, strict=True):
            if answer is None:
                lane.in_a_row = 0
                acknowledged += 1
                self._took_at = time.monotonic()
                if self.delivered.acknowledged(head, lane.read_at):
                    self.watch.late(head.camera)
            elif isinstance(answer, NotTried):
                continue
            elif isinstance(answer, TransientError) and not self._hopeless(lane, head):
                lane.window.hold(head, answer)
                continue
            elif not self._put_on_record(turn, lane, head, answer):
                continue
            lane.window.settle(head)
            lane.tried_since.pop(head.key, None)
            settled += 1
        for lane, head in heads:
            if (
                head.content is None
            ):  # nobody deletes results that young; if somebody did, there is nothing left to send
                self.log.error("outbox.result_gone", txid=head.key.txid, id=head.key.id)
                lane.window.settle(head)
                settled += 1
        self.settled += acknowledged
        self.watch.published(acknowledged)
        return settled

    def _hopeless(self, lane: _Lane, head: OutboxRow) -> bool:
        """Whether the peer has not taken a row for so long, and took others meanwhile: then the row is the trouble."""
        now = time.monotonic()
        since = lane.tried_since.setdefault(head.key, now)
        return now - since > _GIVE_UP_S and self._took_at > since

    def _put_on_record(self, turn: OutputTurn, lane: _Lane, head: OutboxRow, refused: Refused | TransientError) -> bool:
        """Note a refusal; False where there were so many that this one is waited out."""
        reason = " ".join(str(refused).split())
        if isinstance(refused, TransientError):
            reason = f"not taken for {_GIVE_UP_S / 60:.0f} minutes, in which others were: {reason}"
        if lane.in_a_row >= self.most_refused or len(lane.refused) + turn.refused_lately() >= self.most_refused:
            why = f"it refuses more messages than are put on record, look at its address and ours; the last reason: {reason}"
            lane.window.hold(head, PeerAwayError(why))
            return False
        lane.in_a_row += 1
        lane.refused.append((head, reason))
        self.watch.refused()
        self.log.error("output.refused", camera=head.camera, txid=head.key.txid, id=head.key.id, reason=reason)
        return True

    def _save(self, turn: OutputTurn, *, at_once: bool = False) -> None:
        now = time.monotonic()
        for kind, lane in self._lanes.items():
            if lane.to_save(now) or (at_once and lane.window.passed != lane.saved):
                turn.advance(kind, lane.window.passed, lane.in_a_row, lane.refused)
                lane.refused, lane.saved, lane.saved_at = [], lane.window.passed, now

    def _send_again(self, turn: OutputTurn) -> None:
        """Send what was refused before and is wanted again; what is not taken now stays wanted."""
        if time.monotonic() < self._next_again:
            return
        self._next_again = time.monotonic() + _AGAIN_LOOK_S
        for number, row in turn.again():
            (answer,) = self.sink.deliver([row], _SEND_TIMEOUT_S) if row.content else (Refused("it is no longer kept"),)
            if isinstance(answer, TransientError):
                return
            turn.settle_again(number, None if answer is None else " ".join(str(answer).split()))
            self.log.info("output.sent_again", number=number, taken=answer is None, reason=str(answer or ""))
            self.watch.published(answer is None)

    def _stand_by(self, until_idle_s: float | None) -> bool:
        if not self._standing_by:
            self._standing_by = True
            self.log.info("relay.standing_by", reason="another relay has the turn")
        self.beating.clear()
        self.watch.standing_by()
        self.stop.wait(_STANDBY_S)
        return not self._idle_for(until_idle_s)

    def _retrying(self, of: type[TransientError]) -> Retrying:
        return retrying(self.stop, self._tell, longest_pause_s=_LONGEST_PAUSE_S, of=of)

    def _tell(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        self.log.warning("server.away", during="relay", attempt=state.attempt_number, error=str(error))
        self.watch.away(error)

    def _report(self, turn: OutputTurn) -> None:
        if time.monotonic() < self._next_report:
            return
        self._next_report = time.monotonic() + _REPORT_S
        turn.keep()
        with transaction(self.database) as connection:
            waiting = waiting_for(connection, self.sink.name)
        self.watch.looked(waiting)
        self.log.info("relay.published", messages=self.settled, waiting=waiting.rows)
        if waiting.oldest_at is not None and (age_s := (utc_now() - waiting.oldest_at).total_seconds()) > _LATE_S:
            self.log.warning("relay.late", waiting=waiting.rows, oldest_s=round(age_s), advice=_LATE_ADVICE)

    def _idle_for(self, seconds: float | None) -> bool:
        return seconds is not None and time.monotonic() - self._idle_since >= seconds
