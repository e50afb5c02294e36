"""`differline ingest`: where the service is put together."""

import math
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from infra.errors import SettingsError
from ingest.commands import many, one
from ingest.commands.options import PartCodeOption, PartPatternOption
from ingest.commands.outcome import print_report, stop_on_signal
from ingest.names import checked_name

if TYPE_CHECKING:
    from infra.settings import Settings
    from ingest.gateway import IngestReport
    from ingest.sources import CapturedPicture

app = typer.Typer(
    add_completion=False,
    rich_markup_mode="markdown",  # flows the paragraphs of the help text
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Send frames to the line: the pictures of a folder, or of a simulated camera.",
)

app.command()(one.video)
app.command()(one.rtsp)
app.command()(one.usb)
app.command()(one.gige)
app.command()(many.cameras)

CameraOption = Annotated[str, typer.Option("--camera", help="Name of the camera; its frames stay in order.")]
ProductOption = Annotated[str, typer.Option("--product", help="What is on the pictures; chooses the model.")]
JobOption = Annotated[str | None, typer.Option("--job", help="Job or order that the frames belong to.")]
SpoolOption = Annotated[
    bool,
    typer.Option("--spool", help="Keep frames on disk while the bus is away, instead of waiting for it."),
]
FpsOption = Annotated[
    float | None, typer.Option("--fps", help="Frames a second at most.", show_default="as fast as the bus takes them")
]


@app.command()
def folder(
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="Folder with *.jpg, *.jpeg and *.png, at any depth.")
    ],
    *,
    camera: CameraOption,
    product: ProductOption,
    fps: FpsOption = None,
    watch: Annotated[bool, typer.Option("--watch", help="Stay, and send what is added, once it is whole.")] = False,
    job: JobOption = None,
    part_pattern: PartPatternOption = None,
    part_code: PartCodeOption = None,
    spool: SpoolOption = False,
) -> None:
    """Send the pictures of a folder, sorted by path, byte for byte.

    Broken files are sent too: the scorer keeps them as dead letters with their reason. A frame counts as captured when its
    file is read; its part id is the path below DIR without suffix, unless --part-pattern or --part-code says another. A file
    larger than DIFFERLINE_MAX_FRAME_BYTES cannot be sent: it is named and counted at the end.
    """
    from infra.settings import load_settings
    from ingest.part_id import CodeReader, parsed_code, parsed_pattern
    from ingest.sources.folder import FolderSource
    from ingest.sources.identified import Identified
    from ingest.sources.watched import WatchedFolder

    _check_names(camera=camera, product=product, job=job)
    _check_fps(fps)
    names = None if part_pattern is None else parsed_pattern(part_pattern)
    code = None if part_code is None else CodeReader(parsed_code(part_code))
    if not directory.is_dir():
        raise SettingsError(f"{directory} is not a folder")
    settings = load_settings()
    source = FolderSource(directory, max_bytes=settings.max_frame_bytes, job_id=job)
    if not watch and not source.files():
        raise SettingsError(f"{directory} holds no pictures (*.jpg, *.jpeg, *.png)")
    with stop_on_signal() as stop:
        pictures = Identified(WatchedFolder(source, stop) if watch else source, names, code)
        report = _send(settings, pictures, stop, camera=camera, product=product, fps=fps, spooled=spool)
    print_report(report, camera, settings, source)


