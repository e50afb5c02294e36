"""`differline ingest video`, `rtsp` and `usb`: one camera, by the options of a command."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ingest.commands.options import (
    CameraOption,
    EveryOption,
    FpsOption,
    JobOption,
    LiveFpsOption,
    PartCodeOption,
    PngOption,
    ProductOption,
    QualityOption,
    RegionOption,
    SizeOption,
    SpoolOption,
    TimeoutOption,
    TriggerOption,
)

if TYPE_CHECKING:
    from ingest.cameras import Camera


def video(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A video that FFmpeg reads.")],
    *,
    camera: CameraOption,
    product: ProductOption,
    job: JobOption = None,
    fps: FpsOption = None,
    every: EveryOption = None,
    trigger: TriggerOption = None,
    region: RegionOption = None,
    size: SizeOption = None,
    jpeg_quality: QualityOption = None,
    png: PngOption = None,
    part_code: PartCodeOption = None,
    spool: SpoolOption = None,
) -> None:
    """Send the frames of a video file, in order.

    A frame counts as captured when it is read, whenever the video was made.
    """
    given = locals()
    from ingest.cameras import VideoCamera

    _run(VideoCamera, **given)


def rtsp(
    url: Annotated[
        str,
        typer.Argument(
            metavar="URL",
            help="Such as rtsp://10.0.0.17/stream1. With a password in it write it as ${NAME}, in single quotes: it is taken "
            "from the environment, and is not in the list of processes.",
        ),
    ],
    *,
    camera: CameraOption,
    product: ProductOption,
    user: Annotated[str | None, typer.Option("--user", help="User name at the camera.")] = None,
    password_env: Annotated[
        str | None,
        typer.Option("--password-env", metavar="NAME", help="Variable of the environment with the password."),
    ] = None,
    password_file: Annotated[
        Path | None, typer.Option("--password-file", metavar="FILE", help="File with the password.")
    ] = None,
    job: JobOption = None,
    fps: LiveFpsOption = None,
    every: EveryOption = None,
    trigger: TriggerOption = None,
    region: RegionOption = None,
    size: SizeOption = None,
    jpeg_quality: QualityOption = None,
    png: PngOption = None,
    part_code: PartCodeOption = None,
    timeout_s: TimeoutOption = None,
    spool: SpoolOption = None,
) -> None:
    """Send the frames of an RTSP camera, over TCP, until Ctrl-C.

    A camera that is away is opened again, for ever, at most 3 seconds after each attempt; one that refuses the password
    every 30 seconds. What it owes meanwhile, by its own pace, stands in the ledger as skipped: camera_away.
    """
    given = locals()
    from ingest.cameras import RtspCamera

    _run(RtspCamera, **given)


def usb(
    device: Annotated[Path, typer.Argument(metavar="DEVICE", help="Such as /dev/video0, or a link in /dev/v4l/by-id.")],
    *,
    camera: CameraOption,
    product: ProductOption,
    job: JobOption = None,
    capture_size: Annotated[
        str | None,
        typer.Option(
            "--capture-size", metavar="WIDTHxHEIGHT", help="Ask the camera for this size; it takes the nearest."
        ),
    ] = None,
    capture_fps: Annotated[float | None, typer.Option("--capture-fps", help="Ask the camera for this pace.")] = None,
    fps: LiveFpsOption = None,
    every: EveryOption = None,
    trigger: TriggerOption = None,
    region: RegionOption = None,
    size: SizeOption = None,
    jpeg_quality: QualityOption = None,
    png: PngOption = None,
    part_code: PartCodeOption = None,
    timeout_s: TimeoutOption = None,
    spool: SpoolOption = None,
) -> None:
    """Send the frames of a USB camera (V4L2), until Ctrl-C; one that is pulled out is opened again when it is back.

    A frame counts as captured when the kernel has stamped it.
    """
    given = locals()
    from ingest.cameras import UsbCamera

    _run(UsbCamera, **given)


def gige(
    device: Annotated[
        str | None,
        typer.Argument(
            metavar="[ID]",
            help="Aravis' id of the camera, such as Basler-12345678, or its IP address.",
            show_default="the first one found",
        ),
    ] = None,
    *,
    camera: CameraOption,
    product: ProductOption,
    job: JobOption = None,
    pixel_format: Annotated[
        str | None,
        typer.Option(
            "--pixel-format",
            help="Mono8, RGB8, BGR8, or a Bayer pattern such as BayerRG8.",
            show_default="as it is set",
        ),
    ] = None,
    camera_trigger: Annotated[
        str | None,
        typer.Option(
            "--camera-trigger",
            metavar="free|software|LineN",
            help="Let it run, trigger it --capture-fps times a second, or let one of its lines trigger it.",
            show_default="free",
        ),
    ] = None,
    capture_fps: Annotated[float | None, typer.Option("--capture-fps", help="Ask the camera for this pace.")] = None,
    fps: LiveFpsOption = None,
    every: EveryOption = None,
    trigger: TriggerOption = None,
    region: RegionOption = None,
    size: SizeOption = None,
    jpeg_quality: QualityOption = None,
    png: PngOption = None,
    part_code: PartCodeOption = None,
    timeout_s: TimeoutOption = None,
    spool: SpoolOption = None,
) -> None:
    """Send the frames of a GigE Vision camera, through Aravis, until Ctrl-C; one that vanishes is opened again when it is back.

    A frame counts as captured when the camera's own clock says so. Needs Debian's python3-gi and gir1.2-aravis-0.8.
    """
    given = locals()
    from ingest.cameras import GigeCamera

    _run(GigeCamera, id=given.pop("device"), **given)


def _run(kind: "type[Camera]", *, camera: str, **options: Any) -> None:
    from infra.settings import load_settings
    from infra.telemetry import configure_logging, get_logger
    from ingest.camera_file import camera_from_options
    from ingest.commands.outcome import print_report, stop_on_signal
    from ingest.running import run_camera
    from ingest.sources.address import has_password

    chosen = camera_from_options(kind, name=camera, **options)
    settings = load_settings()
    configure_logging(settings.log_level)
    if has_password(str(options.get("url", ""))):
        get_logger("ingest").warning(
            "password_on_command_line",
            reason="everybody on this machine can read it there; write ${NAME} or --password-env",
        )
    with stop_on_signal() as stop:
        report = run_camera(settings, chosen, stop)
    print_report(report, chosen.name, settings)
