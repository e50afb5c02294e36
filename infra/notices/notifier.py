"""Tells one target of alerts: many within a window are one message, none goes out in quiet hours, and none is lost.

What a target was told is on record in the transaction that looked for it. So after a kill between sending and commit the same
message is sent once more; before it, nothing is lost. Whoever acknowledges an alert before it is due keeps it from being told.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, tzinfo

import sqlalchemy as sa
from structlog.typing import FilteringBoundLogger
from tenacity import RetryCallState, RetryError

from infra.clock import Clock, utc_now
from infra.notices.hours import QuietHours
from infra.notices.message import body, subject
from infra.notices.sender import Sender
from infra.notices.watch import NoticeWatch
from infra.stopping import retrying
from infra.store.notices import WaitingAlert, notice_turn, waiting_count

_PAGE = 1000
_LOOK_S = 2.0
_REPORT_S = 30.0
_LONGEST_PAUSE_S = 60.0


@dataclass(frozen=True, slots=True)
class Rule:
    """When a target is told.

    Attributes:
        after: How long an alert must have been open, with nobody acknowledging it; zero: at once.
        group: How long the first alert waits for others to come into the same message.
        quiet: Nobody is told in these hours, and they do not count.
        zone: Of the plant.
        escalates: Whether the message says that nobody has acknowledged.
    """

    after: timedelta
    group: timedelta
    quiet: QuietHours | None
    zone: tzinfo
    escalates: bool = False

    def to_be_told(self, alerts: Sequence[WaitingAlert], now: datetime) -> list[WaitingAlert]:
        """Return the alerts of the next message; none while it is too early for one."""
        if self._counts_from(now) > now:
            return []
        ready = {alert: due for alert in alerts if (due := self._due(alert, now)) <= now}
        if not ready or min(ready.values()) + self.group > now:
            return []
        return list(ready)

    def _due(self, alert: WaitingAlert, now: datetime) -> datetime:
        """An alert of the future was opened by a clock that was wrong."""
        return self._counts_from(min(alert.opened_at, now)) + self.after

    def _counts_from(self, moment: datetime) -> datetime:
        return moment if self.quiet is None else self.quiet.over_at(moment, self.zone)


@dataclass
class Notifier:
    """Tells one target; any number of programs may run one, one at a time tells.

    Attributes:
        database: Where the alerts are.
        sender: The target.
        rule: When it is told.
        log: Where events go.
        watch: Told what is done.
        dashboard_url: Where links lead to; None: no links.
        stop: Set it, and the notifier ends after the message in hand.
        clock: The time.
        look_s: How often it looks, in seconds.
    """

    database: sa.Engine
    sender: Sender
    rule: Rule
    log: FilteringBoundLogger
    watch: NoticeWatch
    dashboard_url: str | None = None
    stop: threading.Event = field(default_factory=threading.Event)
    clock: Clock = utc_now
    look_s: float = _LOOK_S
    monotonic: Callable[[], float] = time.monotonic
    _next_report: float = 0.0

    def run(self) -> None:
        """Tell until stopped."""
        retry = retrying(self.stop, self._tell, first_pause_s=1.0, longest_pause_s=_LONGEST_PAUSE_S)
        while not self.stop.is_set():
            try:
                retry(self.look)
            except RetryError:
                break  # told to stop while a server was away
            self.stop.wait(self.look_s)

    def look(self) -> int:
        """Tell of what is due; return of how many alerts.

        Raises:
            TransientError: PostgreSQL or the target's server is away; what was due still is.
        """
        self._report()
        with notice_turn(self.database, self.sender.name) as turn:
            if turn is None:
                return 0
            now = self.clock()
            told = self.rule.to_be_told(turn.waiting(now, _PAGE), now)
            if told:
                text = body(told, self.rule.zone, self.dashboard_url)
                self.sender.send(subject(told, escalated=self.rule.escalates), text)
                turn.told([alert.id for alert in told])
        if told:
            self.watch.told(self.sender.name, len(told))
            self.log.info("notice.sent", target=self.sender.name, alerts=len(told))
        else:
            self.watch.nothing_due(self.sender.name)
        return len(told)

    def _report(self) -> None:
        if self.monotonic() >= self._next_report:
            self.watch.waiting(self.sender.name, waiting_count(self.database, self.sender.name))
            self._next_report = self.monotonic() + _REPORT_S

    def _tell(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        self.log.warning("notice.away", target=self.sender.name, attempt=state.attempt_number, error=str(error))
        self.watch.away(self.sender.name, error)
