"""What the benchmarks share: which machine it was, and Markdown tables."""

import os
from collections.abc import Sequence
from pathlib import Path

from infra.clock import utc_now


def machine_line() -> str:
    """Which machine printed the figures, and whether it was quiet."""
    known = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((line.split(":")[1].strip() for line in known if line.startswith("model name")), "unknown processor")
    cores = len(os.sched_getaffinity(0))
    return f"{cpu}, {cores} cores, load average at the start {os.getloadavg()[0]:.1f}, {utc_now():%Y-%m-%d}"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (header, ["---"] * len(header), *rows))
