"""Who signed in, by OpenID Connect, and what the provider says they are; without a provider, the local user.

Streamlit keeps the claims of the sign-in in a cookie for a month, so by themselves they say what somebody was then. The
provider's user info is asked again with the access token (OpenID Connect Core 1.0, section 5.3): a role that is taken away
there is gone here.
"""

import hashlib
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from threading import Lock
from typing import Any

import httpx
import streamlit as st
import structlog

from dashboard.sources import sources
from infra.addresses import is_loopback
from infra.errors import AccessDeniedError
from infra.settings import Settings
from infra.store.tables import Role

_TIMEOUT_S = 3.0
_BELIEVED_S = 1.0
_GRACE_S = 60.0  # so long a provider that does not answer takes nothing from what it said last
_MOST_TOKENS = 1000
_RANKS = tuple(Role)
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class SignedIn:
    """Somebody, and what the sign-in says they are."""

    name: str
    role: Role


def signed_in(*, anew: bool = False) -> SignedIn:
    """Return who is looking.

    Args:
        anew: Ask the provider, whatever it said a moment ago.

    Raises:
        AccessDeniedError: Nobody is signed in, or the sign-in is no longer good.
    """
    settings = sources().settings
    if settings.oidc_metadata_url is None:
        return SignedIn(settings.user, local_role(settings))
    if not st.user.is_logged_in:
        raise AccessDeniedError("nobody is signed in")
    claims: Mapping[str, Any] = dict(st.user)
    if time.time() - float(claims.get("iat", 0)) > settings.oidc_session_hours * 3600:
        raise AccessDeniedError("the sign-in is too old")
    if settings.oidc_confirm:
        token = str(st.user.tokens["access"])
        claims = {**claims, settings.oidc_role_claim: None, **_confirmed(settings, token, anew=anew)}
    return from_claims(settings, claims)


def from_claims(settings: Settings, claims: Mapping[str, Any]) -> SignedIn:
    """Return whom claims are about; of several roles the highest, of none that is known NONE.

    Raises:
        AccessDeniedError: They do not name anybody, or by an address that anybody may have typed in.
    """
    name = claims.get(settings.oidc_name_claim)
    if not isinstance(name, str) or not name.strip():
        raise AccessDeniedError(f"the sign-in has no claim {settings.oidc_name_claim!r} with a name")
    if settings.oidc_name_claim == "email" and claims.get("email_verified") is False:  # OpenID Connect Core 1.0, 5.1
        raise AccessDeniedError("the provider says that nobody has verified the e-mail address of this sign-in")
    said = claims.get(settings.oidc_role_claim)
    values = said if isinstance(said, list) else [said]
    roles = [
        Role(settings.oidc_roles[value]) for value in values if isinstance(value, str) and value in settings.oidc_roles
    ]
    return SignedIn(name.strip(), max(roles, key=_RANKS.index, default=Role.NONE))


def local_role(settings: Settings) -> Role:
    """Return what everybody is who reaches the dashboard while there is no provider."""
    if settings.dashboard_role != "auto":
        return Role(settings.dashboard_role)
    return Role.ADMIN if is_loopback(settings.dashboard_host) else Role.VIEWER


class _Confirmations:
    """What the provider said last of each access token; the newest thousand of them, none by its text."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._said: OrderedDict[str, tuple[float, dict[str, Any]]] = OrderedDict()

    def get(self, token: str, within_s: float) -> dict[str, Any] | None:
        with self._lock:
            at, claims = self._said.get(_digest(token), (0.0, None))
            return claims if claims is not None and time.monotonic() - at <= within_s else None

    def put(self, token: str, claims: dict[str, Any]) -> None:
        with self._lock:
            self._said[_digest(token)] = (time.monotonic(), claims)
            self._said.move_to_end(_digest(token))
            while len(self._said) > _MOST_TOKENS:
                self._said.popitem(last=False)

    def forget(self, token: str) -> None:
        with self._lock:
            self._said.pop(_digest(token), None)


_confirmations = _Confirmations()


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _confirmed(settings: Settings, token: str, *, anew: bool) -> dict[str, Any]:
    """Ask who a token is about now; a provider that does not answer is believed for a minute more.

    Raises:
        AccessDeniedError: The provider no longer knows the token, or has not answered for too long.
    """
    known = None if anew else _confirmations.get(token, _BELIEVED_S)
    if known is not None:
        return known
    try:
        answer = httpx.get(
            _userinfo_endpoint(settings), headers={"Authorization": f"Bearer {token}"}, timeout=_TIMEOUT_S
        )
        if answer.is_client_error and answer.status_code != httpx.codes.TOO_MANY_REQUESTS:
            _confirmations.forget(token)
            raise AccessDeniedError("the sign-in is no longer good")
        answer.raise_for_status()
        claims: dict[str, Any] = answer.json()
    except (httpx.HTTPError, ValueError) as error:
        _log.warning("sign_in.provider_away", error=type(error).__name__)
        earlier = _confirmations.get(token, _GRACE_S)
        if earlier is None:
            raise AccessDeniedError("the sign-in service does not answer, so nobody knows who you are") from error
        return earlier
    _confirmations.put(token, claims)
    return claims


@st.cache_data(ttl=3600.0, max_entries=1, show_spinner=False)
def _endpoint_of(metadata_url: str) -> str:
    return str(httpx.get(metadata_url, timeout=_TIMEOUT_S).raise_for_status().json()["userinfo_endpoint"])


def _userinfo_endpoint(settings: Settings) -> str:
    assert settings.oidc_metadata_url is not None  # noqa: S101 - asked before
    return _endpoint_of(settings.oidc_metadata_url)
