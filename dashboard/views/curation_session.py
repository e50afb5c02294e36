"""What a session of the curate page remembers, and what its keys do.

What is decided on is what was shown: each press names the picture that it is about, as it stood when it was shown.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import streamlit as st

from dashboard.data import curate as data
from infra.errors import AccessDeniedError, CurationError, DatabaseAwayError
from infra.store.curation import Decided
from infra.store.curation_queue import CurationFrame, QueueKey
from infra.store.tables import FrameDecision

SHOWN = 12  # frames of the grid
PREFETCHED = 2
MOST_UNDONE = 100
REASON = "curate_reason"
_SESSION = "curate_session"


@dataclass
class _Queue:
    """What this session still has to look at; bounded by the stretches of the store.

    Attributes:
        sha256: The pictures, in the order in which they are shown; the first one is the current one.
        after: Where the next stretch begins; None: there is none.
        fresh: Whether nothing of it was shown yet.
    """

    product: str
    quarantined: bool
    sha256: list[str] = field(default_factory=list)
    after: QueueKey | None = None
    fresh: bool = True


@dataclass(frozen=True)
class _Said:
    """What became of the last press: our own words, and beneath them what somebody else wrote."""

    text: str
    theirs: str = ""


@dataclass(frozen=True)
class _Done:
    """Decisions of one press, to be taken back together."""

    product: str
    quarantined: bool
    numbers: dict[str, int]


@dataclass
class _Session:
    """What a session remembers; changed in place, since Streamlit may end a run at any look into its session state.

    Attributes:
        done: What can be taken back, newest last; bounded.
        said: What became of the last press; stays until the next one.
    """

    queue: _Queue | None = None
    done: deque[_Done] = field(default_factory=lambda: deque(maxlen=MOST_UNDONE))
    said: _Said | None = None


def session() -> _Session:
    """Return what this session remembers."""
    found: _Session = st.session_state.setdefault(_SESSION, _Session())
    return found


def waiting(product: str, *, quarantined: bool) -> list[CurationFrame]:
    """Return the next open frames of this session's queue, as they stand at this moment; the first one is the current one.

    Raises:
        DatabaseAwayError: The database does not answer.
    """
    mine = session()
    queue = mine.queue
    if queue is None or (queue.product, queue.quarantined) != (product, quarantined):
        queue = mine.queue = _Queue(product, quarantined)
    for _ in range(8):  # a bound: after so many stretches that others have worked off, the next press goes on
        if len(queue.sha256) < SHOWN and (queue.fresh or queue.after is not None):
            stretch = data.next_stretch(product, quarantined=quarantined, after=queue.after)
            known = set(queue.sha256)
            queue.sha256 += [each for each in stretch.sha256 if each not in known]
            queue.after, queue.fresh = stretch.last, False
        looked = queue.sha256[: SHOWN + PREFETCHED]
        found = [each for each in data.frames(product, looked) if each.decision is FrameDecision.OPEN]
        still = {each.frame.sha256 for each in found}
        queue.sha256 = [each for each in queue.sha256 if each in still or each not in looked]
        if len(still) == len(looked) and (len(found) >= SHOWN or queue.after is None):
            break
    return found


def decide(product: str, seen: Sequence[CurationFrame], decision: FrameDecision, *, challenge: bool = False) -> None:
    """Decide about frames as they were shown, for the standing reason; what became of it is said on the page."""
    mine, reason = session(), st.session_state.get(REASON, "")
    try:
        made = data.decide(product, seen, decision, reason, challenge=challenge)
    except (AccessDeniedError, CurationError, ValueError) as error:
        mine.said = _Said(f"Not saved: {error}.")
        return
    except DatabaseAwayError:
        mine.said = _Said("Not saved: the database does not answer. The frame stays; try again in a moment.")
        return
    _from_queue(mine, [each.frame.sha256 for each in seen])
    if made.recorded:
        quarantined = mine.queue is not None and mine.queue.quarantined
        mine.done.append(_Done(product, quarantined, made.recorded))
    mine.said = _overtaken(made)


def skip(sha256: str) -> None:
    """Leave a frame open and go on to the next one."""
    mine = session()
    _from_queue(mine, [sha256])
    mine.said = None


def _from_queue(mine: _Session, sha256: Sequence[str]) -> None:
    if mine.queue is not None:
        mine.queue.sha256 = [each for each in mine.queue.sha256 if each not in sha256]


def undo_last() -> None:
    """Take the newest press back: its decisions are followed by `open`, and its frames come up again."""
    mine = session()
    if not mine.done:
        return
    last = mine.done[-1]
    try:
        made = data.take_back(last.product, last.numbers, "taken back")
    except (AccessDeniedError, ValueError) as error:
        mine.said = _Said(f"Not taken back: {error}.")
        return
    except DatabaseAwayError:
        mine.said = _Said("Not taken back: the database does not answer. Try again in a moment.")
        return
    mine.done.pop()
    queue = mine.queue
    if queue is not None and (queue.product, queue.quarantined) == (last.product, last.quarantined):
        queue.sha256 = [*made.recorded, *(each for each in queue.sha256 if each not in made.recorded)]
    mine.said = _overtaken(made)


def _overtaken(made: Decided) -> _Said | None:
    if not made.overtaken:
        return None
    theirs = made.overtaken[0]
    many = "a frame" if len(made.overtaken) == 1 else f"{len(made.overtaken)} frames"
    who_and_why = f"{theirs.who}, {theirs.decision}: {theirs.reason}"
    return _Said(f"Somebody has decided about {many} meanwhile; that stays as it is.", who_and_why)


def look_at(sha256: str) -> None:
    """Make a frame the current one."""
    mine = session()
    mine.said = None
    if mine.queue is not None and sha256 in mine.queue.sha256:
        mine.queue.sha256 = [sha256, *(each for each in mine.queue.sha256 if each != sha256)]


def again() -> None:
    """Begin with what teaches most again: skipped frames come back, and new ones come up."""
    mine = session()
    mine.queue, mine.said = None, None
