"""Which machine printed the figures, and whether it was quiet. No torch here: other benchmarks say it too."""

import os
from importlib.metadata import version
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from infra.clock import utc_now

LIBRARIES = ("differline", "torch", "torchvision", "numpy", "opencv-python-headless", "pillow")


class Machine(BaseModel):
    """The machine of a run.

    Attributes:
        processor: Its model.
        cores: Cores that this process may use.
        threads: Threads that torch computes with.
        load: Load average over a minute, at the start.
        device: The device that was measured: `cpu`, or the name of the GPU.
        matmul_fp32: GFLOP/s of products of float32 matrices, two operations a multiply-add.
        matmul_bf16: The same of bfloat16 matrices.
        fast_bf16: Whether bfloat16 is the faster one by a fifth at least.
        versions: Versions of the libraries.
        date: Day of the run, UTC.
    """

    model_config = ConfigDict(frozen=True)

    processor: str
    cores: int
    threads: int
    load: float
    device: str
    matmul_fp32: float
    matmul_bf16: float
    fast_bf16: bool
    versions: dict[str, str]
    date: str

    def line(self) -> str:
        """The machine in one line."""
        torch_version = self.versions["torch"]
        bf16 = "fast bf16" if self.fast_bf16 else "no fast bf16"
        rates = f"{self.matmul_fp32:,.1f} fp32 and {self.matmul_bf16:,.1f} bf16 GFLOP/s"
        measured = "" if self.device == "cpu" else f"measured on {self.device}, "
        return (
            f"{processor_line(self.processor, self.cores, self.load, self.date)}; {measured}{self.threads} threads, "
            f"torch {torch_version}, {bf16} (matrix products: {rates})"
        )


def processor() -> str:
    """The processor's model."""
    try:
        known = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        known = []
    return next((line.split(":")[1].strip() for line in known if line.startswith("model name")), "unknown processor")


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def today() -> str:
    """The day, UTC."""
    return f"{utc_now():%Y-%m-%d}"


def library_versions() -> dict[str, str]:
    """Versions of what computes."""
    return {name: version(name) for name in LIBRARIES}


def processor_line(model: str, count: int, load: float, date: str) -> str:
    """Processor, cores, load and day, as every benchmark says them."""
    return f"{model}, {count} cores, load average at the start {load:.1f}, {date}"


def machine_line() -> str:
    """The same of this machine, now."""
    return processor_line(processor(), cores(), os.getloadavg()[0], today())
