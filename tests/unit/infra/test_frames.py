from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta, timezone

import pytest

from infra.errors import BadFrameError, DeadLetterReason
from infra.frames import (
    MAX_TEXT,
    FrameMessage,
    FrameTraces,
    Header,
    from_headers,
    new_id,
    readable_headers,
    sha256_hex,
    to_headers,
    traces,
)

RECEIVED = datetime(2026, 3, 3, 12, 0, 0, 250_000, tzinfo=UTC)
BODY = b"\xff\xd8 a picture"
WHOLE = FrameMessage(
    frame_id="0197-frame",
    camera="Linie 3 / Kamera Ö",
    product="tile",
    captured_at=datetime(2026, 3, 3, 11, 59, 59, 123_456, tzinfo=UTC),
    body=BODY,
    content_type="image/png",
    sha256=sha256_hex(BODY),
    part_id="MT-7",
    job_id="job-1",
    run="run-1",
    sequence=2**63 - 1,
    simulated="scratch",
    dataref="s3://frames/1",
)
LEAST: dict[str, bytes] = {"ce_source": b"cam", "ce_product": b"tile"}


def read(headers: dict[str, bytes] | tuple[Header, ...], key: bytes | None = None) -> FrameMessage:
    pairs = tuple(headers.items()) if isinstance(headers, dict) else headers
    return from_headers(pairs, BODY, key=key, fallback_id="frames/1/7", received_at=RECEIVED)


def refusal(headers: dict[str, bytes], key: bytes | None = None) -> DeadLetterReason:
    with pytest.raises(BadFrameError) as caught:
        read(headers, key)
    assert "\n" not in str(caught.value)
    return caught.value.reason


def test_every_field_comes_back_from_its_headers() -> None:
    assert all(getattr(WHOLE, field.name) is not None for field in fields(WHOLE))
    assert read(to_headers(WHOLE)) == WHOLE


def test_what_is_not_known_is_left_out_and_stays_unknown() -> None:
    bare = FrameMessage("id", "cam", "tile", RECEIVED, BODY)
    assert read(to_headers(bare)) == bare
    assert {name for name, _ in to_headers(WHOLE)} - {name for name, _ in to_headers(bare)} == {
        "ce_partid",
        "ce_jobid",
        "ce_run",
        "ce_sequence",
        "ce_sha256",
        "ce_simulated",
        "ce_dataref",
    }


def test_the_capture_time_travels_in_utc() -> None:
    local = replace(WHOLE, captured_at=WHOLE.captured_at.astimezone(timezone(timedelta(hours=5, minutes=30))))
    assert dict(to_headers(local))["ce_time"] == b"2026-03-03T11:59:59.123456+00:00"


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        (b"2026-03-03T12:00:00Z", RECEIVED.replace(microsecond=0)),
        (b"2026-03-03t12:00:00.25z", RECEIVED),
        (b"2026-03-03T13:00:00+01:00", RECEIVED.replace(microsecond=0)),
        (b"2026-03-03T12:00:00.250000999Z", RECEIVED),
    ],
)
def test_times_as_rfc_3339_writes_them_are_read(text: bytes, utc: datetime) -> None:
    assert read(LEAST | {"ce_time": text}).captured_at == utc


@pytest.mark.parametrize(
    ("field", "default"),
    [
        ("frame_id", "frames/1/7"),
        ("captured_at", RECEIVED),
        ("content_type", ""),
        ("part_id", None),
        ("job_id", None),
        ("run", None),
        ("sequence", None),
        ("sha256", None),
        ("simulated", None),
        ("dataref", None),
    ],
)
def test_a_missing_header_has_its_documented_default(field: str, default: object) -> None:
    assert getattr(read(LEAST), field) == default


def test_the_key_names_the_camera_where_the_source_does_not() -> None:
    assert read({"ce_product": b"tile"}, key=b"from the key").camera == "from the key"
    assert read({"ce_product": b"tile", "ce_source": b""}, key=b"from the key").camera == "from the key"
    assert read(LEAST, key=b"from the key").camera == "cam"


def test_header_names_are_read_whatever_their_case() -> None:
    assert read({"CE_Source": b"cam", "ce_PRODUCT": b"tile", "Content-Type": b"image/png"}).content_type == "image/png"


def test_of_a_repeated_header_the_last_counts() -> None:
    assert read((*LEAST.items(), ("ce_source", b"other"))).camera == "other"


def test_a_sha256_is_compared_without_case() -> None:
    assert read(LEAST | {"ce_sha256": b"AB12"}).sha256 == "ab12"


