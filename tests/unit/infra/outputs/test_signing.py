import base64

import pytest

from infra.errors import SettingsError
from infra.outputs.signing import signature, signing_keys

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
ID, AT, BODY = "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}'
EXPECTED = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="  # of the specification's own libraries


def test_a_signature_is_that_of_the_standard() -> None:
    assert signature(signing_keys(SECRET), ID, AT, BODY) == EXPECTED


@pytest.mark.parametrize(("message_id", "at", "body"), [("x", AT, BODY), (ID, AT + 1, BODY), (ID, AT, BODY + b" ")])
def test_it_is_of_id_time_and_body(message_id: str, at: int, body: bytes) -> None:
    assert signature(signing_keys(SECRET), message_id, at, body) != EXPECTED


def test_while_keys_change_both_sign() -> None:
    other = "whsec_" + base64.b64encode(b"k" * 32).decode()
    both = signature(signing_keys(f" {other}\n{SECRET} "), ID, AT, BODY)
    assert both == signature(signing_keys(other), ID, AT, BODY) + " " + EXPECTED


@pytest.mark.parametrize(
    "secret",
    [
        "",
        "  ",
        "hunter2",
        "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "whsec_not base64",
        "whsec_" + base64.b64encode(b"k" * 23).decode(),
        "whsec_" + base64.b64encode(b"k" * 65).decode(),
    ],
)
def test_what_is_no_secret_is_refused_and_not_shown(secret: str) -> None:
    with pytest.raises(SettingsError) as refused:
        signing_keys(secret)
    assert not secret.strip() or secret not in str(refused.value)
