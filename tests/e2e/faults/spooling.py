"""A camera of large pictures in a process of its own, for the tests of the spool; prints each sequence that was accepted.

python -m tests.e2e.faults.spooling FPS BYTES [FRAMES]
"""

import sys
import threading
from collections.abc import Iterator

from infra.clock import utc_now
from infra.engines import running_engines
from infra.metrics import Metrics, Service
from infra.settings import load_settings
from infra.stopping import stop_on_signals
from infra.telemetry import configure_logging
from ingest.camera_line import camera_line, camera_of
from ingest.gateway import WhenFull
from ingest.sources import CapturedPicture

CAMERA = "spooled"


def picture(number: int, size: int) -> bytes:
    """Return a body that tells its number and is as large as asked for."""
    return (b"%09d " % number) * (size // 10)


def captured(size: int, frames: int | None, stop: threading.Event) -> Iterator[CapturedPicture]:
    number = 0
    while not stop.is_set() and (frames is None or number < frames):
        yield CapturedPicture(picture(number, size), "image/jpeg", utc_now(), part_id=str(number))
        print(number, flush=True)  # behind the yield: it was accepted
        number += 1


def main(fps: float, size: int, frames: int | None) -> None:
    settings = load_settings()
    configure_logging("warning")
    stop = threading.Event()
    stop_on_signals(stop)
    camera = camera_of(settings, CAMERA, "plate", fps)
    metrics = Metrics(Service.INGEST)
    with (
        running_engines(settings) as engines,
        camera_line(
            settings, engines, camera, stop=stop, spooled=True, when_full=WhenFull.STOP, metrics=metrics
        ) as line,
    ):
        line.gateway.send_all(captured(size, frames, stop))


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else None)
