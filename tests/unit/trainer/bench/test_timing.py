"""How fast the machine multiplies."""

import pytest
import torch

from trainer.bench import timing

CPU = torch.device("cpu")


def test_the_rate_of_products_is_that_of_the_large_ones() -> None:
    assert timing.matmul_rate(torch.float32, CPU, side=300) > 1e8


def test_large_products_are_asked_for_where_they_take_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "_matmul_rate", lambda _dtype, _device, side: 1e11 + side)
    assert timing.matmul_rate(torch.float32, CPU) == 1e11 + timing.MATRIX


def test_a_machine_that_takes_minutes_for_a_large_product_is_asked_for_small_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[int] = []

    def slow(_dtype: torch.dtype, _device: torch.device, side: int) -> float:
        asked.append(side)
        return 2e8

    monkeypatch.setattr(timing, "_matmul_rate", slow)
    assert timing.matmul_rate(torch.bfloat16, CPU) == 2e8
    assert max(asked) < timing.MATRIX
