"""The camera's own clock, put beside this machine's."""

_DRIFT = 200e-6  # how much faster than ours a camera's clock may run: more than any quartz
_JUMP_NS = 1_000_000_000


class StampClock:
    """Turns a camera's time stamps into times of this machine.

    The least delay between a stamp and the picture's arrival is taken for the way that it always takes, so that what a busy
    network adds to one picture does not count as its time. Where a camera's clock begins does not matter; a clock that jumps,
    of the camera or ours, is taken as it is then.
    """

    def __init__(self) -> None:
        """Know nothing of the camera's clock."""
        self._offset_ns: float | None = None
        self._last_ns = 0

    def captured_ns(self, stamp_ns: int, arrived_ns: int) -> int:
        """Return when a picture was captured, in nanoseconds of this machine's clock.

        Args:
            stamp_ns: The camera's time stamp; 0: it has none.
            arrived_ns: When the picture began to arrive, by this machine's clock.
        """
        if stamp_ns <= 0:
            return arrived_ns
        offset = float(arrived_ns - stamp_ns)
        if self._offset_ns is not None and abs(offset - self._offset_ns) < _JUMP_NS:
            drifted = self._offset_ns + _DRIFT * max(0, stamp_ns - self._last_ns)
            offset = min(offset, drifted)
        self._offset_ns, self._last_ns = offset, stamp_ns
        return stamp_ns + int(offset)
