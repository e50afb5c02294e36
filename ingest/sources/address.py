"""The address of a network camera: its password is in what is opened, and in nothing that is shown."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import SplitResult, quote, unquote, urlsplit

from infra.errors import SettingsError

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_SCHEMES = ("rtsp", "rtsps")
_PORT = 554
_ESCAPE = "write @ as %40, / as %2F, # as %23, ? as %3F, or take ${VARIABLE} for it"


@dataclass(frozen=True, slots=True)
class CameraAddress:
    """An RTSP address.

    Attributes:
        secret: With user name and password, as FFmpeg wants it; never shown.
        without_login: Without them, and with its whole path, in which some makers have a password; never shown.
        shown: Without them: scheme, host and port, and the path if it holds no password.
        host: Host name or address.
        port: Port.
        has_login: Whether a user name is in it.
    """

    secret: str = field(repr=False)
    without_login: str = field(repr=False)
    shown: str
    host: str
    port: int
    has_login: bool

    def __str__(self) -> str:
        return self.shown


def parsed_address(
    text: str,
    *,
    user: str | None = None,
    password: str | None = None,
    environment: Mapping[str, str] = os.environ,
) -> CameraAddress:
    """Read an RTSP address; no error says more of it than what is wrong.

    Args:
        text: `rtsp://host/path`, with user and password in it or not; `${VARIABLE}` stands for one of the environment.
        user: User name, where it is not in the text.
        password: Password, where it is not in the text.
        environment: Where variables are looked up.

    Raises:
        SettingsError: It is no RTSP address, or a variable is not set.
    """
    parts = _split(_VARIABLE.sub(lambda found: _looked_up(found[1], environment), text.strip()))
    if parts.scheme not in _SCHEMES:
        raise SettingsError("the camera's address must begin with rtsp:// or rtsps://")
    if parts.netloc.count("@") > 1 or "@" in parts.path + parts.query + parts.fragment:
        raise SettingsError(f"the camera's address has an @ too many: in a user name or password {_ESCAPE}")
    login, _, place = parts.netloc.rpartition("@")
    if login and (user or password):
        raise SettingsError("user and password are given twice: in the camera's address and beside it")
    if password and not user:
        raise SettingsError("a password needs a user name beside it")
    if user:
        login = quote(user, safe="") + (f":{quote(password, safe='')}" if password else "")
    if ":" in unquote(login.partition(":")[0]):
        raise SettingsError(
            "a camera's user name cannot have a colon in it: RTSP puts one between user name and password"
        )
    try:
        host, port = parts.hostname, parts.port or _PORT
    except ValueError:
        raise SettingsError(f"the camera's address has no proper port; in a password {_ESCAPE}") from None
    if not host:
        raise SettingsError("the camera's address names no host")
    tail = parts.path + (f"?{parts.query}" if parts.query else "")
    return CameraAddress(
        secret=f"{parts.scheme}://{login}@{place}{tail}" if login else f"{parts.scheme}://{place}{tail}",
        without_login=f"{parts.scheme}://{place}{tail}",
        shown=f"{parts.scheme}://{place}{_shown_path(parts)}",
        host=host,
        port=port,
        has_login=bool(login),
    )


def has_password(text: str) -> bool:
    """Say whether an address holds a password itself, and not a variable for it."""
    login = text.partition("://")[2].rpartition("@")[0]
    password = login.partition(":")[2]
    return bool(password) and _VARIABLE.fullmatch(password) is None


def _split(text: str) -> SplitResult:
    if any(character.isspace() or not character.isprintable() for character in text):
        raise SettingsError("the camera's address holds a space or a control character")
    try:
        return urlsplit(text)
    except ValueError:
        raise SettingsError("the camera's address is no address") from None


def _shown_path(parts: SplitResult) -> str:
    """Return the path, unless it may hold a password, as those of some makers do (`/user=…&password=…`)."""
    return "/…" if any(mark in parts.path for mark in "=&;") else parts.path + ("?…" if parts.query else "")


def _looked_up(name: str, environment: Mapping[str, str]) -> str:
    value = environment.get(name)
    if not value:
        raise SettingsError(f"the environment has no variable {name}, which a camera's address asks for")
    return quote(value, safe="")
