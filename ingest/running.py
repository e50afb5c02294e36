"""One camera running: its source opened, its pictures sent through its line, until it ends or is asked to stop."""

import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from functools import partial

from infra.engines import running_engines
from infra.errors import SettingsError, SourceError
from infra.metrics import Metrics, Service
from infra.monitoring import Health, monitored
from infra.settings import Settings
from infra.store.tables import SkipReason
from ingest.camera_line import camera_line, camera_of
from ingest.cameras import (
    Camera,
    DecodedCamera,
    FolderCamera,
    GigeCamera,
    LiveKind,
    RtspCamera,
    UsbCamera,
    VideoCamera,
)
from ingest.develop import Developing
from ingest.gateway import Camera as SentAs
from ingest.gateway import IngestReport, WhenFull
from ingest.part_id import CodeReader, PartCode
from ingest.sources import CapturedPicture
from ingest.sources.folder import FolderSource
from ingest.sources.gige.capture import GigeOptions, open_gige
from ingest.sources.identified import Identified
from ingest.sources.live import LiveCamera, OnSkipped, Opener
from ingest.sources.opencv import Capture
from ingest.sources.rtsp import open_rtsp
from ingest.sources.usb import open_usb
from ingest.sources.video import VideoFile
from ingest.sources.watched import WatchedFolder
from ingest.trigger import OuterTrigger, Thinning

TRIGGER_PATIENCE_S = 2.0  # a part whose picture comes later is another part's

Pictures = Iterable[CapturedPicture]
Source = Callable[[OnSkipped], Pictures]


def run_camera(settings: Settings, camera: Camera, stop: threading.Event) -> IngestReport:
    """Send what a camera captures.

    Args:
        settings: The settings.
        camera: Which camera, and how.
        stop: Set from outside when it should end.

    Raises:
        SettingsError: It cannot be opened as it is described.
        SourceError: It gives what cannot be sent.
        SpoolFullError: A triggered camera has no room left for its pictures.
    """
    with ExitStack() as opened:
        source = prepared(settings, camera, stop, opened)  # first: what is wrong with it is said before anything starts
        pace = (
            None if isinstance(camera, LiveKind) else camera.fps
        )  # a live one is thinned where it is read: it does not wait
        sent_as = camera_of(settings, camera.name, camera.product, pace)
        return send(settings, sent_as, source, stop, spooled=camera.spool, when_full=_when_full(camera))


def send(
    settings: Settings,
    camera: SentAs,
    source: Source,
    stop: threading.Event,
    *,
    spooled: bool,
    when_full: WhenFull = WhenFull.WAIT,
) -> IngestReport:
    """Put metrics, engines, bus, ledger and gateway together, and send all pictures of a source.

    Args:
        settings: The settings.
        camera: What all its frames share.
        source: Makes the pictures; told whom to tell of frames that it could not hand in.
        stop: Set from outside when it should end.
        spooled: Whether the frames go through a spool on disk.
        when_full: What happens when that is full.

    Raises:
        SourceError: The source gives what cannot be sent.
        SpoolFullError: There is no room left, and the camera may skip nothing.
    """
    metrics = Metrics(Service.INGEST)
    healths: list[Health] = []
    with ExitStack() as opened:
        opened.enter_context(monitored(settings, metrics, lambda: next((why for h in healths if (why := h())), None)))
        engines = opened.enter_context(running_engines(settings))
        line = opened.enter_context(
            camera_line(settings, engines, camera, stop=stop, spooled=spooled, when_full=when_full, metrics=metrics)
        )
        healths.append(line.health)
        return line.gateway.send_all(source(line.on_skipped))


def checked(settings: Settings, cameras: Sequence[Camera]) -> None:
    """Look whether each camera can be opened as it is described, as far as that can be seen without it.

    Raises:
        SettingsError: One line for each that cannot.
    """
    mistakes = []
    for camera in cameras:
        with ExitStack() as opened:
            try:
                prepared(settings, camera, threading.Event(), opened)
            except (SettingsError, SourceError) as error:
                mistakes.append(f"camera {camera.name}: {error}")
    if mistakes:
        raise SettingsError("\n".join(mistakes))