def test_headers_of_others_are_left_alone() -> None:
    assert read(LEAST | {"traceparent": b"\xff\x00", "x": b"y" * 100_000}).camera == "cam"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"ce_source": b""}, DeadLetterReason.MISSING_CAMERA),
        ({"ce_product": b""}, DeadLetterReason.MISSING_PRODUCT),
        ({"ce_type": b"differline.frame.v2"}, DeadLetterReason.UNSUPPORTED_TYPE),
        ({"ce_type": b""}, DeadLetterReason.UNSUPPORTED_TYPE),
        ({"ce_specversion": b"0.3"}, DeadLetterReason.UNSUPPORTED_TYPE),
        ({"ce_source": b"\xff"}, DeadLetterReason.BAD_HEADER),
        ({"ce_partid": b"caf\xe9"}, DeadLetterReason.BAD_HEADER),
        ({"ce_id": b"a\0b"}, DeadLetterReason.BAD_HEADER),
        ({"ce_product": b"x" * (MAX_TEXT + 1)}, DeadLetterReason.BAD_HEADER),
        ({"content-type": b"\xc3\x28"}, DeadLetterReason.BAD_HEADER),
        ({"ce_time": b""}, DeadLetterReason.BAD_HEADER),
        ({"ce_time": b"yesterday"}, DeadLetterReason.BAD_HEADER),
        ({"ce_time": b"2026-03-03T12:00:00"}, DeadLetterReason.BAD_HEADER),
        ({"ce_time": b"2026-13-03T12:00:00Z"}, DeadLetterReason.BAD_HEADER),
        ({"ce_time": b"0001-01-01T00:00:00+14:00"}, DeadLetterReason.BAD_HEADER),
        ({"ce_time": b"9999-12-31T23:59:59-12:00"}, DeadLetterReason.BAD_HEADER),
        ({"ce_run": b"r"}, DeadLetterReason.BAD_HEADER),
        ({"ce_sequence": b"1"}, DeadLetterReason.BAD_HEADER),
        *(
            ({"ce_run": b"r", "ce_sequence": sequence}, DeadLetterReason.BAD_HEADER)
            for sequence in (
                b"",
                b"-1",
                b"+1",
                b"1.0",
                b"0x1",
                b" 1",
                b"1_0",
                "١".encode(),
                b"9223372036854775808",
                b"9" * 256,
            )
        ),
    ],
)
def test_a_header_that_cannot_be_used_is_a_dead_letter(changes: dict[str, bytes], reason: DeadLetterReason) -> None:
    assert refusal(LEAST | changes) is reason


def test_a_frame_that_nobody_named_is_a_dead_letter() -> None:
    assert refusal({"ce_product": b"tile"}) is DeadLetterReason.MISSING_CAMERA
    assert refusal({"ce_product": b"tile"}, key=b"") is DeadLetterReason.MISSING_CAMERA
    assert refusal({"ce_source": b"cam"}) is DeadLetterReason.MISSING_PRODUCT
    assert refusal({"ce_product": b"tile"}, key=b"\xff") is DeadLetterReason.BAD_HEADER


def test_the_longest_text_fits() -> None:
    assert read(LEAST | {"ce_partid": "ß".encode() * MAX_TEXT}).part_id == "ß" * MAX_TEXT


HOSTILE = [
    b"",
    b"\0",
    b"\xff\xfe",
    b"x" * 100_000,
    b"\xed\xa0\x80",  # a lone surrogate
    b"9" * 5000,  # more digits than Python turns into a number
    b"-1",
    "١٢".encode(),  # digits, but not ASCII
    b"%s{}\\\n\r\t",
]


@pytest.mark.parametrize("value", HOSTILE)
@pytest.mark.parametrize("name", ["ce_id", "ce_source", "ce_run", "ce_sequence", "ce_time", "", "CE_ID", "\0"])
def test_hostile_bytes_end_in_a_frame_or_a_dead_letter_that_can_be_told_of(name: str, value: bytes) -> None:
    headers = LEAST | {"ce_run": b"r", "ce_sequence": b"4"} | {name: value}
    for key in (None, value):
        found = traces(tuple(headers.items()), key, "frames/1/7")
        assert found.frame_id
        assert (found.run is None) == (found.sequence is None)
        assert "\0" not in f"{found.frame_id}{found.camera}{found.run}"
        readable = readable_headers(tuple(headers.items()))
        assert "\0" not in "".join((*readable, *readable.values()))
        try:
            read(headers, key)
        except BadFrameError as error:
            assert "\n" not in str(error)  # noqa: PT017 - most of these are dead letters, the rest are frames


@pytest.mark.parametrize(
    "headers", [to_headers(WHOLE), tuple(LEAST.items()), tuple({**LEAST, "ce_run": b"", "ce_sequence": b"4"}.items())]
)
def test_traces_tell_the_same_as_the_message(headers: tuple[Header, ...]) -> None:
    message = read(headers)
    expected = FrameTraces(message.frame_id, message.camera, message.run, message.sequence)
    assert traces(headers, None, "frames/1/7") == expected


def test_traces_of_a_broken_message_are_what_can_be_read() -> None:
    headers = {"ce_id": b"id-1", "ce_source": b"\xff", "ce_run": b"r", "ce_sequence": b"4", "ce_time": b"never"}
    assert traces(tuple(headers.items()), b"key", "frames/1/7") == FrameTraces("id-1", "key", "r", 4)
    assert traces((), None, "frames/1/7") == FrameTraces("frames/1/7", "", None, None)


def test_ids_are_unique_and_later_ones_sort_later() -> None:
    ids = [new_id() for _ in range(1000)]
    assert ids == sorted(set(ids))
