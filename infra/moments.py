"""An answer that is kept for a moment, shared by threads."""

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Remembered(Generic[T]):
    """One answer, asked for again when it has become too old; an error is not remembered."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._answer: tuple[float, T] | None = None

    def get(self, ask: Callable[[], T], kept_s: float, *, anew: bool = False) -> T:
        """Return the answer; `ask` is called where there is none that is at most `kept_s` old, or where it must be new."""
        with self._lock:
            now = self._clock()
            if self._answer is not None and not anew and 0 <= now - self._answer[0] <= kept_s:
                return self._answer[1]
        answer = ask()
        with self._lock:
            self._answer = (now, answer)
        return answer
