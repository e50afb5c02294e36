"""Open sessions of the dashboard as a browser holds them: Streamlit's own protocol over a WebSocket, without drawing.

A session keeps every fragment that runs by itself running at the pace the server asks for, as a browser does, and goes from
page to page like somebody who looks around. Measured is the time from asking for a rerun to the message that it is finished.
"""

import asyncio
import contextlib
import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

PATIENCE_S = 60.0
_LISTEN_S = 0.25


@dataclass(frozen=True)
class Rerun:
    """One run of a page, or of a fragment of it.

    Attributes:
        page: Which page, as its address names it.
        fragment: Whether only a fragment ran.
        seconds: From asking to the message that it is finished.
        failed: Whether it ended in an exception.
    """

    page: str
    fragment: bool
    seconds: float
    failed: bool


class SessionClock:
    """Time as sessions have it, in seconds; while it is stopped they keep their connections and ask for nothing."""

    def __init__(self) -> None:
        self._lost = 0.0
        self._stopped_at: float | None = None

    def now(self) -> float:
        """Return the time."""
        return (time.monotonic() if self._stopped_at is None else self._stopped_at) - self._lost

    def stop(self) -> None:
        """Let no time pass."""
        if self._stopped_at is None:
            self._stopped_at = time.monotonic()

    def go_on(self) -> None:
        """Let time pass again, from where it stood."""
        if self._stopped_at is not None:
            self._lost += time.monotonic() - self._stopped_at
            self._stopped_at = None


@dataclass
class Session:
    """One open browser tab.

    Attributes:
        url: The dashboard, as `ws://…`.
        pages: Where it goes, one after the other, from a place of its own.
        stay_s: How long it stays on a page.
        clock: Its time, which others may share.
    """

    url: str
    pages: tuple[str, ...]
    stay_s: float
    seed: int
    clock: SessionClock = field(default_factory=SessionClock)
    reruns: list[Rerun] = field(default_factory=list)
    _due: dict[str, float] = field(default_factory=dict)  # fragment: when it runs next
    _every: dict[str, float] = field(default_factory=dict)
    _broken: bool = False

    async def look(self, until: float) -> None:
        """Look at the pages until then, by the session's clock."""
        chance = random.Random(self.seed)
        async with self.connected() as socket:
            while self.clock.now() < until:
                page = chance.choice(self.pages)
                self._due.clear()
                self._every.clear()
                await self.rerun(socket, page, None)
                leaves = self.clock.now() + self.stay_s * chance.uniform(0.7, 1.3)
                await self._stay(socket, page, min(until, leaves))

    async def _stay(self, socket: ClientConnection, page: str, until: float) -> None:
        while (now := self.clock.now()) < until:
            fragment = min(self._due, key=self._due.__getitem__, default=None)
            if fragment is None or self._due[fragment] > now:
                wait_s = min(until, self._due.get(fragment or "", until)) - now
                await self._listen(socket, min(wait_s, _LISTEN_S))
                continue
            await self.rerun(socket, page, fragment)
            if fragment in self._every:
                self._due[fragment] = self.clock.now() + self._every[fragment]

    async def _listen(self, socket: ClientConnection, seconds: float) -> None:
        """Take what the server says by itself."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(seconds, 0.0)):
                while True:
                    self._heard(ForwardMsg.FromString(_bytes(await socket.recv())))

    def connected(self) -> connect:
        """Open the session's connection."""
        return connect(f"{self.url}/_stcore/stream", subprotocols=[Subprotocol("streamlit")], max_size=None)

    @property
    def fragments(self) -> list[str]:
        """Those of the page that run by themselves."""
        return list(self._every)

    async def rerun(self, socket: ClientConnection, page: str, fragment: str | None) -> None:
        """Ask for a rerun of the page or of a fragment, and wait until it is finished."""
        asked = BackMsg()
        asked.rerun_script.page_name = page
        asked.rerun_script.query_string = ""
        if fragment is not None:
            asked.rerun_script.fragment_id = fragment
            asked.rerun_script.is_auto_rerun = True
        self._broken = False
        began = time.monotonic()
        await socket.send(asked.SerializeToString())
        async with asyncio.timeout(PATIENCE_S):
            while not self._heard(ForwardMsg.FromString(_bytes(await socket.recv()))):
                pass
        self.reruns.append(Rerun(page, fragment is not None, time.monotonic() - began, self._broken))

    def _heard(self, message: ForwardMsg) -> bool:
        """Take a message; True where it ends a run."""
        kind = message.WhichOneof("type")
        if kind == "auto_rerun":
            fragment, every = message.auto_rerun.fragment_id, message.auto_rerun.interval
            self._every[fragment] = every
            self._due.setdefault(fragment, self.clock.now() + every)
        elif kind == "delta" and message.delta.new_element.WhichOneof("type") == "exception":
            self._broken = True
        return kind == "script_finished"


def _bytes(message: str | bytes) -> bytes:
    return message.encode() if isinstance(message, str) else message


async def _all_look(sessions: list[Session], seconds: float, apart_s: float) -> None:
    async def one(number: int, session: Session) -> None:
        until = session.clock.now() + seconds
        await asyncio.sleep(number * apart_s)
        await session.look(until)

    await asyncio.gather(*(one(number, session) for number, session in enumerate(sessions)))


def look_around(sessions: list[Session], seconds: float, apart_s: float = 0.0) -> list[Rerun]:
    """Let sessions look for a while, each beginning so long after the one before; returns their reruns."""
    before = [len(session.reruns) for session in sessions]
    asyncio.run(_all_look(sessions, seconds, apart_s))
    return [rerun for session, first in zip(sessions, before, strict=True) for rerun in session.reruns[first:]]


@contextlib.contextmanager
def looking(sessions: list[Session], seconds: float, apart_s: float) -> Iterator[None]:
    """Let sessions look while the block runs, for `seconds` of their own time and not much longer."""
    with ThreadPoolExecutor(1) as thread:
        look = thread.submit(look_around, sessions, seconds, apart_s)
        yield
        look.result()


def rerun_often(url: str, page: str, times: int) -> int:
    """Run the fragments of a page again and again, in one session, as fast as they go; returns how often."""
    session = Session(url, (page,), 0.0, 0)

    async def often() -> None:
        async with session.connected() as socket:
            await session.rerun(socket, page, None)
            fragments = session.fragments or [None]
            for number in range(times):
                await session.rerun(socket, page, fragments[number % len(fragments)])

    asyncio.run(often())
    return times
