"""Verdicts by OPC UA: a server in a thread of its own that a PLC reads from; see `infra.outputs.opcua_space`.

Delivered is a result that stands in the address space and whose event was sent. A client that was not there finds the last
result of each camera, and asks for those before it. With the setting `opcua_events=wait` results wait in the outbox while no
client is subscribed to events.
"""

import asyncio
import socket
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import closing, suppress

from tenacity import (
    AsyncRetrying,
    RetryCallState,
    RetryError,
    retry_if_exception_type,
    stop_when_event_set,
    wait_exponential,
)

from infra.errors import PeerAwayError, TransientError
from infra.outputs.opcua_server import Access, access_of, check_certificate, make_server
from infra.outputs.opcua_space import AddressSpace
from infra.outputs.sink import Refused, Standing
from infra.settings import Settings
from infra.store.outbox import OutboxKind, OutboxRow, PublishedVerdict
from infra.telemetry import get_logger

_SILENT_AFTER_S = 3.0
_LOOK_S = 0.25
_ACKNOWLEDGED_S = 0.005
_LONGEST_PAUSE_S = 2.0
_CLOSE_TIMEOUT_S = 10.0


class OpcUaSink:
    """Shows verdicts on an OPC UA server of its own."""

    name = "opcua"
    kinds = frozenset({OutboxKind.VERDICT})

    def __init__(self, access: Access, deadline_s: float, *, wait_for_listener: bool = False) -> None:
        """Prepare; nothing listens before the first delivery or beat.

        Args:
            access: Where it listens and who may read.
            deadline_s: A result is late when it is older, counted from the bus's receipt of the frame, in seconds.
            wait_for_listener: Whether clients that are subscribed to events must acknowledge them, and there must be one.
        """
        self._access = access
        self._deadline_s = deadline_s
        self._wait = wait_for_listener
        self._log = get_logger("opcua")
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._up = threading.Event()
        self._why = "it has not started yet"
        self._beaten_at = 0.0
        self._beat: Future[None] | None = None

    def deliver(self, rows: Sequence[OutboxRow], timeout_s: float) -> list[TransientError | Refused | None]:
        """See `infra.outputs.sink.Sink`."""
        deadline = time.monotonic() + timeout_s
        self._start()
        if not self._up.wait(timeout_s):
            return [PeerAwayError(f"the OPC UA server is not up: {self._why}")] * len(rows)
        taking = asyncio.run_coroutine_threadsafe(self._take(rows), self._loop)
        try:
            return taking.result(max(0.0, deadline - time.monotonic()))
        except TimeoutError:
            taking.cancel()
            return [PeerAwayError("no OPC UA client has acknowledged the events in time")] * len(rows)

    def beat(self, standing: Standing) -> None:
        """See `infra.outputs.sink.Sink`."""
        self._start()
        if not self._up.is_set() or (self._beat is not None and not self._beat.done()):
            return
        self._beat = asyncio.run_coroutine_threadsafe(self._show(standing), self._loop)

    def close(self) -> None:
        """See `infra.outputs.sink.Sink`."""
        with self._starting:
            self._stop.set()
            if self._thread is not None:
                self._thread.join(_CLOSE_TIMEOUT_S)

    def _start(self) -> None:
        with self._starting:
            if self._thread is None and not self._stop.is_set():
                self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="opcua", daemon=True)
                self._thread.start()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        attempts = AsyncRetrying(
            retry=retry_if_exception_type(Exception),  # whatever ends it, it comes back
            wait=wait_exponential(multiplier=0.5, max=_LONGEST_PAUSE_S),
            stop=stop_when_event_set(self._stop),
            sleep=self._pause,
            before_sleep=self._tell,
        )
        with suppress(RetryError):  # told to stop while it could not start
            await attempts(self._serve_once)

    async def _serve_once(self) -> None:
        _check_free(self._access)  # quicker than a whole server, and asyncua writes a page to the log
        server = await make_server(self._access)
        self._space = AddressSpace(server)
        await self._space.build()
        await server.start()
        self._log.info("opcua.listening", address=self._access.address)
        self._up.set()
        try:
            while not self._stop.is_set():
                await asyncio.sleep(_LOOK_S)
                if time.monotonic() - self._beaten_at > _SILENT_AFTER_S:
                    await self._space.silence()
        finally:
            self._up.clear()
            await server.stop()

    async def _take(self, rows: Sequence[OutboxRow]) -> list[TransientError | Refused | None]:
        nobody: list[TransientError | Refused | None] = [
            PeerAwayError("no OPC UA client is subscribed to events")
        ] * len(rows)
        if self._wait and not self._space.has_listener():
            return nobody
        answers: list[TransientError | Refused | None] = []
        for row in rows:
            if isinstance(row.content, PublishedVerdict):
                await self._space.take(row.content, late=row.age_s > self._deadline_s)
                answers.append(None)
            else:
                answers.append(Refused("it is no verdict"))
        if not self._wait:
            return answers
        while self._space.has_unacknowledged():
            await asyncio.sleep(_ACKNOWLEDGED_S)
        return answers if self._space.has_listener() else nobody

    async def _show(self, standing: Standing) -> None:
        self._beaten_at = time.monotonic()
        await self._space.beat(standing.alive, standing.at, list(standing.cameras.values()), standing.in_time)

    async def _pause(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until and not self._stop.is_set():
            await asyncio.sleep(_LOOK_S)

    def _tell(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        if str(error) != self._why:
            self._log.warning("opcua.away", address=self._access.address, reason=str(error))
        self._why = str(error)


def opcua_sink(settings: Settings) -> OpcUaSink:
    """Return the sink.

    Raises:
        SettingsError: The settings contradict each other, or would let anybody in.
    """
    access = access_of(settings)
    check_certificate(access)
    return OpcUaSink(access, settings.verdict_deadline_s, wait_for_listener=settings.opcua_events == "wait")


def _check_free(access: Access) -> None:
    family = socket.AF_INET6 if ":" in access.host else socket.AF_INET
    with closing(socket.create_server((access.host, access.port), family=family)):
        pass
