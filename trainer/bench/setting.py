"""What the rows share: pictures, extractor, device, and two detectors, each fitted when the first row asks for it."""

import sys
from dataclasses import dataclass
from functools import cached_property

import torch

from scorer.detector import Detector, Extractor
from trainer.bench.pictures import BenchPictures
from trainer.bench.sizes import Size
from trainer.bench.timing import matmul_rate
from trainer.fit import FittedModel, fit
from trainer.presets import Preset

FALSE_ALARM_RATE = 0.05

FAST_BF16 = 1.2
"""A device has fast bfloat16 where its products are so many times faster than float32's."""


@dataclass(frozen=True)
class Setting:
    """One run of the benchmark.

    Attributes:
        pictures: Of one product.
        extractor: Its weights are those of both sides.
        device: Where both sides compute.
        size: How much is measured.
    """

    pictures: BenchPictures
    extractor: Extractor
    device: torch.device
    size: Size

    @cached_property
    def speed(self) -> FittedModel:
        """The paper's flow alone, fitted for a few epochs, at the most views."""
        return self._fit("the flow alone", self.size.speed)

    @cached_property
    def plant(self) -> Detector:
        """A detector as a plant has it, at the most views."""
        return self._fit("a whole detector", self.size.plant).detector

    @cached_property
    def matmul_rates(self) -> dict[torch.dtype, float]:
        """Operations a second of matrix products, by dtype."""
        return {dtype: matmul_rate(dtype, self.device, self.size.matrix) for dtype in (torch.float32, torch.bfloat16)}

    @property
    def fast_bf16(self) -> bool:
        """Whether bfloat16 pays on the device."""
        return self.matmul_rates[torch.bfloat16] > FAST_BF16 * self.matmul_rates[torch.float32]

    @property
    def fastest_dtype(self) -> torch.dtype:
        """The dtype whose matrix products set the floor."""
        return torch.bfloat16 if self.fast_bf16 else torch.float32

    @property
    def device_name(self) -> str:
        """`cpu`, or what the GPU is called."""
        return torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else self.device.type

    def _fit(self, what: str, preset: Preset) -> FittedModel:
        say(f"fitting {what} to {len(self.pictures.training)} pictures")
        return fit(
            self.pictures.training_set(),
            "bench",
            preset,
            self.extractor,
            false_alarm_rate=FALSE_ALARM_RATE,
            views=self.size.views,
            device=self.device,
        )


def say(what: str) -> None:
    """Tell the person who waits, on standard error."""
    sys.stderr.write(what + "\n")
    sys.stderr.flush()
