import pytest

from infra.errors import SettingsError
from ingest.sources.address import CameraAddress, parsed_address

SECRETS = ("geheim", "p@ss", "p%40ss", "hunter2")


def refusal(text: str, **options: str) -> str:
    with pytest.raises(SettingsError) as caught:
        parsed_address(text, **options, environment={})
    message = str(caught.value)
    assert "\n" not in message
    assert not any(secret in message for secret in SECRETS)
    assert caught.value.__cause__ is None
    return message


def test_the_login_is_in_what_is_opened_and_in_nothing_that_is_shown() -> None:
    address = parsed_address("rtsp://viewer:geheim@10.0.0.17/stream1?channel=2")
    assert address.secret == "rtsp://viewer:geheim@10.0.0.17/stream1?channel=2"
    assert (address.host, address.port, address.has_login) == ("10.0.0.17", 554, True)
    for shown in (str(address), repr(address), f"{address}", address.shown):
        assert "geheim" not in shown
        assert "viewer" not in shown
    assert str(address) == "rtsp://10.0.0.17/stream1?…"


@pytest.mark.parametrize(
    "path", ["/user=admin&password=geheim&channel=1", "/user=admin_password=geheim_channel=1.sdp", "/s?pw=geheim"]
)
def test_a_password_in_the_path_as_some_makers_have_it_is_not_shown(path: str) -> None:
    address = parsed_address(f"rtsp://10.0.0.17:8554{path}")
    assert address.secret.endswith(path)
    assert "geheim" not in f"{address}{address!r}"
    assert address.port == 8554


def test_user_and_password_beside_the_address_are_escaped() -> None:
    address = parsed_address("rtsp://cam/1", user="vi@wer", password="p@ss/#?%")
    assert address.secret == "rtsp://vi%40wer:p%40ss%2F%23%3F%25@cam/1"


def test_a_variable_of_the_environment_stands_for_a_part_of_the_address() -> None:
    address = parsed_address("rtsp://u:${CAM_PASSWORD}@cam/1", environment={"CAM_PASSWORD": "p@ss w"})
    assert address.secret == "rtsp://u:p%40ss%20w@cam/1"


def test_a_variable_that_is_not_set_is_named_and_one_that_is_empty_too() -> None:
    for environment in ({}, {"CAM_PASSWORD": ""}):
        with pytest.raises(SettingsError, match="CAM_PASSWORD"):
            parsed_address("rtsp://u:${CAM_PASSWORD}@cam/1", environment=environment)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("http://u:geheim@cam/1", "rtsp://"),
        ("10.0.0.17", "rtsp://"),
        ("", "rtsp://"),
        ("rtsp://u:p@ss@cam/1", "@ too many"),
        ("rtsp://u:p@ss/geheim@cam/1", "@ too many"),
        ("rtsp://u:geheim/w@cam/1", "@ too many"),
        ("rtsp://u:hunter2#x@cam/1", "@ too many"),
        ("rtsp://u:geheim@cam:port/1", "port"),
        ("rtsp://u:geheim@cam:99999/1", "port"),
        ("rtsp://u:geheim@/1", "no host"),
        ("rtsp:///1", "no host"),
        ("rtsp://u:geh eim@cam/1", "space"),
        ("rtsp://u:geheim\n@cam/1", "space"),
        ("rtsp://u:geheim@[::1/1", "no address"),
        ("rtsp://us%3Aer:geheim@cam/1", "colon"),
    ],
)
def test_what_is_no_rtsp_address_is_refused_without_a_word_of_it(text: str, why: str) -> None:
    assert why in refusal(text)


def test_a_password_without_a_user_and_two_logins_are_refused() -> None:
    assert "user name" in refusal("rtsp://cam/1", password="geheim")
    assert "twice" in refusal("rtsp://u:geheim@cam/1", user="u", password="hunter2")


def test_an_address_of_ipv6_keeps_its_brackets() -> None:
    address: CameraAddress = parsed_address("rtsp://[::1]:8554/1", user="u", password="x")
    assert (address.host, address.port, address.secret) == ("::1", 8554, "rtsp://u:x@[::1]:8554/1")
