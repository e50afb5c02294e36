"""What the provider answers about a token, and what follows; httpx's own mock transport stands for it."""

from collections.abc import Callable

import httpx
import pytest

from dashboard import identity
from infra.errors import AccessDeniedError
from infra.settings import Settings

SETTINGS = Settings(oidc_metadata_url="https://sso.example/.well-known/openid-configuration")
CLAIMS = {"email": "m@example.org", "roles": ["differline-inspector"]}


class Sso:
    """A provider whose answers a test sets; `asked` counts them."""

    def __init__(self) -> None:
        self.answer: Callable[[], httpx.Response] = lambda: httpx.Response(200, json=CLAIMS)
        self.asked = 0

    def get(self, _url: str, **_options: object) -> httpx.Response:
        self.asked += 1
        answer = self.answer()
        answer.request = httpx.Request("GET", "https://sso.example/userinfo")
        return answer


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    clock = [1000.0]
    monkeypatch.setattr(identity.time, "monotonic", lambda: clock[0])
    return clock


@pytest.fixture
def sso(monkeypatch: pytest.MonkeyPatch) -> Sso:
    provider = Sso()
    monkeypatch.setattr(identity, "_confirmations", identity._Confirmations())
    monkeypatch.setattr(identity, "_userinfo_endpoint", lambda _settings: "https://sso.example/userinfo")
    monkeypatch.setattr(identity.httpx, "get", provider.get)
    return provider


def away() -> httpx.Response:
    raise httpx.ConnectTimeout("away")


def confirmed(*, anew: bool = False) -> dict[str, object]:
    return identity._confirmed(SETTINGS, "token", anew=anew)


def test_an_answer_is_believed_for_a_while_and_asked_again_before_a_write(sso: Sso, now: list[float]) -> None:
    assert confirmed() == CLAIMS
    assert confirmed() == CLAIMS
    assert sso.asked == 1
    confirmed(anew=True)
    assert sso.asked == 2
    now[0] += 1.1
    confirmed()
    assert sso.asked == 3


@pytest.mark.parametrize("status", [400, 401, 403, 404])
def test_a_refused_token_is_refused_at_once_however_lately_it_was_good(sso: Sso, status: int) -> None:
    confirmed()
    sso.answer = lambda: httpx.Response(status)
    with pytest.raises(AccessDeniedError, match="no longer good"):
        confirmed(anew=True)
    sso.answer = away
    with pytest.raises(AccessDeniedError):  # nothing is left to believe
        confirmed()


def overloaded() -> httpx.Response:
    return httpx.Response(429)


def broken() -> httpx.Response:
    return httpx.Response(503)


def a_page() -> httpx.Response:
    return httpx.Response(200, text="<html>")


@pytest.mark.parametrize("answer", [away, overloaded, broken, a_page])
def test_a_provider_that_does_not_answer_is_believed_for_a_minute_more(
    sso: Sso, now: list[float], answer: Callable[[], httpx.Response]
) -> None:
    confirmed()
    sso.answer = answer
    now[0] += 59.0
    assert confirmed(anew=True) == CLAIMS
    now[0] += 2.0
    with pytest.raises(AccessDeniedError, match="does not answer"):
        confirmed()


@pytest.mark.usefixtures("sso")
def test_a_thousand_tokens_are_remembered_and_none_by_its_text() -> None:
    for number in range(1100):
        identity._confirmed(SETTINGS, f"token-{number}", anew=False)
    said = identity._confirmations._said
    assert len(said) == 1000
    assert not any("token" in key for key in said)
