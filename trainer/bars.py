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
    Stage.CALIBRATION: "calibrating on held-out pictures",
    Stage.HEATMAPS: "colour scale of the heatmaps",
    Stage.TEST: "scoring test pictures",
    Stage.BASELINES: "baselines",
}


@contextmanager
def progress_shown() -> Iterator[Progress]:
    """Yield the callback that shows progress on standard error."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _print_quarter
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


def _print_quarter(stage: Stage, done: int, total: int, detail: str = "") -> None:
    if total and done * _QUARTERS // total != (done - 1) * _QUARTERS // total:
        sys.stderr.write(f"{_TITLES[stage]}: {done} of {total} {detail}".rstrip() + "\n")
        sys.stderr.flush()
