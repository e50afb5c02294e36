"""Rounds in alternating order: what a busy neighbour takes from one side, it takes from the other as well."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence

import torch

MATRIX = 2048
_PRODUCTS = 7
_TRIED = 256  # the side of the matrices that are tried first
_PATIENCE_S = 5.0  # for one product


def seconds(work: Callable[[], object]) -> float:
    """How long some work takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def in_turns(rounds: int, sides: Mapping[str, Callable[[int], None]]) -> dict[str, list[float]]:
    """Time each side once a round, in an order that turns around from round to round.

    Args:
        rounds: How often.
        sides: What each side does in a round, which is numbered from 0.

    Returns:
        Seconds of each round, by side.
    """
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds):
        for name in list(sides)[:: 1 if number % 2 == 0 else -1]:
            started = time.perf_counter()
            sides[name](number)
            taken[name].append(time.perf_counter() - started)
    return taken


def median_ratio(over: Sequence[float], under: Sequence[float]) -> float:
    """The median of each round's own ratio."""
    return statistics.median(a / b for a, b in zip(over, under, strict=True))


def matmul_rate(dtype: torch.dtype, device: torch.device, side: int = MATRIX) -> float:
    """Operations a second of a product of two square matrices, two a multiply-add; the median of a few.

    Args:
        dtype: Of the matrices.
        device: Where.
        side: Their side; small ones tell as much where such a product takes seconds, as bfloat16 without instructions for it.
    """
    tried = _matmul_rate(dtype, device, min(side, _TRIED))
    return tried if 2 * side**3 / tried > _PATIENCE_S else _matmul_rate(dtype, device, side)


def _matmul_rate(dtype: torch.dtype, device: torch.device, side: int) -> float:
    left, right = (torch.ones(side, side, dtype=dtype, device=device) for _ in range(2))

    def product() -> None:
        torch.mm(left, right)
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    product()
    return 2 * side**3 / statistics.median(seconds(product) for _ in range(_PRODUCTS))
