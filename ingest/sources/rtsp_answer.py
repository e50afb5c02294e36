"""Why an RTSP camera cannot be opened, in words for the person in front of it: OpenCV says only that it cannot."""

import re
import socket
import ssl

from infra.errors import CameraAwayError, CameraLoginError
from ingest.sources.address import CameraAddress

_STATUS = re.compile(rb"RTSP/1\.\d (\d{3})")
_LONGEST = 4096
_LOGIN = (401, 403)


def why_not(address: CameraAddress, timeout_s: float) -> CameraAwayError:
    """Ask the camera to describe the stream, without a login, and return what its answer means.

    Args:
        address: Which camera.
        timeout_s: How long it may take, in seconds.

    Returns:
        A CameraLoginError where it refuses the login that it was given, or wants one.
    """
    status = None
    try:
        status = _status(address, timeout_s)
        told = _meaning(status, address.has_login)
    except ssl.SSLError:
        told = "TLS fails"
    except socket.gaierror:
        told = "its host name is not known"
    except TimeoutError:
        told = f"no answer within {timeout_s:g} s"
    except ConnectionRefusedError:
        told = "the connection is refused: it is off, still starts, or the port is wrong"
    except OSError as error:
        told = error.strerror or "the connection fails"
    kind = CameraLoginError if status in _LOGIN else CameraAwayError
    return kind(f"{address.shown}: {told}")


def _status(address: CameraAddress, timeout_s: float) -> int | None:
    with socket.create_connection((address.host, address.port), timeout_s) as plain:
        connection = plain
        if address.shown.startswith("rtsps"):
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # as FFmpeg does; nothing secret is said
            connection = context.wrap_socket(plain, server_hostname=address.host)
        connection.settimeout(timeout_s)
        request = f"DESCRIBE {address.without_login} RTSP/1.0\r\nCSeq: 1\r\nAccept: application/sdp\r\n\r\n"
        connection.sendall(request.encode("utf-8"))
        found = _STATUS.match(connection.recv(_LONGEST))
        return int(found[1]) if found else None


def _meaning(status: int | None, has_login: bool) -> str:
    match status:
        case None:
            return "what answers there speaks no RTSP"
        case 401 | 403 if has_login:
            return "user name or password is wrong, or it has no such stream"
        case 401 | 403:
            return "it asks for a user name and a password"
        case 404:
            return "it has no stream of that path"
        case 200:
            return "it answers, and sends no picture that FFmpeg can decode in time"
        case _:
            return f"it answers with RTSP status {status}"
