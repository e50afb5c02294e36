"""Where an MQTT broker is, and how we log in."""

import ssl
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr

from infra.errors import SettingsError


@dataclass(frozen=True, slots=True)
class Broker:
    """Where the broker is and how we log in.

    Attributes:
        tls: Whether it is spoken to by TLS.
        cafile: Certificates that sign the broker's, PEM; None: the system's.
        certfile: Our certificate, PEM; None: none.
        keyfile: Its key, PEM.
    """

    host: str
    port: int
    client_id: str
    username: str | None = None
    password: SecretStr | None = None
    tls: bool = False
    cafile: Path | None = None
    certfile: Path | None = None
    keyfile: Path | None = None


def tls_of(broker: Broker) -> ssl.SSLContext:
    """Return how TLS is spoken to a broker.

    Raises:
        SettingsError: A certificate or key cannot be read.
    """
    try:
        context = ssl.create_default_context(cafile=broker.cafile)
        if broker.certfile is not None:
            context.load_cert_chain(broker.certfile, broker.keyfile)
    except OSError as error:
        raise SettingsError(f"cannot read the certificates for MQTT: {error}") from error
    return context
