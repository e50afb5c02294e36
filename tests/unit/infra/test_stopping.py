import os
import signal
import threading
from collections.abc import Iterator

import pytest

from infra.stopping import stop_on_signals


@pytest.fixture
def stop() -> Iterator[threading.Event]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    event = threading.Event()
    stop_on_signals(event)
    yield event
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_sets_the_event(stop: threading.Event, number: signal.Signals) -> None:
    os.kill(os.getpid(), number)
    assert stop.wait(10)


@pytest.mark.timeout(60)
def test_a_signal_that_comes_while_the_main_thread_holds_the_events_lock_is_not_waited_for(
    stop: threading.Event,
) -> None:
    with stop._cond:  # type: ignore[attr-defined]  # as `Event.wait` does for a moment
        os.kill(os.getpid(), signal.SIGTERM)
        signal.pthread_sigmask(signal.SIG_BLOCK, [])  # pending signals are handled by now
    assert stop.wait(10)
