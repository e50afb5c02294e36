"""Signatures of a webhook, as Standard Webhooks 1.0 has them: HMAC-SHA256 over id, time and body.

Source: standard-webhooks.com, specification 1.0.0, "Signature scheme".
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence

from infra.errors import SettingsError

PREFIX = "whsec_"
_LEAST_BYTES, _MOST_BYTES = 24, 64


def signing_keys(secrets: str) -> list[bytes]:
    """Return the keys of one or more `whsec_` secrets, separated by blanks: the new one beside the old one, while keys change.

    Raises:
        SettingsError: One is not of that form; the text does not show it.
    """
    keys = []
    for number, secret in enumerate(secrets.split(), 1):
        try:
            key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
        except binascii.Error:
            key = b""
        if not secret.startswith(PREFIX) or not _LEAST_BYTES <= len(key) <= _MOST_BYTES:
            raise SettingsError(
                f"webhook_secret: number {number} is not `{PREFIX}` and {_LEAST_BYTES} to {_MOST_BYTES} random bytes in base64"
            )
        keys.append(key)
    if not keys:
        raise SettingsError("webhook_url needs webhook_secret: whoever receives verdicts must know that they are ours")
    return keys


def signature(keys: Sequence[bytes], message_id: str, timestamp_s: int, body: bytes) -> str:
    """Return the header `webhook-signature`: one signature of each key, separated by blanks."""
    signed = f"{message_id}.{timestamp_s}.".encode() + body
    digests = (hmac.new(key, signed, hashlib.sha256).digest() for key in keys)
    return " ".join("v1," + base64.b64encode(digest).decode() for digest in digests)
