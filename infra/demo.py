"""`differline demo`: the whole line on one machine, with simulated cameras.

It only starts the commands that a user would start, so what it shows is what there is.
"""

import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from infra.children import differline, ending_with_us

if TYPE_CHECKING:
    import sqlalchemy as sa

    from infra.engines import Engines
    from infra.settings import Settings

app = typer.Typer(add_completion=False, help="Run the whole line on simulated cameras.")

TRAINING_FRAMES = 60  # a minute a product on two cores
FALSE_ALARM_RATE = 0.1  # what the twelve held-out pictures can promise
VIEWS = 4  # a quarter of a second a frame on two cores; the 64 of the paper would take four seconds
DEFECT_RATE = 0.2
_LOOK_EVERY_S = 2.0
_STOP_TIMEOUT_S = 30


@dataclass(frozen=True, slots=True)
class DemoCamera:
    """A simulated camera of the demo."""

    name: str
    product: str
    seed: int


CAMERAS = (
    DemoCamera("line1-gear", "gear", 11),
    DemoCamera("line1-flange", "flange", 12),
)


@dataclass(frozen=True, slots=True)
class Line:
    """The running line of the demo."""

    settings: "Settings"
    engines: "Engines"
    interrupted: threading.Event

    def drained(self) -> bool:
        """Whether nothing waits for the scorer; says how far it is."""
        from infra.ledger_report import current_ledger

        ledger = current_ledger(self.settings, self.engines)
        typer.echo(f"      {ledger.accounted} of {ledger.received} frames accounted for")
        return not any(camera.waiting for camera in ledger.cameras)


@app.command()
def demo(
    frames: Annotated[
        int | None, typer.Option(min=1, help="End after so many frames over all cameras; without it: until Ctrl-C.")
    ] = None,
    fps: Annotated[
        float, typer.Option(min=0.01, help="Frames a second of each camera, while the dashboard runs.")
    ] = 1.0,
    dashboard: Annotated[bool, typer.Option(help="Show the dashboard.")] = True,
) -> None:
    """Run the whole line: train on simulated defect-free parts, then judge a stream with defects.

    Exit code 0 only if the ledger balances.
    """
    from infra.engines import running_engines
    from infra.ledger_report import current_ledger, ledger_table
    from infra.settings import load_settings
    from infra.stopping import stop_on_signals
    from infra.store.connect import open_database

    settings = load_settings()
    interrupted = threading.Event()
    stop_on_signals(interrupted)
    _say(1, "starting PostgreSQL and Redis")
    with running_engines(settings) as engines:
        database = open_database(engines.database_url, pool_size=1)
        _train_missing(settings, database, interrupted)
        if not interrupted.is_set():
            _stream(Line(settings, engines, interrupted), frames, fps, dashboard)
        ledger = current_ledger(settings, engines)
        _say(4, "what became of every frame")
        typer.echo(ledger_table(ledger))
        typer.echo(_auroc_line(database))
        database.dispose()
    raise typer.Exit(0 if ledger.balanced else 1)


def _train_missing(settings: "Settings", database: "sa.Engine", interrupted: threading.Event) -> None:
    from infra.store.models import models_in_force

    ready = models_in_force(database)
    for product in sorted({camera.product for camera in CAMERAS} - ready.keys()):
        if interrupted.is_set():
            return
        folder = settings.data_dir / "demo" / product
        _say(2, f"drawing {TRAINING_FRAMES} defect-free parts of {product} and learning from them")
        count = ("--frames", str(TRAINING_FRAMES), "--defect-rate", "0", "--seed", "1")
        _finish("ingest", "simulate", "--camera", "training", "--product", product, *count, "--to-folder", str(folder))
        rate = ("--false-alarm-rate", str(FALSE_ALARM_RATE))
        images = ("--images", str(folder / "train" / "good"))
        _finish("train", "--product", product, *images, "--preset", "compact", "--views", str(VIEWS), *rate)


def _stream(line: "Line", frames: int | None, fps: float, dashboard: bool) -> None:
    with ExitStack() as running:
        _say(3, "streaming" if frames is None else f"streaming {frames} frames")
        if dashboard:
            running.enter_context(_started("dashboard"))
            running.enter_context(_started("schedule"))  # so that the models page finds a trainer; it idles with 100 MB
            typer.echo(
                f"      dashboard: http://{line.settings.dashboard_host}:{line.settings.dashboard_port} (Ctrl-C ends)"
            )
        scorer = running.enter_context(_started("score"))
        pace = fps if dashboard else None
        cameras = [
            running.enter_context(_started("ingest", "simulate", *_camera_arguments(camera, share, pace)))
            for camera, share in zip(CAMERAS, _shares(frames), strict=True)
            if share != 0
        ]
        while not line.interrupted.wait(_LOOK_EVERY_S):
            failed = [process for process in (scorer, *cameras) if process.poll()]
            if failed:
                typer.echo(f"a part of the line failed with exit code {failed[0].returncode}", err=True)
                raise typer.Exit(1)
            if all(camera.poll() == 0 for camera in cameras) and line.drained():
                break


def _shares(frames: int | None) -> Sequence[int | None]:
    if frames is None:
        return [None] * len(CAMERAS)
    return [frames // len(CAMERAS) + (place < frames % len(CAMERAS)) for place in range(len(CAMERAS))]


def _camera_arguments(camera: DemoCamera, frames: int | None, fps: float | None) -> list[str]:
    arguments = ["--camera", camera.name, "--product", camera.product, "--seed", str(camera.seed)]
    arguments += ["--defect-rate", str(DEFECT_RATE)]
    arguments += [] if frames is None else ["--frames", str(frames)]
    return arguments + ([] if fps is None else ["--fps", str(fps)])


def _finish(*arguments: str) -> None:
    """Run a command to its end; a failure ends the demo with the command's own message."""
    done = subprocess.run(ending_with_us(differline(*arguments)), check=False)  # noqa: S603 - our own command
    if done.returncode:
        raise typer.Exit(done.returncode)


@contextmanager
def _started(*arguments: str) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a command beside this one; at the end it is asked to finish, and waited for."""
    command = ending_with_us(differline(*arguments))
    process = subprocess.Popen(command, start_new_session=True)  # noqa: S603 - our own command
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
        try:
            process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _auroc_line(database: "sa.Engine") -> str:
    from sklearn.metrics import roc_auc_score

    from infra.store.truth import scores_with_truth

    rows = scores_with_truth(database, [camera.name for camera in CAMERAS])
    lines = []
    for product in sorted({row.product for row in rows}):
        chosen = [row for row in rows if row.product == product]
        defective = [row.truth != "good" for row in chosen]
        if any(defective) and not all(defective):
            auroc = roc_auc_score(defective, [row.score for row in chosen])
            lines.append(f"AUROC against the simulator's truth, {product}: {auroc:.3f} over {len(chosen)} frames")
        else:
            lines.append(f"AUROC of {product}: not defined, {sum(defective)} of {len(chosen)} frames are defective")
    return "\n".join(lines) or "no simulated frame was scored"


def _say(step: int, text: str) -> None:
    typer.echo(f"[{step}/4] {text}")
