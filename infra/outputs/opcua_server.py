"""An OPC UA server that only those whom the settings name can read from, and nobody can write to."""

import hmac
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asyncua import ua
from asyncua.crypto.permission_rules import User, UserRole
from asyncua.server.internal_server import InternalServer
from asyncua.server.server import Server
from asyncua.server.user_managers import UserManager
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from pydantic import SecretStr

from infra.addresses import is_loopback
from infra.errors import SettingsError
from infra.settings import Settings

NAMESPACE = "urn:differline:verdicts"
_APPLICATION = "urn:differline"
_PATH = "/differline/"
_ENCRYPTED = [ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt, ua.SecurityPolicyType.Basic256Sha256_Sign]


@dataclass(frozen=True, slots=True)
class Access:
    """Where the server listens and who may read.

    Attributes:
        anonymous: Whether clients that name no user may.
        certfile: The server's certificate, PEM; None: nothing is signed or encrypted.
        keyfile: Its key, PEM.
    """

    host: str
    port: int
    anonymous: bool = True
    username: str | None = None
    password: SecretStr | None = None
    certfile: Path | None = None
    keyfile: Path | None = None

    @property
    def address(self) -> str:
        """The server's address, as a client is told it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"opc.tcp://{host}:{self.port}{_PATH}"


def access_of(settings: Settings) -> Access:
    """Return what the settings say.

    Raises:
        SettingsError: Anybody could read from another machine, nobody could at all, or a password would travel in the clear.
    """
    if (settings.opcua_username is None) != (settings.opcua_password is None):
        raise SettingsError("DIFFERLINE_OPCUA_USERNAME and DIFFERLINE_OPCUA_PASSWORD go together")
    if (settings.opcua_certfile is None) != (settings.opcua_keyfile is None):
        raise SettingsError("DIFFERLINE_OPCUA_CERTFILE and DIFFERLINE_OPCUA_KEYFILE go together")
    on_loopback = is_loopback(settings.opcua_host)
    anonymous = settings.opcua_anonymous == "on" or (settings.opcua_anonymous == "auto" and on_loopback)
    if not anonymous and settings.opcua_username is None:
        raise SettingsError(
            f"nobody could read from the OPC UA server on {settings.opcua_host}: set DIFFERLINE_OPCUA_USERNAME and "
            "DIFFERLINE_OPCUA_PASSWORD, or DIFFERLINE_OPCUA_ANONYMOUS=on"
        )
    if settings.opcua_username is not None and settings.opcua_certfile is None and not on_loopback:
        raise SettingsError(
            "the OPC UA password would travel in the clear: set DIFFERLINE_OPCUA_CERTFILE and DIFFERLINE_OPCUA_KEYFILE"
        )
    return Access(
        settings.opcua_host,
        settings.opcua_port,
        anonymous,
        settings.opcua_username,
        settings.opcua_password,
        settings.opcua_certfile,
        settings.opcua_keyfile,
    )


def check_certificate(access: Access) -> None:
    """Read the certificate and its key, where there are some.

    Raises:
        SettingsError: One cannot be read.
    """
    if access.certfile is None or access.keyfile is None:
        return
    try:
        x509.load_pem_x509_certificate(access.certfile.read_bytes())
        load_pem_private_key(access.keyfile.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise SettingsError(f"cannot read the certificate or key for OPC UA: {error}") from error


async def make_server(access: Access) -> Server:
    """Return a server that does not listen yet, with nothing of ours in it."""
    server = Server(user_manager=_Readers(access))
    await server.init()
    server.set_endpoint(access.address)
    server.set_server_name("differline")
    server.allow_remote_admin(False)
    if access.certfile is None:
        server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
        await server.set_application_uri(_APPLICATION)
    else:
        await server.set_application_uri(_application_uri(access.certfile))
        await server.load_certificate(access.certfile, "pem")
        await server.load_private_key(access.keyfile, format="pem")  # type: ignore[arg-type]
        server.set_security_policy(_ENCRYPTED)
    tokens: list[type] = [ua.AnonymousIdentityToken] if access.anonymous else []
    server.set_identity_tokens([*tokens, ua.UserNameIdentityToken] if access.username is not None else tokens)
    return server


class _Readers(UserManager):
    """Whoever may read; asyncua asks it for each session."""

    def __init__(self, access: Access) -> None:
        self._access = access

    def get_user(
        self,
        iserver: InternalServer,  # noqa: ARG002 - the signature is asyncua's
        username: str | None = None,
        password: str | None = None,
        certificate: Any = None,  # noqa: ARG002
    ) -> User | None:
        """Return None for whoever may not."""
        access = self._access
        if username is None:
            return User(role=UserRole.User, name="anonymous") if access.anonymous else None
        if access.username is None or access.password is None:
            return None
        known = hmac.compare_digest(username.encode(), access.username.encode())
        right = hmac.compare_digest((password or "").encode(), access.password.get_secret_value().encode())
        return User(role=UserRole.User, name=username) if known and right else None


def _application_uri(certfile: Path) -> str:
    """Return the URI in the certificate: clients compare it with what the server calls itself."""
    try:
        certificate = x509.load_pem_x509_certificate(certfile.read_bytes())
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return _APPLICATION
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    return uris[0] if uris else _APPLICATION
