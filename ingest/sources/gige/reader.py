"""Reads a GigE Vision camera with Aravis and writes its pictures to standard output, until the pipe or the camera is gone.

`ingest.sources.gige.capture` runs this file with the Python that has PyGObject (Debian's, /usr/bin/python3), so it imports
nothing of differline's. A message is two lengths (4 bytes each, big-endian), a header in JSON and a body. Kinds of headers:

    opened   vendor, model, serial
    frame    number, stamp_ns (the camera's clock), system_ns, width, height, format; the body has the pixels as they came
    broken   a picture that did not come whole: number
    alive    five times a second while there is nothing else to say
    refused  what is asked for cannot be had of this camera: reason
    away     the camera is not there, or no longer: reason
"""

import json
import signal
import struct
import sys
import threading
import time
from typing import Any

_TICK_US = 100_000
_ALIVE_S = 0.2
_BUFFERS = 8


def _send(header: "dict[str, Any]", body: bytes = b"") -> None:
    raw = json.dumps(header).encode()
    out = sys.stdout.buffer
    out.write(struct.pack(">II", len(raw), len(body)) + raw)
    out.write(body)
    out.flush()


def _configure(aravis: Any, camera: Any, asked: "dict[str, Any]") -> None:
    camera.set_acquisition_mode(aravis.AcquisitionMode.CONTINUOUS)
    if asked["pixel_format"]:
        camera.set_pixel_format_from_string(asked["pixel_format"])
    if asked["trigger"] == "free":
        camera.clear_triggers()
        if asked["fps"] and camera.is_frame_rate_available():
            camera.set_frame_rate(asked["fps"])
    else:
        camera.set_trigger("Software" if asked["trigger"] == "software" else asked["trigger"])


def _read(aravis: Any, camera: Any, stream: Any, asked: "dict[str, Any]", over: threading.Event) -> None:
    interval_s = 1.0 / asked["fps"] if asked["trigger"] == "software" else None
    said_s = trigger_s = time.monotonic()
    while not over.is_set():
        if interval_s is not None and time.monotonic() >= trigger_s:
            trigger_s = max(trigger_s + interval_s, time.monotonic())
            camera.software_trigger()
        wait_us = _TICK_US if interval_s is None else min(_TICK_US, max(1000, int(interval_s * 250_000)))
        buffer = stream.timeout_pop_buffer(wait_us)
        now_s = time.monotonic()
        if buffer is None:
            if now_s - said_s >= _ALIVE_S:
                said_s = now_s
                _send({"kind": "alive"})
            continue
        said_s = now_s
        if buffer.get_status() == aravis.BufferStatus.SUCCESS:
            header = {
                "kind": "frame",
                "number": buffer.get_frame_id(),
                "stamp_ns": buffer.get_timestamp(),
                "system_ns": buffer.get_system_timestamp(),
                "width": buffer.get_image_width(),
                "height": buffer.get_image_height(),
                "format": buffer.get_image_pixel_format(),
            }
            _send(header, buffer.get_data())
        else:
            _send({"kind": "broken", "number": buffer.get_frame_id()})
        stream.push_buffer(buffer)


def main(asked: "dict[str, Any]") -> None:
    """Read the camera that is asked for."""
    over, lost = threading.Event(), threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: over.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the one who reads this
    try:
        import gi

        gi.require_version("Aravis", "0.8")
        from gi.repository import Aravis, GLib
    except (ImportError, ValueError) as error:
        _send({"kind": "refused", "reason": f"Aravis is not installed: {error}"})
        return
    try:
        camera = Aravis.Camera.new(asked["id"])
    except GLib.Error as error:
        _send({"kind": "away", "reason": error.message})
        return

    def on_lost(*_: Any) -> None:
        lost.set()
        over.set()

    camera.get_device().connect("control-lost", on_lost)
    try:
        _configure(Aravis, camera, asked)
    except GLib.Error as error:
        none_of_its_own = error.domain == "arv-gc-error-quark"  # otherwise it is gone, or another program has it
        _send({"kind": "refused" if none_of_its_own else "away", "reason": error.message})
        return
    try:
        stream = camera.create_stream(None, None)
        for _ in range(_BUFFERS):
            stream.push_buffer(Aravis.Buffer.new_allocate(camera.get_payload()))
        names = {"vendor": camera.get_vendor_name(), "model": camera.get_model_name()}
        _send({"kind": "opened", **names, "format": camera.get_pixel_format_as_string()})
        camera.start_acquisition()
        try:
            _read(Aravis, camera, stream, asked, over)
        finally:
            camera.stop_acquisition()
    except GLib.Error as error:
        _send({"kind": "away", "reason": error.message})
        return
    if lost.is_set():
        _send({"kind": "away", "reason": "the camera does not answer any more"})


if __name__ == "__main__":
    try:
        main(json.loads(sys.argv[1]))
    except BrokenPipeError:  # nobody reads any more
        sys.stderr.close()