@app.command()
def simulate(
    *,
    product: ProductOption,
    camera: Annotated[
        str | None, typer.Option("--camera", help="Name of the camera; needed unless --to-folder is given.")
    ] = None,
    frames: Annotated[
        int | None, typer.Option("--frames", min=1, help="How many frames.", show_default="until Ctrl-C")
    ] = None,
    fps: FpsOption = None,
    seed: Annotated[
        int, typer.Option("--seed", help="Chooses the sequence of pictures; the same seed repeats it.")
    ] = 0,
    defect_rate: Annotated[float, typer.Option("--defect-rate", help="Chance of a defect, from 0 to 1.")] = 0.1,
    lamp: Annotated[
        float, typer.Option("--lamp", min=0.1, max=2.0, help="How bright the light above the belt is; 1: as usual.")
    ] = 1.0,
    job: JobOption = None,
    spool: SpoolOption = False,
    to_folder: Annotated[
        Path | None,
        typer.Option(
            "--to-folder",
            metavar="DIR",
            help="Write the pictures instead of sending them, as in MVTec AD: train/good at --defect-rate 0, "
            "test/KIND otherwise. Needs --frames.",
        ),
    ] = None,
) -> None:
    """Send the pictures of a simulated camera: machined parts on a belt, some with a defect, the truth in the message.

    The product's name decides what the part looks like: a name with gear, flange, bracket, washer or link in it is one of
    those, any other name is one of them by chance. Kinds of defects: scratch, crack, blowhole, stain, missing_hole,
    chipped_edge, foreign_fibre.
    """
    from infra.settings import load_settings
    from ingest.sources.simulator import SimulatedCamera

    _check_names(camera=camera, product=product, job=job)
    _check_fps(fps)
    if not 0 <= defect_rate <= 1:
        raise SettingsError(f"--defect-rate must lie between 0 and 1, not {defect_rate}")
    source = SimulatedCamera(product, seed=seed, defect_rate=defect_rate, frames=frames, job_id=job, lamp=lamp)
    with stop_on_signal() as stop:
        if to_folder is not None:
            _write(source, to_folder, frames, defect_rate, stop)
            return
        if camera is None:
            raise SettingsError("--camera is needed to send frames (or --to-folder to write them)")
        settings = load_settings()
        report = _send(settings, source, stop, camera=camera, product=product, fps=fps, spooled=spool)
    print_report(report, camera, settings)


@app.command()
def http(
    *,
    product: Annotated[
        str | None, typer.Option("--product", help="What is on the pictures of posts that do not say.")
    ] = None,
) -> None:
    """Take frames that cameras and inspection cells post: POST /cameras/{camera}/frames, until Ctrl-C.

    DIFFERLINE_HTTP_HOST, _PORT and _TOKEN say where, and who may. 202 means that the frame is on disk here and goes to the
    bus from there, whatever happens; 429 means: send it again later.
    """
    from infra.settings import load_settings
    from ingest.http.run import take_posts

    _check_names(product=product)
    settings = load_settings()
    with stop_on_signal() as stop:
        take_posts(settings, stop, product)


def _send(
    settings: "Settings",
    pictures: "Iterable[CapturedPicture]",
    stop: threading.Event,
    *,
    camera: str,
    product: str,
    fps: float | None,
    spooled: bool = False,
) -> "IngestReport":
    from infra.telemetry import configure_logging
    from ingest.camera_line import camera_of
    from ingest.running import send

    configure_logging(settings.log_level)
    return send(settings, camera_of(settings, camera, product, fps), lambda _: pictures, stop, spooled=spooled)


def _write(
    pictures: "Iterable[CapturedPicture]", target: Path, frames: int | None, defect_rate: float, stop: threading.Event
) -> None:
    from ingest.dataset import write_dataset

    if frames is None:
        raise SettingsError("--to-folder needs --frames")
    counts = write_dataset(pictures, target, training=defect_rate == 0, stop=stop)
    kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(counts.items()))
    typer.echo(f"wrote {counts.total()} pictures to {target}: {kinds or 'none'}")


def _check_names(**names: str | None) -> None:
    """Refuse what a frame message cannot carry.

    Raises:
        SettingsError: A name is empty, too long, has a NUL or is not text.
    """
    for option, name in names.items():
        if name is not None:
            try:
                checked_name(name)
            except ValueError as error:
                raise SettingsError(f"--{option} {error}") from None


def _check_fps(fps: float | None) -> None:
    if fps is not None and not (math.isfinite(fps) and fps > 0):
        raise SettingsError(f"--fps must be a number above 0, not {fps}")
