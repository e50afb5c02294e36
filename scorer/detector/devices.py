"""Which device computes."""

import torch

from scorer.detector.errors import DetectorError

_ARITHMETIC = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def choose_device(name: str) -> torch.device:
    """Return the device of a setting: `auto` is CUDA where there is one, else the CPU.

    Raises:
        DetectorError: There is no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise DetectorError(f"no device is called {name!r}") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise DetectorError(f"device {name} was asked for, and torch finds no CUDA device")
    return device


def choose_arithmetic(name: str, device: torch.device) -> torch.dtype:
    """Return what convolutions compute in: `float32`, `bfloat16`, or with `auto` the faster one of this device.

    Raises:
        DetectorError: There is no such arithmetic.
    """
    if name == "auto":
        return torch.bfloat16 if has_fast_bfloat16(device) else torch.float32
    if name not in _ARITHMETIC:
        raise DetectorError(f"no arithmetic is called {name!r}: choose auto, {' or '.join(_ARITHMETIC)}")
    return _ARITHMETIC[name]


def has_fast_bfloat16(device: torch.device) -> bool:
    """Whether 16-bit multiplication is worth it: on GPUs since Ampere, and on processors that have instructions for it."""
    if device.type == "cpu":
        return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)


def views_per_chunk(device: torch.device) -> int:
    """How many views are in memory at once: what two CPU cores are fastest with, and what fills a GPU."""
    return 256 if device.type == "cuda" else 8
