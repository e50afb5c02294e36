"""SIGTERM and Ctrl-C as an event that services wait for, also while they try again and again."""

import signal
import threading
from collections.abc import Callable

from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    sleep_using_event,
    stop_when_event_set,
    wait_random_exponential,
)

from infra.errors import TransientError


def stop_on_signals(stop: threading.Event) -> None:
    """Let SIGTERM and SIGINT set an event; call it in the main thread."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: set_from_handler(stop))


def set_from_handler(event: threading.Event) -> None:
    """Set an event in a signal handler.

    A handler runs in the main thread, between any two steps of it. An event's lock is not for entering twice: where the main
    thread is just beginning to wait for that very event, setting it there would wait for ever. Another thread sets it.
    """
    threading.Thread(target=event.set, name="stop").start()


def retrying(
    stop: threading.Event,
    tell: Callable[[RetryCallState], None],
    *,
    longest_pause_s: float,
    first_pause_s: float = 0.2,
    of: type[TransientError] = TransientError,
) -> Retrying:
    """Return what calls a function until it does not fail by what passes, with growing random pauses.

    Args:
        stop: Ends the pause and the trying; then RetryError is raised.
        tell: Called before each pause.
        longest_pause_s: Bound of the pauses, in seconds.
        first_pause_s: Bound of the first one, in seconds.
        of: What is tried again; everything else is raised.
    """
    return Retrying(
        retry=retry_if_exception_type(of),
        wait=wait_random_exponential(multiplier=first_pause_s, max=longest_pause_s),
        stop=stop_when_event_set(stop),
        sleep=sleep_using_event(stop),
        before_sleep=tell,
    )
