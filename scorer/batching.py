"""Batches across cameras: filled up, or flushed when the first frame has waited long enough."""

import time
from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar

from infra.bus import Consumer, Record
from infra.errors import BusAwayError

LEAST_SLICE = 4

T = TypeVar("T")


def collect(consumer: Consumer, max_frames: int, max_wait_s: float, poll_timeout_s: float) -> list[Record]:
    """Take the next batch from the bus.

    Args:
        consumer: Where from.
        max_frames: At most so many.
        max_wait_s: How long a part-filled batch waits for more, from its first frame.
        poll_timeout_s: How long to wait for the first frame.

    Returns:
        The batch in the order of the bus; empty where nothing came in time.

    Raises:
        BusAwayError: The bus does not answer and nothing was read.
    """
    batch = consumer.poll(max_frames, poll_timeout_s)
    deadline = time.monotonic() + max_wait_s
    while batch and len(batch) < max_frames:
        left = deadline - time.monotonic()
        if left <= 0:
            break
        try:
            batch += consumer.poll(max_frames - len(batch), left)
        except BusAwayError:
            break  # what was read already must not be lost: the next poll tells that the bus is away
    return batch


def slices(batch: Sequence[T]) -> list[Sequence[T]]:
    """Halve a batch, so that the second half decodes while the first is scored; the first has LEAST_SLICE frames at least."""
    size = max(LEAST_SLICE, (len(batch) + 1) // 2)
    return [batch[start : start + size] for start in range(0, len(batch), size)]


def portions(batch: Sequence[T], model_of: Callable[[T], Hashable | None], most: int) -> list[Sequence[T]]:
    """Cut a batch, in its order, so that no portion needs more than `most` models; None needs none."""
    found: list[Sequence[T]] = []
    start, models = 0, set[Hashable]()
    for place, item in enumerate(batch):
        wanted = {model_of(item)} - {None}
        if len(models | wanted) > most:
            found.append(batch[start:place])
            start, models = place, set()
        models |= wanted
    return [*found, batch[start:]] if batch else []
