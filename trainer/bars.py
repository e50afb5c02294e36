"""Progress for people: bars on a terminal, a line per quarter of a stage elsewhere."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from trainer.progress import Progress, Stage

_QUARTERS = 4
_TITLES = {
    Stage.SCAN: "reading pictures",
    Stage.FEATURES: "features of the training views",
    Stage.FIT: "fitting the flow, epochs",
    Stage.LOCAL: "cells of the pictures",
    Stage.DEFECT_MAP: "fitting the defect map, steps",
    Stage.PROBE: "scoring pictures that nothing learned from",
    Stage.EVIDENCE: "scoring synthetic defects",
    Stage.ADAPT: "adapting the extractor, seconds",
    Stage.CALIBRATION: "calibrating on held-out pictures",
    Stage.HEATMAPS: "colour scale of the heatmaps",
    Stage.CHALLENGE: "scoring challenge parts",
    Stage.REGISTER: "registering the candidate",
    Stage.REPLAY: "scoring frames again",
    Stage.TEST: "scoring test pictures",
    Stage.BASELINES: "baselines",
    Stage.BANK: "features of the bank of views",
    Stage.TRIALS: "trials",
    Stage.GANOMALY: "training GANomaly, epochs",
    Stage.PIXELS: "heatmaps",
}


@contextmanager
def progress_shown() -> Iterator[Progress]:
    """Yield the callback that shows progress on standard error."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Lines()
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Bars(*columns, console=console) as bars:
        tasks = {}

        def show(stage: Stage, done: int, total: int, detail: str = "") -> None:
            if stage not in tasks or done == 0:
                tasks[stage] = bars.add_task(_TITLES[stage], total=total)
            bars.update(tasks[stage], completed=done, total=total, description=f"{_TITLES[stage]} {detail}".rstrip())

        yield show


class _Lines:
    """Prints a line when a stage begins, at each quarter of it, and at its end."""

    def __init__(self) -> None:
        self._quarter: dict[Stage, int] = {}

    def __call__(self, stage: Stage, done: int, total: int, detail: str = "") -> None:
        quarter = done * _QUARTERS // total if total else 0
        if done and quarter == self._quarter.get(stage):
            return
        self._quarter[stage] = quarter
        sys.stderr.write(f"{_TITLES[stage]}: {done} of {total} {detail}".rstrip() + "\n")
        sys.stderr.flush()
