"""The ledger over a real PostgreSQL and a real bus: what is on the way, what is missing, what is nobody's loss."""

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace

import pytest
import sqlalchemy as sa

from infra.bus import Consumer, Producer
from infra.bus.connect import open_consumer, open_producer
from infra.engines import Engines
from infra.ledger_report import current_ledger
from infra.settings import Settings
from infra.store.ledger import Accounted, CameraLedger, count, missing_frames, read_ledger
from infra.store.positions import claim
from infra.store.results import write_batch
from infra.store.runs import report_accepted, report_skipped

from .rows import FIRST, batch, dead


def account(database: sa.Engine, *frames: Accounted) -> None:
    with database.begin() as connection:
        count(connection, frames)


def good(sequence: int | None, camera: str = "cam", run: str | None = "run") -> Accounted:
    return Accounted(camera, "GOOD", "", None if sequence is None else run, sequence)


def the_camera(database: sa.Engine, *, bus_is_empty: bool = True) -> CameraLedger:
    (camera,) = read_ledger(database, lambda _: bus_is_empty).cameras
    return camera


def test_nothing_received_balances(database: sa.Engine) -> None:
    ledger = read_ledger(database, lambda _: True)
    assert (ledger.cameras, ledger.received, ledger.balanced) == ([], 0, True)


def test_every_frame_has_its_place_and_the_sum_is_what_was_received(database: sa.Engine) -> None:
    report_accepted(database, "cam", "run", 7)
    fates = [("GOOD", ""), ("DEFECT", ""), ("NO_VERDICT", "black"), ("NO_VERDICT", "no_model")]
    fates += [("NO_VERDICT", "black"), ("DEAD_LETTER", "broken_image"), ("DEAD_LETTER", "hash_mismatch")]
    account(database, *(Accounted("cam", *fate, "run", sequence) for sequence, fate in enumerate(fates)))
    camera = the_camera(database)
    assert camera.no_verdict == {"black": 2, "no_model": 1}
    assert camera.dead_lettered == {"broken_image": 1, "hash_mismatch": 1}
    assert (camera.good, camera.defect, camera.received, camera.accounted) == (1, 1, 7, 7)
    assert (camera.balanced, camera.waiting, camera.missing) == (True, 0, 0)


@pytest.mark.parametrize("bus_is_empty", [True, False])
def test_a_gap_in_the_middle_is_missing_whatever_the_bus_holds(database: sa.Engine, bus_is_empty: bool) -> None:
    account(database, good(0), good(1), good(4))
    camera = the_camera(database, bus_is_empty=bus_is_empty)
    assert (camera.received, camera.accounted, camera.missing, camera.balanced) == (5, 3, 2, False)
    assert missing_frames(database) == {"cam": 2}


def test_a_frame_that_comes_late_closes_its_gap(database: sa.Engine) -> None:
    account(database, good(0), good(2))
    account(database, good(1))
    assert the_camera(database).balanced
    assert missing_frames(database) == {}


def test_a_tail_waits_while_the_bus_holds_something_and_is_missing_when_it_is_empty(database: sa.Engine) -> None:
    account(database, good(0))
    report_accepted(database, "cam", "run", 3)
    waiting, missing = the_camera(database, bus_is_empty=False), the_camera(database, bus_is_empty=True)
    assert (waiting.received, waiting.waiting, waiting.missing, waiting.balanced) == (3, 2, 0, False)
    assert (missing.received, missing.waiting, missing.missing, missing.balanced) == (3, 0, 2, False)
    assert missing_frames(database) == {}  # not sure without asking the bus


def test_what_was_accepted_while_the_bus_was_asked_is_not_called_missing(database: sa.Engine) -> None:
    report_accepted(database, "cam", "run", 1)
    account(database, good(0))

    def two_more_arrive(_: sa.Connection) -> bool:
        report_accepted(database, "cam", "run", 3)
        return True

    (camera,) = read_ledger(database, two_more_arrive).cameras
    assert (camera.received, camera.waiting, camera.missing) == (3, 2, 0)


