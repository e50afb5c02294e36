"""How many CPU threads a scorer may use."""

import math
import os

from infra.settings import Settings

_ROUNDING = 1e-9  # a third of three cores is one core, whatever floating point makes of it


def cores_here() -> int:
    """Return how many cores this process may run on."""
    return len(os.sched_getaffinity(0))


def thread_count(settings: Settings, cores: int) -> int:
    """Return the threads of one scorer, at least one; 0 leaves the number to the libraries.

    Args:
        settings: `cpu_threads` is the number where it is set, else `cpu_share` is the share of the cores.
        cores: How many there are.
    """
    if settings.cpu_threads or settings.cpu_share == 1:
        return settings.cpu_threads
    return max(1, math.floor(settings.cpu_share * cores + _ROUNDING))


def use_threads(count: int) -> None:
    """Hold torch and OpenCV to so many threads in this process; 0 changes nothing."""
    if not count:
        return
    import cv2  # noqa: PLC0415 - heavy; not for whoever only counts
    import torch  # noqa: PLC0415

    torch.set_num_threads(count)
    cv2.setNumThreads(count)
