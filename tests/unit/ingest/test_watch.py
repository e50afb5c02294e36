import threading
from collections.abc import Callable
from datetime import UTC, datetime

from prometheus_client import generate_latest

from infra.errors import BusAwayError, BusFullError
from ingest.gateway import Camera, Gateway
from ingest.sources import CapturedPicture
from ingest.watch import IngestWatch

from ...fake_time import FakeTime

NOON = datetime(2025, 5, 5, 12, tzinfo=UTC)


class SlowBus:
    """Each attempt takes two seconds and ends as told."""

    def __init__(
        self, time: FakeTime, endings: list[Exception | None], look: Callable[[], None] = lambda: None
    ) -> None:
        self.time = time
        self.endings = endings
        self.look = look

    def send(self, *_: object) -> None:
        self.time.now += 2
        self.look()
        ending = self.endings.pop(0)
        if ending is not None:
            raise ending

    def close(self) -> None:
        pass


def send(bus: SlowBus, watch: IngestWatch, bodies: list[bytes], stop: threading.Event | None = None) -> None:
    camera = Camera("oven", "tile", "frames", max_frame_bytes=10, send_timeout_s=300.0)
    time = bus.time
    stop = stop or threading.Event()
    gateway = Gateway(bus, camera, stop=stop, watch=watch, monotonic=time.monotonic, sleep=time.sleep)
    gateway.send_all(CapturedPicture(body, "image/jpeg", NOON) for body in bodies)


def value(watch: IngestWatch, series: str) -> float:
    lines = generate_latest(watch.metrics.registry).decode().splitlines()
    return float(next(line.split()[-1] for line in lines if line.startswith(series)))


def test_what_became_of_each_picture_is_counted() -> None:
    time = FakeTime()
    watch = IngestWatch("oven", 60, time.monotonic)
    send(SlowBus(time, [None, None]), watch, [b"a", b"far too large", b"b"])
    assert value(watch, 'differline_ingest_accepted_frames_total{camera="oven"}') == 2
    assert value(watch, 'differline_ingest_refused_pictures_total{camera="oven"}') == 1
    assert value(watch, 'differline_ingest_waiting_seconds_total{camera="oven"}') == 0


def test_time_waited_for_the_bus_is_counted_with_its_reason() -> None:
    time = FakeTime()
    watch = IngestWatch("oven", 60, time.monotonic)
    send(SlowBus(time, [BusFullError("full"), BusAwayError("away"), BusAwayError("away"), None]), watch, [b"a"])
    assert value(watch, 'differline_ingest_send_retries_total{camera="oven",reason="full"}') == 1
    assert value(watch, 'differline_ingest_send_retries_total{camera="oven",reason="away"}') == 2
    assert value(watch, 'differline_ingest_waiting_seconds_total{camera="oven"}') == time.now - 1000


def test_it_is_ill_while_a_frame_waits_too_long_and_well_again_afterwards() -> None:
    time = FakeTime()
    watch = IngestWatch("oven", 60, time.monotonic)
    told: list[str | None] = []

    def look() -> None:
        told.append(watch.health())
        time.now += 29

    send(
        SlowBus(time, [BusFullError("the stream is full"), BusFullError("the stream is full"), None], look),
        watch,
        [b"a"],
    )
    assert told[:2] == [None, None]
    assert told[2] is not None
    assert told[2].endswith("the stream is full")
    time.now += 3600  # the camera has nothing to send
    assert watch.health() is None


def test_a_frame_given_up_on_request_is_no_illness() -> None:
    time = FakeTime()
    watch = IngestWatch("oven", 1, time.monotonic)
    stop = threading.Event()
    send(SlowBus(time, [BusAwayError("away")] * 9, stop.set), watch, [b"a"], stop)
    time.now += 3600
    assert watch.health() is None
