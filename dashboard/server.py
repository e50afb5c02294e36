"""The Streamlit server as a child process: how it is started, watched and stopped."""

import http
import http.client
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import FrameType

from infra.children import ending_with_us
from infra.engines import Engines
from infra.errors import EngineError, SettingsError
from infra.settings import ENV_PREFIX, Settings

_APP = Path(__file__).with_name("app.py")
_START_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 10.0
_POLL_S = 0.1
_STANDARD_ERROR = 2

# Calm greys, and the Okabe-Ito pair of blue and vermilion for what must be told apart, whoever looks.
_THEME = {
    "theme.baseFontSize": "15",
    "theme.baseRadius": "6px",
    "theme.paddingTop": "1.5rem",
    "theme.light.primaryColor": "#0072B2",
    "theme.light.backgroundColor": "#FAFAF8",
    "theme.light.secondaryBackgroundColor": "#EFEFEB",
    "theme.light.textColor": "#23272B",
    "theme.light.borderColor": "#DEDEDA",
    "theme.dark.primaryColor": "#56A8DC",
    "theme.dark.backgroundColor": "#15181B",
    "theme.dark.secondaryBackgroundColor": "#1F2327",
    "theme.dark.textColor": "#DADDE0",
    "theme.dark.borderColor": "#343A40",
}

_OPTIONS = {
    "server.headless": "true",
    "server.fileWatcherType": "none",
    "server.showEmailPrompt": "false",
    "browser.gatherUsageStats": "false",
    "client.toolbarMode": "minimal",
    "client.showErrorDetails": "none",  # a traceback belongs in the log
    "logger.hideWelcomeMessage": "true",
    "runner.magicEnabled": "false",
    "runner.postScriptGC": "false",  # a full collection after each rerun took several times as long as the rerun
    **_THEME,
}


def serve(
    settings: Settings,
    engines: Callable[[Settings], AbstractContextManager[Engines]],
    announce: Callable[[str], None],
) -> None:
    """Run the dashboard until it is told to stop; the engines stay up as long.

    Raises:
        EngineError: The port is taken, or the server does not start or ends by itself.
    """
    host, port = settings.dashboard_host, settings.dashboard_port
    check_port(host, port)
    with (
        _stoppable() as stop_asked,
        engines(settings) as running,
        sign_in_file(settings) as secrets_file,
        _server(settings, running, secrets_file) as server,
    ):
        if _wait_until_up(server, host, port, stop_asked):
            announce(f"The dashboard is on {address(host, port)} until Ctrl-C.")
            _wait_until_stopped(server, stop_asked)


def check_port(host: str, port: int) -> None:
    """Refuse a port that is taken.

    Raises:
        EngineError: It is, or the address is not one of this machine.
    """
    try:
        family, kind, protocol, _, endpoint = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does: a closed one may linger
            probe.bind(endpoint)
    except OSError as error:
        what = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
        raise EngineError(
            f"the dashboard cannot listen on {host} port {port}: {what}; choose another with --port"
        ) from error


@contextmanager
def sign_in_file(settings: Settings) -> Iterator[Path | None]:
    """Write what Streamlit must know to sign people in, to a file for our eyes only, as long as the server runs.

    Yields:
        The file; None where no provider is named.

    Raises:
        SettingsError: The provider is named and our password there is not.
    """
    if settings.oidc_metadata_url is None:
        yield None
        return
    if settings.oidc_client_secret is None:
        raise SettingsError("DIFFERLINE_OIDC_METADATA_URL is set, DIFFERLINE_OIDC_CLIENT_SECRET is not")
    cookie_secret = settings.oidc_cookie_secret
    values = {
        "redirect_uri": settings.oidc_redirect_url
        or address(settings.dashboard_host, settings.dashboard_port) + "/oauth2callback",
        "cookie_secret": cookie_secret.get_secret_value() if cookie_secret else secrets.token_urlsafe(32),
        "client_id": settings.oidc_client_id,
        "client_secret": settings.oidc_client_secret.get_secret_value(),
        "server_metadata_url": settings.oidc_metadata_url,
    }
    lines = [
        "[auth]",
        *(f"{name} = {json.dumps(value)}" for name, value in values.items()),
        'expose_tokens = ["access"]',
    ]
    with tempfile.TemporaryDirectory(prefix="differline-") as folder:  # made for its owner alone
        file = Path(folder, "secrets.toml")
        file.write_text("\n".join(lines), encoding="utf-8")
        yield file


