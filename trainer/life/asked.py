"""What the dashboard asks for, taken by a trainer: quick requests here, one after the other, and refits in a child beside them.

A promotion does not wait for a refit. Nothing of torch is imported before the first request that needs it.
"""

import logging
import os
import socket
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

import sqlalchemy as sa
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler
from structlog.typing import FilteringBoundLogger

from infra.children import ending_with_us
from infra.errors import DatabaseAwayError, DifferlineError, RequestLostError
from infra.frames import new_id
from infra.live import LiveState, best_effort
from infra.store.connect import transaction
from infra.store.model_requests import LEASE, QUICK, TakenRequest, beat, conclude, put_back, take
from infra.store.tables import RequestKind, RequestOutcome

SERVICE = "trainer"
_LOOK_S = 1.0
_ALIVE_S = 10
_STOP_S = 60.0

Perform = Callable[[TakenRequest], None]
Command = Callable[[TakenRequest], Sequence[str]]


class Asked:
    """Takes requests and sees to it that they are done.

    Args:
        database: Where requests are.
        perform: Does a quick request and concludes it; raises what speaks against it.
        refit: The command that does a refit and concludes it.
        log: Where events go.
        lease: How long a trainer may be silent before its request is free again.
    """

    def __init__(
        self,
        database: sa.Engine,
        perform: Perform,
        refit: Command,
        log: FilteringBoundLogger,
        lease: timedelta = LEASE,
    ) -> None:
        self.worker = f"{socket.gethostname()}-{os.getpid()}-{new_id()}"
        self._database = database
        self._perform = perform
        self._refit = refit
        self._log = log
        self._lease = lease
        self._held: dict[int, TakenRequest] = {}
        self._child: subprocess.Popen[bytes] | None = None
        self._refitting: TakenRequest | None = None

    def quick(self) -> None:
        """Do the promotions, rollbacks and shadows that wait."""
        with self._patient():
            while (taken := take(self._database, self.worker, QUICK, self._lease)) is not None:
                with self._holding(taken):
                    self._do(taken)

    def refits(self) -> None:
        """Begin a refit that waits, or look whether the one that was begun is over; call it from one thread."""
        with self._patient():
            if self._child is None:
                taken = take(self._database, self.worker, [RequestKind.REFIT], self._lease)
                if taken is not None:
                    self._begin(taken)
            elif self._child.poll() is not None:
                self._end(self._child.returncode)

    def pulse(self) -> None:
        """Say that what was taken is being worked on."""
        with self._patient():
            for taken in list(self._held.values()):
                beat(self._database, taken)

    def stop(self) -> None:
        """End the refit that runs, and let another trainer begin it anew."""
        if self._child is None or self._refitting is None:
            return
        self._child.terminate()
        try:
            self._child.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        with self._patient():
            put_back(self._database, self._refitting)
        self._child = self._refitting = None
        self._held.clear()

    def _do(self, taken: TakenRequest) -> None:
        self._log.info("request.taken", request=taken.id, what=taken.what, product=taken.product)
        try:
            self._perform(taken)
        except (DatabaseAwayError, RequestLostError):
            raise
        except DifferlineError as error:
            self._conclude(taken, RequestOutcome.REFUSED, str(error))
        except Exception as error:  # whatever it is, the person who asked hears of it, and the next request is done
            self._log.exception("request.failed", request=taken.id)
            self._conclude(taken, RequestOutcome.FAILED, f"{type(error).__name__}: {error}")
        else:
            self._log.info("request.done", request=taken.id)

    def _begin(self, taken: TakenRequest) -> None:
        self._log.info("request.taken", request=taken.id, what=taken.what, product=taken.product)
        self._held[taken.id] = self._refitting = taken
        self._child = subprocess.Popen(ending_with_us(self._refit(taken)))  # noqa: S603 - a command of differline

    def _end(self, exit_code: int) -> None:
        taken, self._child, self._refitting = self._refitting, None, None
        assert taken is not None  # noqa: S101 - a child and its request are set together
        self._held.pop(taken.id, None)
        self._log.info("request.ended", request=taken.id, exit_code=exit_code)
        with_what = f"signal {-exit_code}" if exit_code < 0 else f"exit code {exit_code}"
        self._conclude(taken, RequestOutcome.FAILED, f"the refit ended with {with_what}; the trainer's log has more")

    def _conclude(self, taken: TakenRequest, outcome: RequestOutcome, message: str) -> None:
        """Say what came of a request, unless that has been said: a refit's child does it in its own transaction."""
        try:
            with transaction(self._database) as connection:
                conclude(connection, taken, outcome, message)
        except RequestLostError:
            return
        self._log.warning("request.not_done", request=taken.id, outcome=outcome, message=message)

    @contextmanager
    def _holding(self, taken: TakenRequest) -> Iterator[None]:
        self._held[taken.id] = taken
        try:
            yield
        finally:
            self._held.pop(taken.id, None)

    @contextmanager
    def _patient(self) -> Iterator[None]:
        """What the database cannot do now is done at the next look, or by another trainer."""
        try:
            yield
        except (DatabaseAwayError, RequestLostError) as error:
            self._log.warning("requests.wait", error=str(error))


@contextmanager
def taking_requests(asked: Asked, live: LiveState, log: FilteringBoundLogger) -> Iterator[None]:
    """Take requests while the block runs, about once a second, in threads of their own.

    Args:
        asked: Who takes them.
        live: Where it is said that a trainer is there.
        log: Where events go.
    """

    def alive() -> None:
        best_effort(log, lambda: live.beat(SERVICE, asked.worker, _ALIVE_S))
        asked.pulse()

    # A promotion that takes longer than a second is no news.
    logging.getLogger("apscheduler.scheduler").setLevel(logging.ERROR)
    # The kernel ends a child with the thread that started it; threads of a pool stay.
    scheduler = BackgroundScheduler(executors={"default": ThreadPoolExecutor(3), "refits": ThreadPoolExecutor(1)})
    for job, executor in ((alive, "default"), (asked.quick, "default"), (asked.refits, "refits")):
        scheduler.add_job(job, "interval", seconds=_LOOK_S, max_instances=1, coalesce=True, executor=executor)
    scheduler.start()
    log.info("requests.waited_for", worker=asked.worker)
    try:
        yield
    finally:
        scheduler.shutdown(wait=True)
        asked.stop()
