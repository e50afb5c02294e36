"""`differline ingest cameras`: many cameras at once, each a process of its own."""

from pathlib import Path
from typing import Annotated

import typer


def cameras(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A TOML file with a table [[camera]] for each camera.")],
    *,
    only: Annotated[
        str | None, typer.Option("--only", metavar="NAME", help="Run this one alone, in this process.")
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Read the file, say what is wrong with it, and end.")] = False,
) -> None:
    """Run the cameras of a file, each in a process of its own, until Ctrl-C.

    A key is called like the option of the camera's command, with _ for -; kind is rtsp, usb, gige, video or folder. One that
    fails ends no other: a live one is started again, after a pause that grows to a minute.
    """
    from infra.errors import SettingsError
    from infra.settings import load_settings
    from infra.telemetry import configure_logging
    from ingest.camera_file import read_cameras
    from ingest.commands.outcome import print_report, stop_on_signal
    from ingest.crew import Crew, plan_crew
    from ingest.running import checked, run_camera

    found = read_cameras(file)
    settings = load_settings()
    if only is not None:
        chosen = next((camera for camera in found if camera.name == only), None)
        if chosen is None:
            raise SettingsError(f"{file} has no camera {only!r}")
        configure_logging(settings.log_level)
        with stop_on_signal() as stop:
            report = run_camera(settings, chosen, stop)
        print_report(report, chosen.name, settings)
        return
    checked(settings, found)
    if check:
        typer.echo(f"{file}: {len(found)} cameras, nothing wrong")
        return
    configure_logging(settings.log_level)
    with stop_on_signal() as stop:
        failed = Crew(plan_crew(settings, file, found), stop).run()
    if failed:
        typer.echo(f"{len(failed)} of {len(found)} cameras did not end in order: {', '.join(failed)}", err=True)
        raise typer.Exit(1)
