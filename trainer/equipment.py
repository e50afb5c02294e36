"""What a trainer computes with, as the settings say: extractors and a device."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from infra.errors import SettingsError
from infra.settings import Settings
from scorer.detector import (
    DetectorError,
    Extractor,
    choose_arithmetic,
    choose_device,
    extractors_at_hand,
    load_extractor,
)


def extractors_and_device(settings: Settings, asked: str | None = None) -> tuple[list[Extractor], torch.device]:
    """Return the extractor asked for, or of the settings; with `auto`, all that are at hand.

    Raises:
        SettingsError: There is no such extractor or device.
    """
    if settings.cpu_threads:
        torch.set_num_threads(settings.cpu_threads)
    with detector_errors():
        device = choose_device(settings.device)
        if asked == "auto":
            extractors = extractors_at_hand(settings.extractor, settings.extractor_seed)
        else:
            extractors = [load_extractor(asked or settings.extractor, settings.extractor_seed)]
        arithmetic = choose_arithmetic(settings.arithmetic, device)
        return [extractor.computing_in(arithmetic) for extractor in extractors], device


@contextmanager
def detector_errors() -> Iterator[None]:
    """The detector knows no errors of ours: what it refuses of the settings is a settings error."""
    try:
        yield
    except DetectorError as error:
        raise SettingsError(str(error)) from error
