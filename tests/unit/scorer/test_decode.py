import hashlib
import threading
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import numpy as np
import pytest

from infra.bus import Partition, Record
from infra.errors import DeadLetterReason
from infra.pictures import encode_jpeg, encode_png
from infra.store.tables import NoVerdictReason
from scorer.decode import DeadFrame, DecodedFrame, Outcome, decode_record, decoding, products_of, unusable

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
MAX_PIXELS = 1_000_000
GRADIENT = np.tile(np.linspace(0, 255, 64, dtype=np.uint8)[:, None, None], (1, 48, 3))


def record(body: bytes, **headers: str) -> Record:
    texts = {"ce_source": "cam", "ce_product": "p", **headers}
    pairs = tuple((name, text.encode()) for name, text in texts.items())
    return Record(Partition("frames", 2), 7, b"cam", pairs, body, NOW)


def test_a_good_frame_comes_out_as_its_picture_with_a_checked_hash() -> None:
    body = encode_png(GRADIENT)
    frame = decode_record(record(body, ce_sha256=hashlib.sha256(body).hexdigest().upper()), MAX_PIXELS)
    assert isinstance(frame, DecodedFrame)
    assert np.array_equal(frame.picture, GRADIENT)
    assert frame.sha256 == hashlib.sha256(body).hexdigest()
    assert frame.unusable is None


def test_a_frame_without_id_is_named_by_its_position() -> None:
    frame = decode_record(record(encode_png(GRADIENT)), MAX_PIXELS)
    assert isinstance(frame, DecodedFrame)
    assert frame.message.frame_id == "frames/2/7"


@pytest.mark.parametrize(
    ("body", "headers", "reason"),
    [
        (b"", {}, DeadLetterReason.EMPTY_BODY),
        (b"", {"ce_sha256": "0" * 64}, DeadLetterReason.EMPTY_BODY),
        (b"not a picture", {}, DeadLetterReason.NOT_AN_IMAGE),
        (encode_jpeg(GRADIENT)[:200], {}, DeadLetterReason.BROKEN_IMAGE),
        (encode_png(GRADIENT), {"ce_sha256": "0" * 64}, DeadLetterReason.HASH_MISMATCH),
        (encode_png(np.zeros((1001, 1000, 3), np.uint8)), {}, DeadLetterReason.TOO_MANY_PIXELS),
        (encode_png(GRADIENT), {"ce_type": "other.v1"}, DeadLetterReason.UNSUPPORTED_TYPE),
    ],
)
def test_what_cannot_be_judged_is_dead_with_its_reason(
    body: bytes, headers: dict[str, str], reason: DeadLetterReason
) -> None:
    dead = decode_record(record(body, ce_run="r", ce_sequence="3", **headers), MAX_PIXELS)
    assert isinstance(dead, DeadFrame)
    assert dead.reason == reason
    assert (dead.traces.camera, dead.traces.run, dead.traces.sequence) == ("cam", "r", 3)


def test_black_and_over_exposed_pictures_cannot_be_judged_but_dark_and_bright_parts_can() -> None:
    noise = np.random.default_rng(0).integers(0, 4, (64, 64, 3), np.uint8)
    assert unusable(noise) == NoVerdictReason.BLACK
    assert unusable(255 - noise) == NoVerdictReason.OVER_EXPOSED
    assert unusable(noise + 20) is None
    assert unusable(235 - noise) is None
    assert unusable(np.full((64, 64, 3), 128, np.uint8)) is None


def test_products_are_told_before_anything_is_decoded_as_far_as_messages_can_be_read() -> None:
    records = [record(b"no picture", ce_product=product) for product in ("tile", "cap", "tile", "")]
    records.append(record(b"", ce_product="other", ce_type="other.v1"))
    assert products_of(records) == {"tile", "cap"}


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as threads:
        yield threads


def test_records_decode_in_threads_each_to_its_own_outcome(pool: ThreadPoolExecutor) -> None:
    records = [record(body) for body in (encode_png(GRADIENT), b"no picture", encode_png(GRADIENT))]
    with decoding(pool, lambda each: decode_record(each, MAX_PIXELS), records) as running:
        outcomes = [future.result(10) for _, future in running]
    assert [each for each, _ in running] == records
    assert [type(outcome) for outcome in outcomes] == [DecodedFrame, DeadFrame, DecodedFrame]
    assert [outcome.record for outcome in outcomes] == records


def test_what_has_not_begun_when_the_caller_gives_up_is_left_out(pool: ThreadPoolExecutor) -> None:
    begun, go_on = threading.Barrier(3), threading.Event()

    def slow(each: Record) -> Outcome:
        begun.wait(10)
        go_on.wait(10)
        return decode_record(each, MAX_PIXELS)

    with decoding(pool, slow, [record(b"")] * 5) as running:
        begun.wait(10)
    go_on.set()
    assert [future.cancelled() for _, future in running] == [False, False, True, True, True]


def test_threads_that_overlap_leave_the_filters_of_warnings_as_they_were(pool: ThreadPoolExecutor) -> None:
    before = list(warnings.filters)
    inside, first_is_out = threading.Barrier(2), threading.Event()

    def overlapping(each: Record) -> Outcome:
        if each.value:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                inside.wait(10)
                inside.wait(10)
            first_is_out.set()
        else:
            inside.wait(10)
            with warnings.catch_warnings():
                inside.wait(10)
                first_is_out.wait(10)
        return decode_record(each, MAX_PIXELS)

    with decoding(pool, overlapping, [record(b"first"), record(b"")]) as running:
        for _, future in running:
            future.result(10)
    assert list(warnings.filters) == before
