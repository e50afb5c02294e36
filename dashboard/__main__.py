"""`differline dashboard`: the pages in a browser, until Ctrl-C."""

from typing import Annotated

import typer

app = typer.Typer(help="The live line and its alerts, in a browser.", add_completion=False)


@app.callback(invoke_without_command=True)
def dashboard(
    host: Annotated[str | None, typer.Option(help="Address to listen on; else the setting.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; else the setting.")] = None,
) -> None:
    """Show the line in a browser, until Ctrl-C."""
    from functools import partial

    from dashboard.server import serve
    from dashboard.watch import DashboardWatch
    from infra.engines import running_engines
    from infra.monitoring import monitored
    from infra.settings import load_settings
    from infra.telemetry import configure_logging

    given = {"dashboard_host": host, "dashboard_port": port}
    settings = load_settings(**{name: value for name, value in given.items() if value is not None})
    configure_logging(settings.log_level)
    watch = DashboardWatch(settings)
    with monitored(settings, watch.metrics, watch.health):
        serve(settings, partial(watch.watched, running_engines), announce=typer.echo)


if __name__ == "__main__":
    app()
