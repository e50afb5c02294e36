import threading
from pathlib import Path

import pytest

from infra.archive import open_archive
from infra.errors import ArchiveAwayError, BusAwayError
from infra.frames import sha256_hex
from ingest.claim_check import ClaimCheck

from .test_gateway import FakeProducer, FakeTime, gateway, picture


@pytest.fixture
def claim_check(tmp_path: Path) -> ClaimCheck:
    return ClaimCheck(open_archive(str(tmp_path / "archive")), above_bytes=4)


def test_only_a_larger_picture_goes_to_the_archive(claim_check: ClaimCheck) -> None:
    producer = FakeProducer()
    gateway(producer, FakeTime(), claim_check=claim_check).send_all([picture("four"), picture("fives")])
    small, large = producer.accepted
    assert (small.body, small.dataref) == (b"four", None)
    assert (large.body, large.sha256) == (b"", sha256_hex(b"fives"))
    assert large.dataref is not None
    assert claim_check.archive.read(large.dataref) == b"fives"
    assert (large.run, large.sequence) == (small.run, 1)


def test_a_bus_that_is_away_gets_the_same_message_again(claim_check: ClaimCheck) -> None:
    producer = FakeProducer([BusAwayError("away"), None])
    gateway(producer, FakeTime(), claim_check=claim_check).send_all([picture("fives")])
    assert producer.attempts == [producer.accepted[0]] * 2


def test_an_archive_that_is_away_is_waited_for_and_nothing_is_left_out(
    claim_check: ClaimCheck, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, failures = claim_check.archive.write, 3

    def away_at_first(data: bytes) -> str:
        nonlocal failures
        failures -= 1
        if failures >= 0:
            raise ArchiveAwayError("away")
        return write(data)

    monkeypatch.setattr(claim_check.archive, "write", away_at_first)
    producer, time = FakeProducer(), FakeTime()
    report = gateway(producer, time, claim_check=claim_check).send_all([picture("fives"), picture("sixths")])
    assert report.accepted == 2
    assert [frame.sequence for frame in producer.accepted] == [0, 1]
    assert len(time.sleeps) == 3


def test_a_request_to_stop_ends_the_wait_for_the_archive(
    claim_check: ClaimCheck, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop = threading.Event()

    def away(_: bytes) -> str:
        stop.set()
        raise ArchiveAwayError("away")

    monkeypatch.setattr(claim_check.archive, "write", away)
    producer = FakeProducer()
    report = gateway(producer, FakeTime(), claim_check=claim_check, stop=stop).send_all([picture("fives")])
    assert (report.accepted, report.stopped, producer.attempts) == (0, True, [])
