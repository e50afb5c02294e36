from pathlib import Path
from typing import Any

import pytest

from infra.errors import SettingsError
from infra.outputs.opcua import opcua_sink
from infra.outputs.opcua_server import access_of
from infra.settings import Settings


def settings(**changes: Any) -> Settings:
    return Settings(**{"opcua_port": 4840, **changes})


def test_on_loopback_anybody_reads_and_elsewhere_only_who_is_known_by_a_password_that_is_encrypted() -> None:
    access = access_of(settings())
    assert (access.anonymous, access.address) == (True, "opc.tcp://127.0.0.1:4840/differline/")
    known = {"opcua_username": "plc", "opcua_password": "secret"}
    files = {"opcua_certfile": Path("c.pem"), "opcua_keyfile": Path("k.pem")}
    outside = access_of(settings(opcua_host="0.0.0.0", **known, **files))
    assert not outside.anonymous
    opened = access_of(settings(opcua_host="10.0.0.1", opcua_anonymous="on"))
    assert opened.anonymous


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"opcua_host": "0.0.0.0"}, "nobody could read"),
        ({"opcua_host": "plc.plant"}, "nobody could read"),
        ({"opcua_anonymous": "off"}, "nobody could read"),
        ({"opcua_host": "::", "opcua_username": "plc", "opcua_password": "secret"}, "in the clear"),
        ({"opcua_username": "plc"}, "go together"),
        ({"opcua_certfile": "c.pem"}, "go together"),
        ({"opcua_certfile": "c.pem", "opcua_keyfile": "k.pem"}, "cannot read the certificate"),
    ],
)
def test_what_would_let_anybody_in_or_nobody_is_an_error(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(SettingsError, match=told) as caught:
        opcua_sink(settings(**changes))
    assert "secret" not in str(caught.value)
