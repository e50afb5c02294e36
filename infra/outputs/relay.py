"""The relay: an outlet and a heartbeat for each sink, in threads of their own, and what they share.

One sink that is away holds up no other. A thread that ends with an error that nobody expects ends the relay, so that whoever
watches over the process starts it again: a heart that has stopped must not go unnoticed.
"""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any

import sqlalchemy as sa
from structlog.typing import FilteringBoundLogger

from infra.clock import Clock, utc_now
from infra.errors import DatabaseAwayError
from infra.outputs.delivered import Delivered
from infra.outputs.outlet import Outlet
from infra.outputs.sink import Sink
from infra.outputs.standing import Watchdog
from infra.outputs.watch import RelayWatch
from infra.store.line_pace import camera_paces
from infra.store.output_cursors import PRUNED_AT_ONCE, forget_idle, prune

_EVERY_S = 1.0
_LEAST_LOOK_S = 0.2
_FORGET_EVERY = 3600  # turns of the thread that tidies up
_STALE_S = 60.0


@dataclass(frozen=True, slots=True)
class Rules:
    """What the settings say of all outputs; see their descriptions there."""

    deadline_s: float = 30.0
    silent_after_s: float | None = 60.0
    most_refused: int = 60
    keep_days: float = 7.0


@dataclass
class Relay:
    """Delivers the outbox to every sink; any number may run, one works for a sink at a time and the others stand by.

    Attributes:
        database: Where the outbox is.
        sinks: Where messages go, one of each name.
        log: Where events go.
        rules: Deadline, limits.
        watch: Told what is done; metrics and health come from it. One that nobody looks at when left out.
        stop: Set it, and the relay ends after the messages in hand.
        clock: The time that is told to peers.
    """

    database: sa.Engine
    sinks: Sequence[Sink]
    log: FilteringBoundLogger
    rules: Rules = field(default_factory=Rules)
    watch: RelayWatch = field(default_factory=lambda: RelayWatch(_STALE_S))
    stop: threading.Event = field(default_factory=threading.Event)
    clock: Clock = utc_now

    def run(self, until_idle_s: float | None = None) -> int:
        """Deliver until stopped, or until nothing has waited for `until_idle_s` seconds; return how many messages.

        Raises:
            OutputError: An output was forgotten while it was worked for.
        """
        watchdog = Watchdog(self.rules.deadline_s, self.rules.silent_after_s)
        together = {sink.name: frozenset(sink.kinds) for sink in self.sinks}
        outlets = [
            Outlet(
                database=self.database,
                sink=sink,
                together=together,
                most_refused=self.rules.most_refused,
                delivered=Delivered(self.rules.deadline_s),
                watch=self.watch.of(sink.name),
                log=self.log.bind(sink=sink.name),
                stop=self.stop,
            )
            for sink in self.sinks
        ]
        ended = threading.Event()
        beside: list[Callable[[], None]] = [
            partial(self._look, watchdog, ended),
            partial(self._tidy, ended),
            *(partial(self._beat, outlet, watchdog, ended) for outlet in outlets),
        ]
        with ThreadPoolExecutor(len(outlets) + len(beside), thread_name_prefix="relay") as threads:
            work = [threads.submit(outlet.run, until_idle_s) for outlet in outlets]
            helpers = [threads.submit(each) for each in beside]
            try:
                _until_done(work, helpers)
            finally:
                self.stop.set()
                wait(work)
                ended.set()
        return sum(each.result() for each in work)

    def _look(self, watchdog: Watchdog, ended: threading.Event) -> None:
        every_s = min(_EVERY_S, max(_LEAST_LOOK_S, self.rules.deadline_s / 3))
        while True:
            try:
                watchdog.looked(camera_paces(self.database))
            except DatabaseAwayError as error:
                self.log.debug("server.away", during="watchdog", error=str(error))
            if ended.wait(every_s):
                return

    def _beat(self, outlet: Outlet, watchdog: Watchdog, ended: threading.Event) -> None:
        alive = 0
        while not ended.wait(_EVERY_S):
            if not outlet.beating.is_set():
                continue
            standing = watchdog.standing(alive, self.clock(), outlet.delivered)
            outlet.watch.stands(standing.in_time)
            outlet.sink.beat(standing)
            alive += 1

    def _tidy(self, ended: threading.Event) -> None:
        turns = 0
        while not ended.wait(_EVERY_S):
            turns += 1
            self._tidy_up(forget=turns % _FORGET_EVERY == 0)
        self._tidy_up()

    def _tidy_up(self, *, forget: bool = False) -> None:
        try:
            while prune(self.database) >= PRUNED_AT_ONCE:
                pass
            if forget:
                for sink in forget_idle(self.database, timedelta(days=self.rules.keep_days), "relay"):
                    self.log.warning("output.forgotten", forgotten=sink, idle_days=self.rules.keep_days)
        except DatabaseAwayError as error:
            self.log.debug("server.away", during="tidying", error=str(error))


def _until_done(work: Sequence[Future[int]], helpers: Sequence[Future[None]]) -> None:
    """Wait until all the work is done, or anything ended with an error."""
    left: set[Future[Any]] = set(work)
    while left:
        done, _ = wait([*left, *helpers], return_when=FIRST_COMPLETED)
        for each in done:
            each.result()
        left -= done
