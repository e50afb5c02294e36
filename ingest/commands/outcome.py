"""What all commands of ingest begin and end with: a request to stop, and what became of the run."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from infra.stopping import set_from_handler

if TYPE_CHECKING:
    from infra.settings import Settings
    from ingest.gateway import IngestReport
    from ingest.sources.folder import FolderSource


def print_report(
    report: "IngestReport", camera: str, settings: "Settings", source: "FolderSource | None" = None
) -> None:
    """Say what became of the run; the exit code stays 0, for what was refused was said and never accepted."""
    taken = "the spool" if report.spooled else "the bus"
    stopped = ", stopped on request" if report.stopped else ""
    typer.echo(f"{camera}: {taken} accepted {report.accepted} frames in run {report.run}{stopped}")
    limit = f"larger than {settings.max_frame_bytes} bytes, the limit of a frame"
    _print_left_out(limit, report.refused, report.refused_names)
    if source is not None:
        _print_left_out("not readable", source.unreadable, source.unreadable_names)


def _print_left_out(why: str, count: int, names: list[str]) -> None:
    if count:
        more = f" and {count - len(names)} more" if count > len(names) else ""
        typer.echo(f"NOT sent, {why}: {count} ({', '.join(names)}{more})", err=True)


@contextmanager
def stop_on_signal() -> Iterator[threading.Event]:
    """Turn the first Ctrl-C or SIGTERM into a request to stop; the second one acts as always."""
    stop = threading.Event()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def ask_to_stop(*_: object) -> None:
        set_from_handler(stop)
        restore()

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    for number in before:
        signal.signal(number, ask_to_stop)
    try:
        yield stop
    finally:
        restore()
