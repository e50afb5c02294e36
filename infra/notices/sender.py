"""Sends one message to one target through Apprise, whose URLs hold credentials: none of them is ever shown."""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from urllib.parse import unquote

from apprise import Apprise, AppriseAsset, NotifyFormat, NotifyType
from pydantic import SecretStr

from infra.errors import SettingsError, TransientError

_SHORTEST_SECRET = 4
_PARTS = re.compile(r"[/:@?&=,;#]+")
_HOST = re.compile(r"^(?:[^/?]*@)?([^/:@?]+)")
_TOLD: ContextVar[list[str] | None] = ContextVar("told", default=None)
_LOGGER = logging.getLogger("apprise")  # the only place where Apprise says why a message was not taken


class Sender:
    """One target; it waits a few seconds for each answer of its server, as Apprise does by default."""

    def __init__(self, name: str, url: SecretStr) -> None:
        """Read the URL; nothing is connected.

        Args:
            name: What the target is called in logs.
            url: As Apprise reads it, e.g. `mailtos://user:password@host?to=line@plant.example`.

        Raises:
            SettingsError: Apprise does not know what the URL means.
        """
        _LOGGER.propagate = False  # it may name what is not to be shown
        _LOGGER.setLevel(logging.DEBUG)
        _LOGGER.addHandler(_OVERHEARING)
        self.name = name
        self._url = url
        self._apprise = Apprise(asset=AppriseAsset(app_id="differline", app_desc="differline"))
        if not self._apprise.add(url.get_secret_value()):
            raise SettingsError(f"Apprise cannot read the URL of the target {name!r}")

    def send(self, subject: str, body: str) -> None:
        """Send a message.

        Raises:
            TransientError: The server did not take it; its text is free of what the URL holds.
        """
        with _overheard() as told:
            taken = self._apprise.notify(body, subject, notify_type=NotifyType.WARNING, body_format=NotifyFormat.TEXT)
        if not taken:
            raise TransientError(f"{self.name}: {self._without_secrets(' '.join(told)) or 'not sent'}")

    def _without_secrets(self, text: str) -> str:
        """Return it on one line without any part of the URL but its host."""
        url = self._url.get_secret_value()
        scheme, _, rest = url.partition("://")
        host = _HOST.search(rest)
        for part in sorted({*_PARTS.split(rest), *_PARTS.split(unquote(rest))}, key=len, reverse=True):
            if len(part) >= _SHORTEST_SECRET and part not in {scheme, host and host[1]}:
                text = text.replace(part, "…")
        return " ".join(text.split())[:500]


class _Overhearing(logging.Handler):
    """Notes what Apprise says about the message that is sent in this context, and not about another target's."""

    def emit(self, record: logging.LogRecord) -> None:
        if (told := _TOLD.get()) is None:
            return
        text = record.getMessage()
        if record.levelno >= logging.WARNING or "Exception:" in text:  # what the library below said
            told.append(text)


_OVERHEARING = _Overhearing(logging.DEBUG)


@contextmanager
def _overheard() -> Iterator[list[str]]:
    """Apprise sends in threads of its own, to which it hands the context."""
    told: list[str] = []
    token = _TOLD.set(told)
    try:
        yield told
    finally:
        _TOLD.reset(token)