def test_frames_that_are_scored_before_ingest_told_of_them_are_no_surplus(database: sa.Engine) -> None:
    report_accepted(database, "cam", "run", 1)
    account(database, good(0), good(1), good(2))
    camera = the_camera(database)
    assert (camera.received, camera.balanced) == (3, True)


def test_a_report_that_comes_late_takes_nothing_back(database: sa.Engine) -> None:
    report_accepted(database, "cam", "run", 3)
    report_accepted(database, "cam", "run", 2)
    assert the_camera(database).received == 3


def test_runs_and_cameras_are_counted_apart(database: sa.Engine) -> None:
    account(database, good(0, run="a"), good(1, run="a"), good(0, run="b"), good(0, camera="other", run="a"))
    account(database, good(2, camera="other", run="a"))
    cam, other = read_ledger(database, lambda _: True).cameras
    assert (cam.camera, cam.received, cam.missing) == ("cam", 3, 0)
    assert (other.camera, other.received, other.missing) == ("other", 3, 1)
    assert missing_frames(database) == {"other": 1}


def test_a_foreign_producer_without_sequence_is_counted_by_what_was_read(database: sa.Engine) -> None:
    account(database, good(None), good(None), Accounted("cam", "DEAD_LETTER", "bad_header", None, None))
    camera = the_camera(database)
    assert (camera.received, camera.accounted, camera.missing, camera.balanced) == (3, 3, 0, True)


def test_a_camera_may_send_with_and_without_sequence(database: sa.Engine) -> None:
    account(database, good(0), good(2), good(None))
    camera = the_camera(database)
    assert (camera.received, camera.accounted, camera.missing) == (4, 3, 1)


def test_dead_letters_that_name_no_camera_have_an_account_of_their_own(database: sa.Engine) -> None:
    account(database, good(0), Accounted("", "DEAD_LETTER", "missing_camera", None, None))
    unnamed, _ = read_ledger(database, lambda _: True).cameras
    assert (unnamed.camera, unnamed.received, unnamed.balanced) == ("", 1, True)


def test_duplicates_are_told_and_are_not_received(database: sa.Engine) -> None:
    account(database, good(0), *[Accounted("cam", "DUPLICATE", "", None, None)] * 2)
    camera = the_camera(database)
    assert (camera.duplicates, camera.received, camera.balanced) == (2, 1, True)


def test_the_json_says_what_the_ledger_says(database: sa.Engine) -> None:
    account(database, good(0), good(2), Accounted("b", "NO_VERDICT", "black", None, None))
    report_accepted(database, "cam", "run", 5)
    told = json.loads(json.dumps(read_ledger(database, lambda _: False).as_json()))
    cam = {
        "camera": "cam",
        "received": 5,
        "good": 2,
        "defect": 0,
        "no_verdict": {},
        "dead_lettered": {},
        "waiting": 2,
        "missing": 1,
        "duplicates": 0,
        "spooled": 0,
        "skipped": {},
        "accounted": 2,
        "balanced": False,
    }
    other = cam | {"camera": "b", "received": 1, "good": 0, "no_verdict": {"black": 1}, "waiting": 0, "missing": 0}
    assert told == {
        "received": 6,
        "accounted": 3,
        "missing": 1,
        "waiting": 2,
        "spooled": 0,
        "skipped": 0,
        "balanced": False,
        "cameras": [other | {"accounted": 1, "balanced": True}, cam],
    }


