"""Pictures as a camera gave them, and the newest of them that wait to be fetched."""

import threading
from collections import deque
from dataclasses import dataclass
from datetime import datetime

from ingest.shaping import Pixels
from ingest.trigger import Trigger


@dataclass(frozen=True, slots=True)
class Shot:
    """A picture as a camera gave it, decoded.

    Attributes:
        pixels: (H, W) or (H, W, 3) in BGR.
        captured_at: When it was captured (UTC).
        name: What a person knows it by.
        trigger: The outer trigger that it belongs to, if there is one.
    """

    pixels: Pixels
    captured_at: datetime
    name: str
    trigger: Trigger | None = None


class NewestShots:
    """A bounded number of shots between the thread that reads them and the one that fetches them."""

    def __init__(self, bound: int) -> None:
        """Begin empty.

        Args:
            bound: How many wait at most.
        """
        self.bound = bound
        self._shots: deque[Shot] = deque()
        self._changed = threading.Condition()

    def put(self, shot: Shot, *, in_place_of_oldest: bool) -> bool:
        """Keep a shot; where all places are taken, in place of the oldest one or not at all.

        Returns:
            Whether there was a place.
        """
        with self._changed:
            free = len(self._shots) < self.bound
            if not free and in_place_of_oldest:
                self._shots.popleft()
            if free or in_place_of_oldest:
                self._shots.append(shot)
                self._changed.notify_all()
            return free

    def get(self, timeout_s: float) -> Shot | None:
        """Return the oldest shot; None when none comes in time."""
        with self._changed:
            if not self._shots:
                self._changed.wait(timeout_s)
            return self._shots.popleft() if self._shots else None
