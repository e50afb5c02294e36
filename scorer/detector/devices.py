"""Which device computes."""

import torch

from scorer.detector.errors import DetectorError


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