@dataclass
class Line:
    """Ingest's and the scorer's ends of a real bus, one partition."""

    settings: Settings
    engines: Engines
    database: sa.Engine
    producer: Producer
    consumer: Consumer

    def send(self, number: int) -> None:
        for _ in range(number):
            self.producer.send(self.settings.frames_topic, b"cam", (), b"", timeout_s=10)

    def score(self, number: int, first_sequence: int = 0) -> None:
        mine = claim(self.database, FIRST, "scorer")
        rows = [
            replace(dead(f"frame {record.offset}", sequence), bus_offset=record.offset, run="run", sequence=sequence)
            for sequence, record in enumerate(self.consumer.poll(number, 1.0), first_sequence)
        ]
        write_batch(self.database, [mine], batch(*rows), 7)

    def camera(self) -> CameraLedger:
        (camera,) = current_ledger(self.settings, self.engines).cameras
        return camera


@pytest.fixture
def line(settings: Settings, engines: Engines, database: sa.Engine) -> Iterator[Line]:
    single = settings.model_copy(update={"partitions": 1})
    own = Engines(str(settings.database_url), engines.redis_url)
    with closing(open_producer(single, own)) as producer, closing(open_consumer(single, own)) as consumer:
        consumer.seek_to_beginning(FIRST)
        yield Line(single, own, database, producer, consumer)


def test_what_lies_on_the_bus_is_waiting_and_what_is_nowhere_is_missing(line: Line) -> None:
    line.send(4)
    report_accepted(line.database, "cam", "run", 5)  # one more than the bus has
    assert (line.camera().waiting, line.camera().missing) == (5, 0)
    line.score(3)
    assert (line.camera().received, line.camera().accounted, line.camera().waiting) == (5, 3, 2)
    line.score(1, first_sequence=3)
    lost = line.camera()
    assert (lost.received, lost.accounted, lost.waiting, lost.missing, lost.balanced) == (5, 4, 0, 1, False)


def test_a_bus_that_lost_accepted_frames_shows_as_missing(line: Line) -> None:
    line.send(2)
    report_accepted(line.database, "cam", "run", 2)
    line.consumer.done_until({FIRST: 2**62})
    assert (line.camera().waiting, line.camera().missing) == (0, 2)


def test_the_ledger_balances_when_the_scorer_is_through(line: Line) -> None:
    line.send(3)
    line.score(3)
    report_accepted(line.database, "cam", "run", 3)
    camera = line.camera()
    assert (camera.received, camera.dead_lettered, camera.balanced) == (3, {"broken_image": 3}, True)


def test_what_lies_in_a_spool_is_received_and_keeps_the_ledger_from_balancing(database: sa.Engine) -> None:
    report_accepted(database, "cam", "run", 2, captured=5)
    account(database, good(0), good(1))
    camera = the_camera(database)
    assert (camera.received, camera.spooled, camera.missing, camera.waiting) == (5, 3, 0, 0)
    assert not camera.balanced


def test_a_spool_that_has_been_sent_since_it_was_told_holds_nothing(database: sa.Engine) -> None:
    report_accepted(database, "cam", "run", 0, captured=2)
    account(database, good(0), good(1))
    camera = the_camera(database)
    assert (camera.received, camera.spooled, camera.balanced) == (2, 0, True)


def test_what_was_captured_and_accepted_only_grows(database: sa.Engine) -> None:
    report_accepted(database, "cam", "run", 2, captured=5)
    report_accepted(database, "cam", "run", 1, captured=3)
    assert the_camera(database, bus_is_empty=False).received == 5


def test_skipped_frames_are_shown_by_reason_over_all_runs_and_are_no_gap(database: sa.Engine) -> None:
    report_accepted(database, "cam", "run", 1)
    account(database, good(0))
    report_skipped(database, "cam", "run", {"bus_away": 2, "camera_away": 1})
    report_skipped(database, "cam", "run", {"bus_away": 4})
    report_skipped(database, "cam", "older", {"bus_away": 1})
    camera = the_camera(database)
    assert camera.skipped == {"bus_away": 5, "camera_away": 1}
    assert camera.balanced


def test_a_camera_that_only_skipped_is_in_the_ledger(database: sa.Engine) -> None:
    report_skipped(database, "cam", "run", {"camera_away": 3})
    ledger = read_ledger(database, lambda _: True)
    assert ledger.as_json()["skipped"] == 3