def command_line(host: str, port: int, secrets_file: Path | None = None) -> list[str]:
    """Return the command of the Streamlit server; everything is a flag, so that no file of settings is needed."""
    options = {"server.address": host, "server.port": str(port), **_OPTIONS}
    if secrets_file is not None:
        options["secrets.files"] = str(secrets_file)
    flags = [f"--{name}={value}" for name, value in options.items()]
    return [sys.executable, "-m", "streamlit", "run", str(_APP), *flags]


def environment(inherited: Mapping[str, str], settings: Settings, engines: Engines) -> dict[str, str]:
    """Return the environment of the server: it finds there what it would have to start otherwise."""
    own = {
        "DATABASE_URL": engines.database_url,
        "REDIS_URL": engines.redis_url,
        "ARCHIVE_URL": settings.archive_location,
        "DASHBOARD_HOST": settings.dashboard_host,
        "DASHBOARD_PORT": str(settings.dashboard_port),
    }
    return {**inherited, **{ENV_PREFIX + name: value for name, value in own.items()}}


def address(host: str, port: int) -> str:
    """Return the URL for a browser on this machine."""
    reachable = _reachable(host)
    return f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"


def _reachable(host: str) -> str:
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared with, not bound to


class _StopAsked:
    """Whether somebody asked the program to stop."""

    def __init__(self) -> None:
        self.yes = False

    def __call__(self, _signal: int, _frame: FrameType | None) -> None:
        self.yes = True


@contextmanager
def _stoppable() -> Iterator[_StopAsked]:
    """Turn SIGINT and SIGTERM into a wish, so that the server and the engines are stopped in order."""
    stop_asked = _StopAsked()
    before = {number: signal.signal(number, stop_asked) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop_asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _server(settings: Settings, engines: Engines, secrets_file: Path | None) -> Iterator[subprocess.Popen[bytes]]:
    server = subprocess.Popen(  # noqa: S603 - our own interpreter and file, no shell
        ending_with_us(command_line(settings.dashboard_host, settings.dashboard_port, secrets_file)),
        env=environment(os.environ, settings, engines),
        stdout=_STANDARD_ERROR,  # Streamlit prints the tracebacks of pages to standard output
        process_group=0,  # Ctrl-C reaches us alone, and we stop it
    )
    try:
        yield server
    finally:
        server.terminate()
        try:
            server.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _wait_until_up(server: subprocess.Popen[bytes], host: str, port: int, stop_asked: _StopAsked) -> bool:
    """Wait for the server to answer; False where it was told to stop before."""
    deadline = time.monotonic() + _START_TIMEOUT_S
    while not stop_asked.yes:
        if server.poll() is not None:
            raise EngineError(f"the dashboard's server ended at once with status {server.returncode}")
        if answers(host, port):
            return True
        if time.monotonic() > deadline:
            raise EngineError(f"the dashboard's server did not answer within {_START_TIMEOUT_S:.0f} s")
        time.sleep(_POLL_S)
    return False


def answers(host: str, port: int) -> bool:
    """Tell whether pages are served there."""
    connection = http.client.HTTPConnection(_reachable(host), port, timeout=2)  # never through a proxy
    try:
        connection.request("GET", "/_stcore/health")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _wait_until_stopped(server: subprocess.Popen[bytes], stop_asked: _StopAsked) -> None:
    while not stop_asked.yes:
        if server.poll() is not None:
            raise EngineError(f"the dashboard's server ended with status {server.returncode}")
        time.sleep(_POLL_S)
