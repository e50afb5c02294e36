"""The rows, one after the other."""

import os
from collections.abc import Callable, Collection
from pathlib import Path

import torch

from infra.errors import SettingsError
from scorer.detector import Extractor
from trainer.bench import pictures
from trainer.bench.early_exit import measure_early_exit
from trainer.bench.floor import measure_floor
from trainer.bench.frontier import measure_frontier
from trainer.bench.machine import Machine, cores, library_versions, processor, today
from trainer.bench.plain_scoring import measure_plain_scoring
from trainer.bench.plain_training import measure_plain_training
from trainer.bench.report import KINDS, Report
from trainer.bench.row import NotMeasured, NotMeasuredError, Row
from trainer.bench.setting import Setting, say
from trainer.bench.sizes import Size
from trainer.bench.stages import measure_stages
from trainer.bench.workers import measure_workers

MEASURES: dict[str, Callable[[Setting], Row]] = {
    "P1": measure_plain_scoring,
    "P2": measure_floor,
    "P3": measure_frontier,
    "P4": measure_early_exit,
    "P5": measure_plain_training,
    "P6": measure_stages,
    "P7": measure_workers,
}


def bench(
    size: Size,
    extractor: Extractor,
    device: torch.device,
    folder: Path | None = None,
    only: Collection[str] = tuple(MEASURES),
) -> Report:
    """Measure rows.

    Args:
        size: How much.
        extractor: Its weights are those of both sides.
        device: Where.
        folder: Pictures in MVTec AD layout; drawn ones, if not given.
        only: Which rows.

    Raises:
        TrainingSetError: The folder has another layout, or too few pictures to learn from.
    """
    load = os.getloadavg()[0]
    counts = (size.train, size.good, size.defective)
    found = pictures.drawn(*counts) if folder is None else pictures.read(folder, *counts)
    setting = Setting(found, extractor.to(device), device, size)
    rows = {name: _measured(name, setting) for name in MEASURES if name in only}
    return Report(machine_of(setting, load), f"{found.name}; {extractor.name} extractor weights", rows)


def machine_of(setting: Setting, load: float) -> Machine:
    """The machine, with the load that it had at the start."""
    fp32, bf16 = (setting.matmul_rates[dtype] / 1e9 for dtype in (torch.float32, torch.bfloat16))
    return Machine(
        processor=processor(),
        cores=cores(),
        threads=torch.get_num_threads(),
        load=load,
        device=setting.device_name,
        matmul_fp32=fp32,
        matmul_bf16=bf16,
        fast_bf16=setting.fast_bf16,
        versions=library_versions(),
        date=today(),
    )


def chosen_rows(only: str | None) -> tuple[str, ...]:
    """Read `P1,P4`; all rows, if not given.

    Raises:
        SettingsError: There is no such row.
    """
    if only is None:
        return tuple(MEASURES)
    names = tuple(name.strip().upper() for name in only.split(","))
    if unknown := [name for name in names if name not in KINDS]:
        raise SettingsError(f"--only {unknown[0]}: the rows are {', '.join(KINDS)}")
    return names


def _measured(name: str, setting: Setting) -> Row | NotMeasured:
    say(f"{name}: {KINDS[name].against}")
    try:
        return MEASURES[name](setting)
    except NotMeasuredError as error:
        return NotMeasured(not_measured=str(error))
