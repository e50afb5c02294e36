"""How many frames a camera owes for the time that it was away, by its own pace before."""

from collections import deque
from statistics import median

_INTERVALS = 63  # their median is the pace


class FramesOwed:
    """Counts, as a lower bound, the frames that a camera would have sent while it was away.

    Between two frames lies one interval, the median of the latest ones. In a gap of g seconds floor(g / interval) - 1 frames
    are missing at least, whenever within an interval it began and ended; and one, if the camera had sent any. A camera that was
    never there owes none: nobody knows its pace. What is owed is told as the gap grows, so that it is known even where the
    camera never comes back.
    """

    def __init__(self) -> None:
        """Begin with a camera that has sent nothing."""
        self._intervals: deque[float] = deque(maxlen=_INTERVALS)
        self._last_s: float | None = None
        self._away = False
        self._told = 0

    def frame(self, at_s: float) -> int:
        """A frame was taken at this monotonic time; return how many more were missing before it."""
        owed = self.away(at_s) if self._away else 0
        if self._last_s is not None and not self._away:
            self._intervals.append(at_s - self._last_s)
        self._last_s, self._away, self._told = at_s, False, 0
        return owed

    def away(self, now_s: float) -> int:
        """The camera is away; return how many more frames are missing than was told before."""
        self._away = True
        if self._last_s is None:
            return 0
        interval_s = median(self._intervals) if self._intervals else 0.0
        owed = max(1, int((now_s - self._last_s) / interval_s) - 1) if interval_s > 0 else 1
        more = max(0, owed - self._told)
        self._told += more
        return more
