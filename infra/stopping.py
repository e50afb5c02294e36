"""SIGTERM and Ctrl-C as an event that services wait for."""

import signal
import threading


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