def prepared(settings: Settings, camera: Camera, stop: threading.Event, opened: ExitStack) -> Source:
    """Return what makes the camera's source; what can be wrong with its description is found here.

    Args:
        settings: The settings.
        camera: Which camera, and how.
        stop: Set from outside when it should end.
        opened: Closes what is opened for it.

    Raises:
        SettingsError: A folder, a password or a trigger's pipe is not there.
        SourceError: A file is no video.
    """
    match camera:
        case FolderCamera():
            folder = _folder(settings, camera, stop)
            return lambda _: folder
        case VideoCamera():
            trigger = _trigger(camera, float("inf"), opened)
            video = VideoFile(camera.file, stop, thinning=Thinning(camera.every), trigger=trigger)
            pictures = Developing(video, camera.shaping, camera.job, _code(camera.part_code))
            return lambda _: pictures
        case RtspCamera():
            return _live(camera, partial(open_rtsp, camera.address(), timeout_s=camera.timeout_s), stop, opened)
        case UsbCamera():
            open_camera = partial(
                open_usb,
                camera.device,
                timeout_s=camera.timeout_s,
                size=camera.capture_size,
                fps=camera.capture_fps,
            )
            return _live(camera, open_camera, stop, opened)
        case GigeCamera():
            return partial(_gige, settings, camera, stop, _trigger(camera, TRIGGER_PATIENCE_S, opened))
        case _:
            raise SettingsError(f"camera {camera.name} is of a kind that nothing here reads")


def _live(camera: LiveKind, open_camera: Opener, stop: threading.Event, opened: ExitStack) -> Source:
    trigger = _trigger(camera, TRIGGER_PATIENCE_S, opened)
    thinning = Thinning(camera.every, camera.fps)

    def source(on_skipped: OnSkipped) -> Pictures:
        shots = LiveCamera(
            camera.name, open_camera, stop, thinning=thinning, trigger=trigger, on_skipped=on_skipped
        )  # fmt: skip
        return Developing(shots, camera.shaping, camera.job, _code(camera.part_code))

    return source


def _gige(
    settings: Settings,
    camera: GigeCamera,
    stop: threading.Event,
    trigger: OuterTrigger | None,
    on_skipped: OnSkipped,
) -> Pictures:
    options = GigeOptions(camera.id, camera.pixel_format, camera.camera_trigger, camera.capture_fps)

    def on_lost(count: int) -> None:
        if camera.every == 1 and camera.fps is None and trigger is None:  # of others nobody would have taken all
            on_skipped(count, SkipReason.CAMERA_AWAY)

    def open_camera() -> Capture:
        return open_gige(
            options, python=settings.gige_python, timeout_s=camera.timeout_s, over=shots.over, on_lost=on_lost
        )

    thinning = Thinning(camera.every, camera.fps)
    shots = LiveCamera(camera.name, open_camera, stop, thinning=thinning, trigger=trigger, on_skipped=on_skipped)
    return Developing(shots, camera.shaping, camera.job, _code(camera.part_code))


def _folder(settings: Settings, camera: FolderCamera, stop: threading.Event) -> Pictures:
    if not camera.folder.is_dir():
        raise SettingsError(f"{camera.folder} is not a folder")
    source = FolderSource(camera.folder, max_bytes=settings.max_frame_bytes, job_id=camera.job)
    pictures: Pictures = WatchedFolder(source, stop) if camera.watch else source
    if camera.part_pattern is None and camera.part_code is None:
        return pictures
    return Identified(pictures, camera.part_pattern, _code(camera.part_code))


def _trigger(camera: DecodedCamera, patience_s: float, opened: ExitStack) -> OuterTrigger | None:
    if camera.trigger is None:
        return None
    return opened.enter_context(OuterTrigger(camera.trigger, patience_s=patience_s))


def _code(code: PartCode | None) -> CodeReader | None:
    return None if code is None else CodeReader(code)


def _when_full(camera: Camera) -> WhenFull:
    if not isinstance(camera, LiveKind):
        return WhenFull.WAIT
    by_line = isinstance(camera, GigeCamera) and camera.camera_trigger not in ("free", "software")
    return WhenFull.SKIP if camera.trigger is None and not by_line else WhenFull.STOP
