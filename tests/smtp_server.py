"""A real SMTP server for tests, on loopback, which refuses, hangs or is away when it is told to."""

import asyncio
from dataclasses import dataclass, field
from email import message_from_bytes
from email.policy import default
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword

from .servers import free_port


@dataclass(frozen=True)
class Mail:
    to: str
    subject: str
    text: str


@dataclass
class MailServer:
    """Keeps what it took; only a user with the password may send, where one is set."""

    port: int = field(default_factory=free_port)
    user: str | None = None
    password: str | None = None
    mails: list[Mail] = field(default_factory=list)
    refuses: bool = False
    hangs_s: float = 0.0
    connections: int = 0
    _controller: Controller | None = None

    def start(self) -> None:
        auth: dict[str, Any] = {}
        if self.user is not None:
            auth = {"authenticator": self._authenticate, "auth_required": True, "auth_require_tls": False}
        self._controller = Controller(self, hostname="127.0.0.1", port=self.port, **auth)
        self._controller.start()

    def stop(self) -> None:
        if self._controller:
            self._controller.stop()
            self._controller = None

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
        self.connections += 1
        if self.hangs_s:
            await asyncio.sleep(self.hangs_s)
        if self.refuses:
            return "550 no"
        message = message_from_bytes(envelope.original_content, policy=default)
        part = message.get_body(("plain",))  # type: ignore[attr-defined]
        text = part.get_content() if part else ""
        self.mails.append(Mail(envelope.rcpt_tos[0], str(message["subject"]), text.replace("\r\n", "\n")))
        return "250 OK"

    def _authenticate(self, _server: Any, _session: Any, _envelope: Any, _mechanism: str, auth: Any) -> AuthResult:
        known = isinstance(auth, LoginPassword) and (auth.login, auth.password) == (
            (self.user or "").encode(),
            (self.password or "").encode(),
        )
        return AuthResult(success=known)
