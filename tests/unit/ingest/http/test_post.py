from datetime import UTC, datetime
from http import HTTPStatus

import pytest

from ingest.http.app import Tokens
from ingest.http.post import Post, PostRefusedError, read_length, read_post

JPEG = {"content-type": "image/jpeg"}


def refusal(headers: dict[str, str], camera: str = "oven", product: str | None = "tile") -> tuple[int, str]:
    with pytest.raises(PostRefusedError) as caught:
        read_post(camera, headers, product)
    assert "\n" not in str(caught.value)
    return int(caught.value.status), str(caught.value)


def test_a_cloud_event_is_read() -> None:
    headers = {
        "content-type": "image/png; x=y",
        "ce-specversion": "1.0",
        "ce-type": "differline.frame.v1",
        "ce-source": "%C3%96fen",
        "ce-id": "7",
        "ce-time": "2026-03-03T10:00:00+01:00",
        "ce-product": "tile%20A",
        "ce-partid": "SN-1",
        "ce-jobid": "J",
        "ce-sha256": "AB" * 32,
    }
    at = datetime(2026, 3, 3, 9, tzinfo=UTC)
    assert read_post("Öfen", headers, None) == Post("Öfen", "tile A", "image/png", "7", at, "SN-1", "J", "ab" * 32)


def test_plain_headers_say_the_same_and_what_is_missing_is_not_known() -> None:
    plain = {"x-frame-id": "7", "x-captured-at": "2026-03-03t09:00:00z", "x-part-id": "SN", "x-job-id": "J"}
    at = datetime(2026, 3, 3, 9, tzinfo=UTC)
    assert read_post("oven", {**JPEG, **plain, "x-product": "b"}, "tile") == Post(
        "oven", "b", "image/jpeg", "7", at, "SN", "J"
    )
    assert read_post("oven", JPEG, "tile") == Post("oven", "tile", "image/jpeg")


@pytest.mark.parametrize(
    ("headers", "status", "why"),
    [
        ({}, 415, "Content-Type must be"),
        ({"content-type": "image/bmp"}, 415, "not 'image/bmp'"),
        ({**JPEG, "ce-type": "other"}, 400, "ce-type"),
        ({**JPEG, "ce-specversion": "0.3"}, 400, "ce-specversion"),
        ({**JPEG, "ce-source": "another"}, 400, "ce-source"),
        ({**JPEG, "ce-id": ""}, 400, "ce-id is empty"),
        ({**JPEG, "ce-id": "x" * 257}, 400, "ce-id has 257 characters"),
        ({**JPEG, "ce-id": "a", "x-frame-id": "b"}, 400, "differ"),
        ({**JPEG, "x-part-id": "a%00b"}, 400, "control characters"),
        ({**JPEG, "x-part-id": "%ff"}, 400, "UTF-8"),
        ({**JPEG, "x-part-id": "\u20ac"}, 400, "UTF-8"),
        ({**JPEG, "ce-time": "yesterday"}, 400, "RFC 3339"),
        ({**JPEG, "ce-time": "2026-03-03T10:00:00"}, 400, "time zone"),
        ({**JPEG, "ce-time": "0001-01-01T00:00:00+14:00"}, 400, "RFC 3339"),
    ],
)
def test_what_no_frame_message_can_carry_is_refused(headers: dict[str, str], status: int, why: str) -> None:
    found, reason = refusal(headers)
    assert found == status
    assert why in reason


def test_a_post_without_product_and_a_camera_without_a_proper_name_are_refused() -> None:
    assert refusal(JPEG, product=None)[0] == HTTPStatus.BAD_REQUEST
    assert refusal(JPEG, camera=" ")[0] == HTTPStatus.BAD_REQUEST
    assert refusal(JPEG, camera="a\0b")[0] == HTTPStatus.BAD_REQUEST
    assert refusal(JPEG, camera="x" * 257)[0] == HTTPStatus.BAD_REQUEST


def test_a_length_is_known_before_the_body_is_read() -> None:
    assert read_length({"content-length": "10"}, 10) == 10
    assert read_length({}, 10) is None
    for text, status in (("11", 413), ("9" * 30, 413), ("-1", 400), ("²", 400)):
        with pytest.raises(PostRefusedError) as caught:
            read_length({"content-length": text}, 10)
        assert caught.value.status == status


def test_who_may_post() -> None:
    open_to_all, one, own = Tokens(None, {}), Tokens("t", {}), Tokens("t", {"oven": "o"})
    assert open_to_all.allow("oven", "")
    assert [
        one.allow("oven", given) for given in ("Bearer t", "bearer  t ", "", "Bearer", "Bearer tt", "Basic t", "t")
    ] == [
        *(True, True),
        *(False,) * 5,
    ]
    assert own.allow("oven", "Bearer o")
    assert not own.allow("oven", "Bearer t")
    assert own.allow("press", "Bearer t")
    assert not Tokens(None, {"oven": "o"}).allow("press", "")
