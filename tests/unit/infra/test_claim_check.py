from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from infra.archive import Archive, open_archive
from infra.bus import Partition, Record
from infra.claim_check import fetch_from
from infra.errors import ArchiveAwayError, BadFrameError, DeadLetterReason
from infra.pictures import encode_png
from infra.received import Received, message_of, picture_of

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
GRADIENT = np.tile(np.linspace(0, 255, 64, dtype=np.uint8)[:, None, None], (1, 48, 3))
MAX_PIXELS = 1_000_000
BODY = encode_png(GRADIENT)


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    made = open_archive(str(tmp_path / "archive"))
    made.prepare()
    return made


def claim(dataref: str, body: bytes = b"", **headers: str) -> Record:
    texts = {"ce_source": "cam", "ce_product": "p", "ce_dataref": dataref, **headers}
    return Record(Partition("f", 0), 7, b"cam", tuple((name, text.encode()) for name, text in texts.items()), body, NOW)


def decoded(archive: Archive, record: Record) -> Received:
    return picture_of(message_of(record), MAX_PIXELS, fetch_from(archive))


def why_not(archive: Archive, record: Record) -> DeadLetterReason:
    with pytest.raises(BadFrameError) as caught:
        decoded(archive, record)
    return caught.value.reason


def test_a_picture_is_fetched_and_judged_as_if_it_had_come_along(archive: Archive) -> None:
    ref = archive.write(BODY)
    frame = decoded(archive, claim(ref, ce_sha256=ref.partition("/")[2]))
    assert (frame.picture == GRADIENT).all()
    assert (frame.message.body, frame.sha256) == (BODY, ref.partition("/")[2])


def test_a_body_that_came_along_counts_and_nothing_is_fetched(archive: Archive) -> None:
    assert (decoded(archive, claim("ab/" + "c" * 64, body=BODY)).picture == GRADIENT).all()


@pytest.mark.parametrize(
    "dataref",
    [
        "/etc/passwd",
        "../../../etc/passwd",
        "file:///etc/passwd",
        "https://example.org/picture.jpg",
        "s3://bucket/" + "a" * 64,
        "ab/" + "c" * 64 + "/../../x",
        "ab/" + "c" * 63,
        "AB/" + "C" * 64,
    ],
)
def test_nothing_but_our_own_references_is_fetched(dataref: str) -> None:
    class Untouchable(Archive):
        def read(self, ref: str) -> bytes:
            raise AssertionError(ref)

    with pytest.raises(BadFrameError, match="no archive reference") as caught:
        fetch_from(Untouchable(None, "root"))(dataref)
    assert caught.value.reason is DeadLetterReason.BAD_HEADER


def test_a_picture_that_is_not_there_is_a_dead_letter(archive: Archive) -> None:
    assert why_not(archive, claim("ab/ab" + "c" * 62)) is DeadLetterReason.DATAREF_MISSING


def test_an_altered_picture_is_a_dead_letter(archive: Archive, tmp_path: Path) -> None:
    ref = archive.write(BODY)
    (tmp_path / "archive" / ref).write_bytes(encode_png(255 - GRADIENT))
    assert why_not(archive, claim(ref)) is DeadLetterReason.HASH_MISMATCH


def test_another_picture_than_the_header_says_is_a_dead_letter(archive: Archive) -> None:
    assert why_not(archive, claim(archive.write(BODY), ce_sha256="0" * 64)) is DeadLetterReason.HASH_MISMATCH


def test_an_absent_archive_is_no_fault_of_the_frame(archive: Archive, tmp_path: Path) -> None:
    ref = archive.write(BODY)
    (tmp_path / "archive").rename(tmp_path / "away")
    with pytest.raises(ArchiveAwayError, match="is not there"):
        decoded(archive, claim(ref))
    (tmp_path / "away").rename(tmp_path / "archive")
    assert (decoded(archive, claim(ref)).picture == GRADIENT).all()


def test_without_an_archive_a_claim_check_is_a_dead_letter() -> None:
    with pytest.raises(BadFrameError) as caught:
        picture_of(message_of(claim("ab/ab" + "c" * 62)), MAX_PIXELS)
    assert caught.value.reason is DeadLetterReason.DATAREF_MISSING
