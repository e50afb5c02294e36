"""An RTSP camera: GStreamer's server, fed from the pictures of a folder. It is run by the system's Python, which has `gi`.

It prints its port when it listens. Every picture is sent once a turn, at the pace asked for, whoever watches.
"""

import argparse
import itertools
from pathlib import Path

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtsp, GstRtspServer  # noqa: E402 - only after the versions are named

ENCODERS = {
    # One slice a picture: this FFmpeg puts several together wrongly.
    "h264": "jpegdec ! videoconvert ! video/x-raw,format=I420 ! x264enc tune=zerolatency speed-preset=ultrafast "
    "threads={threads} key-int-max={fps} ! rtph264pay config-interval=-1 name=pay0 pt=96",
    "jpeg": "jpegparse ! rtpjpegpay name=pay0 pt=26",
}


def main() -> None:
    asked = arguments()
    Gst.init(None)
    pictures = [path.read_bytes() for path in sorted(asked.folder.glob("*.jpg"))]
    encoder = ENCODERS[asked.codec].format(threads=asked.threads, fps=asked.fps)
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(
        "( appsrc name=pictures is-live=true format=time do-timestamp=true max-buffers=2 leaky-type=downstream "
        f'caps="image/jpeg,framerate={asked.fps}/1" ! {encoder} )'
    )
    factory.set_shared(True)
    factory.connect("media-configure", lambda _, media: feed(media, pictures, asked.fps))
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(str(asked.port))
    if asked.user:
        protect(server, factory, asked.user, asked.password)
    server.get_mount_points().add_factory("/camera", factory)
    assert server.attach(None), "the port is taken"
    print(server.get_bound_port(), flush=True)
    GLib.MainLoop().run()


def feed(media: "GstRtspServer.RTSPMedia", pictures: "list[bytes]", fps: int) -> None:
    source = media.get_element().get_by_name("pictures")
    turns = itertools.cycle(pictures)

    def push() -> bool:
        return source.emit("push-buffer", Gst.Buffer.new_wrapped(next(turns))) == Gst.FlowReturn.OK

    push()
    GLib.timeout_add(1000 // fps, push)


def protect(
    server: "GstRtspServer.RTSPServer", factory: "GstRtspServer.RTSPMediaFactory", user: str, password: str
) -> None:
    login = GstRtspServer.RTSPAuth()
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", "viewer")
    login.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
    login.add_digest(user, password, token)
    server.set_auth(login)
    may = "viewer, media.factory.access=(boolean)true, media.factory.construct=(boolean)true"
    factory.add_role_from_structure(Gst.Structure.new_from_string(may))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--fps", type=int, default=10)
    parser.add_argument("--codec", choices=ENCODERS, default="h264")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--user")
    parser.add_argument("--password", default="")
    return parser.parse_args()


main()
