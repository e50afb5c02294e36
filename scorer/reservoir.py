"""Which of the good frames are kept: of each camera and hour so many, drawn at random and whatever their score."""

import hashlib
from bisect import insort
from datetime import datetime, timedelta

_HOURS = 2  # of a camera that are remembered: frames may come a little out of order


class Reservoir:
    """Keeps the `size` frames of a camera and hour whose ids have the lowest hashes.

    That is a uniform sample of the hour, drawn while it lasts, so what was among the lowest for a while is kept too: about
    size x ln(n / size) more of n frames. A frame that comes again is drawn again; a scorer that starts anew in the
    middle of an hour keeps some more. (Bottom-k sampling: Cohen and Kaplan, "Summarizing data using bottom-k sketches",
    PODC 2007, section 2.)

    Args:
        size: Frames of a camera and hour; 0 keeps none.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._lowest: dict[str, dict[datetime, list[int]]] = {}

    def keeps(self, camera: str, frame_id: str, received_at: datetime) -> bool:
        """Draw for a frame."""
        if self._size == 0:
            return False
        draw = int.from_bytes(hashlib.blake2b(frame_id.encode(), digest_size=8).digest(), "big")
        lowest = self._of(camera, received_at)
        if draw in lowest:
            return True
        if len(lowest) == self._size and draw > lowest[-1]:
            return False
        insort(lowest, draw)
        del lowest[self._size :]
        return True

    def _of(self, camera: str, received_at: datetime) -> list[int]:
        hours = self._lowest.setdefault(camera, {})
        hour = received_at.replace(minute=0, second=0, microsecond=0)
        for old in [each for each in hours if each <= hour - timedelta(hours=_HOURS)]:
            del hours[old]
        return hours.setdefault(hour, [])
