"""The outbox and its relay on a real database, with producers of the tests' own."""

import json
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import jsonschema
import pytest
import sqlalchemy as sa
import structlog

from infra.archive import Archive, open_archive
from infra.bus import Message
from infra.dead_letters import pack_original
from infra.errors import BusAwayError, StaleEpochError, TransientError
from infra.outputs.kafka import KafkaSink, Topics
from infra.outputs.relay import Relay
from infra.store.models import register_in_force
from infra.store.outbox import OutboxKey, OutboxKind, OutboxRow, backlog
from infra.store.output_cursors import output_turn
from infra.store.positions import claim
from infra.store.results import DeadLetterRow, VerdictRow, write_batch
from infra.verdict_message import verdict_schema

from .rows import FIRST, MODEL, NOON, SECOND, batch, dead, judged, unjudged

IDLE_S = 0.5  # any other writing transaction of the server may hold the relay up for a moment
TOPICS = Topics("verdicts", "frames.dlt", largest_body=1000)


@dataclass
class Sent:
    """One message that the broker took."""

    topic: str
    key: bytes
    headers: dict[str, str]
    value: bytes


@dataclass
class Broker:
    """A broker that takes messages until it is told not to; `before` runs in the middle of each send."""

    sent: list[Sent] = field(default_factory=list)
    before: Callable[[int], None] = lambda _: None
    attempts: int = 0
    taken: list[Message] = field(default_factory=list)

    def publish(self, messages: Sequence[Message], timeout_s: float) -> list[TransientError | None]:
        assert timeout_s > 0
        assert len({(message.topic, message.key) for message in messages}) == len(messages)  # one of a camera at a time
        return [self._take(message) for message in messages]

    def _take(self, message: Message) -> TransientError | None:
        self.attempts += 1
        try:
            self.before(self.attempts)
        except TransientError as error:
            return error
        self.taken.append(message)
        texts = {name: text.decode(errors="backslashreplace") for name, text in message.headers}
        self.sent.append(Sent(message.topic, message.key, texts, message.value))
        return None

    def close(self) -> None:
        pass


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return open_archive(str(tmp_path / "archive"))


@pytest.fixture
def broker() -> Broker:
    return Broker()


NewRelay = Callable[..., Relay]


@pytest.fixture
def new_relay(database: sa.Engine, archive: Archive, broker: Broker) -> NewRelay:
    def make() -> Relay:
        return Relay(database, [KafkaSink(broker, Broker(), archive, TOPICS, every_s=60)], structlog.get_logger())

    return make


@pytest.fixture
def write(database: sa.Engine) -> Callable[..., None]:
    claims = [claim(database, partition, "test") for partition in (FIRST, SECOND)]

    def one_batch(*rows: VerdictRow | DeadLetterRow, fill_outbox: bool = True) -> None:
        whole = batch(*rows)
        mine = [each for each in claims if each.partition in whole.next_offsets]
        write_batch(database, mine, whole, 7, fill_outbox=fill_outbox)

    return one_batch


Write = Callable[..., None]


def frames(sent: list[Sent]) -> list[str]:
    return [json.loads(message.value)["frameId"] for message in sent if message.topic == "verdicts"]


def by_camera(sent: list[Sent]) -> dict[bytes, list[str]]:
    """The first appearance of each result, as a consumer keeps them that knows doubles by their ce_id."""
    known: set[str] = set()
    found = defaultdict(list)
    for message in sent:
        if message.headers["ce_id"] not in known:
            known.add(message.headers["ce_id"])
            found[message.key].append(json.loads(message.value)["frameId"])
    return dict(found)


def test_one_machine_fills_no_outbox(database: sa.Engine, write: Write) -> None:
    write(unjudged("a", 0), dead("b", 1), fill_outbox=False)
    assert backlog(database).rows == 0


def test_every_verdict_is_published_by_its_schema_and_taken_out(
    database: sa.Engine, write: Write, new_relay: NewRelay, broker: Broker
) -> None:
    model = register_in_force(database, MODEL)
    full = {"part_id": "P 7", "job_id": "J", "run": "r", "sequence": 4, "simulated": "scratch", "archive_ref": "ab/cd"}
    write(
        judged("good", 0, model.id, result_id="1", scored_at=NOON, decode_ms=1.5, score_ms=2.0),
        judged("defect", 1, model.id, "DEFECT", result_id="2", camera="Kamera Größe/1", **full),
        unjudged("none", 2, result_id="3", score=float("nan")),
    )
    assert new_relay().run(until_idle_s=IDLE_S) == 3
    assert backlog(database).rows == 0
    for message in broker.sent:
        jsonschema.validate(json.loads(message.value), verdict_schema(), jsonschema.Draft202012Validator)
    told = {message.headers["ce_id"]: message for message in broker.sent}
    assert sorted(told) == ["1", "2", "3"]
    defect = told["2"]
    assert (defect.topic, defect.key.decode()) == ("verdicts", "Kamera Größe/1")
    assert defect.headers["ce_type"] == "differline.verdict.v1"
    assert defect.headers["ce_specversion"] == "1.0"
    assert defect.headers["ce_source"] == "/cameras/Kamera%20Gr%C3%B6%C3%9Fe%2F1"
    assert defect.headers["ce_subject"] == "defect"
    assert defect.headers["content-type"] == "application/json"
    body = json.loads(defect.value)
    assert defect.headers["ce_time"] == body["creationTime"]
    names = (
        "resultId",
        "partId",
        "productId",
        "jobId",
        "recipeId",
        "isSimulated",
        "state",
        "score",
        "threshold",
        "run",
    )
    expected = ["2", "P 7", "tile", "J", "tile/1", True, "DEFECT", 2.0, 1.5, "r"]
    assert [body[name] for name in names] == expected
    assert (body["sequence"], body["groundTruth"], body["archiveRef"]) == (4, "scratch", "ab/cd")
    assert body["receivedTime"] == "2026-03-03T12:00:00.001000Z"
    good = json.loads(told["1"].value)
    assert (good["processingTimes"]["processingDuration"], good["scoredTime"]) == (3.5, "2026-03-03T12:00:00.000000Z")
    none = json.loads(told["3"].value)
    assert (none["state"], none["reason"], none["recipeId"], none["score"]) == ("NO_VERDICT", "no_model", None, None)


@pytest.mark.parametrize(
    "change",
    [
        {"state": "FINE"},
        {"state": "DEFECT"},  # with a reason and without a score
        {"reason": None},
        {"frameSha256": "0"},
        {"resultId": None},
        {"productId": ...},
    ],
)
def test_the_schema_refuses_what_no_verdict_says(
    write: Write, new_relay: NewRelay, broker: Broker, change: dict[str, object]
) -> None:
    write(unjudged("frame", 0))
    new_relay().run(until_idle_s=IDLE_S)
    altered = {**json.loads(broker.sent[0].value), **change}
    altered = {name: value for name, value in altered.items() if value is not ...}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(altered, verdict_schema(), jsonschema.Draft202012Validator)


def test_a_fenced_batch_leaves_nothing_in_the_outbox(database: sa.Engine, write: Write) -> None:
    claim(database, FIRST, "other")
    with pytest.raises(StaleEpochError):
        write(unjudged("frame", 0))
    assert backlog(database).rows == 0


def test_frames_of_two_cameras_with_one_id_and_one_time_are_published_each_as_its_own(
    write: Write, new_relay: NewRelay, broker: Broker
) -> None:
    verdicts = [unjudged("1", 0, camera=camera, result_id=f"of {camera}") for camera in ("left", "right")]
    letters = [dead("2", 0, camera=camera, bus_offset=1 + n) for n, camera in enumerate(("left", "right", ""))]
    write(*verdicts, *letters)
    assert new_relay().run(until_idle_s=IDLE_S) == 5
    told = {(m.key, m.headers["ce_id"]) for m in broker.sent if m.topic == "verdicts"}
    assert told == {(b"left", "of left"), (b"right", "of right")}
    offsets = {m.key: m.headers["dl_offset"] for m in broker.sent if m.topic == "frames.dlt"}
    assert offsets == {b"left": "1", b"right": "2", b"": "3"}


def test_a_frame_that_came_twice_is_published_once(write: Write, new_relay: NewRelay, broker: Broker) -> None:
    write(unjudged("frame", 0))
    write(unjudged("frame", 1), unjudged("next", 2))
    new_relay().run(until_idle_s=IDLE_S)
    assert sorted(frames(broker.sent)) == ["frame", "next"]


def test_the_order_is_that_of_the_bus_also_where_the_batch_has_it_by_product(
    write: Write, new_relay: NewRelay, broker: Broker
) -> None:
    rows = [unjudged(str(number), number, result_id=str(number)) for number in range(9)]
    write(*rows[0:5:2], *rows[1:5:2])
    write(*rows[5:])
    new_relay().run(until_idle_s=IDLE_S)
    assert frames(broker.sent) == [str(number) for number in range(9)]


def test_while_the_broker_is_away_nothing_is_lost_and_each_camera_stays_in_order(
    database: sa.Engine, write: Write, new_relay: NewRelay, broker: Broker
) -> None:
    for start in range(0, 60, 6):
        write(*(unjudged(f"{n:02}", n, camera=f"cam{n % 5}", result_id=str(n)) for n in range(start, start + 6)))

    def flaky(attempt: int) -> None:
        if attempt % 7 == 3:
            raise BusAwayError("away")

    broker.before = flaky
    assert new_relay().run(until_idle_s=IDLE_S) == 60
    assert len(broker.sent) == 60
    assert backlog(database).rows == 0
    assert by_camera(broker.sent) == {f"cam{c}".encode(): [f"{n:02}" for n in range(c, 60, 5)] for c in range(5)}


def test_what_was_not_acknowledged_stays(
    database: sa.Engine, write: Write, new_relay: NewRelay, broker: Broker
) -> None:
    write(*(unjudged(str(n), n, result_id=str(n)) for n in range(5)))
    relay = new_relay()

    def ends_at_third(attempt: int) -> None:
        if attempt == 3:
            relay.stop.set()
            raise BusAwayError("away")

    broker.before = ends_at_third
    assert relay.run() == 2
    assert backlog(database).rows == 3
    broker.before = lambda _: None
    assert new_relay().run(until_idle_s=IDLE_S) == 3
    assert frames(broker.sent) == list("01234")


def test_what_was_sent_and_not_taken_out_is_sent_again_the_same(
    database: sa.Engine, write: Write, new_relay: NewRelay, broker: Broker
) -> None:
    write(*(unjudged(str(n), n, result_id=str(n)) for n in range(4)))

    def database_restarts(attempt: int) -> None:
        if attempt == 4:
            with database.begin() as connection:
                connection.execute(
                    sa.text(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
                    )
                )

    broker.before = database_restarts
    new_relay().run(until_idle_s=IDLE_S)
    assert frames(broker.sent) == list("0123") * 2
    assert [m.value for m in broker.sent[:4]] == [m.value for m in broker.sent[4:]]
    assert by_camera(broker.sent) == {b"cam": list("0123")}
    assert backlog(database).rows == 0


def taken(database: sa.Engine, expect: int) -> list[OutboxRow]:
    """What can be read; any other writing transaction of the server may hold it up for a moment."""
    deadline = time.monotonic() + 20
    with output_turn(database, "test") as turn:
        assert turn is not None
        while len(rows := turn.take(OutboxKind.VERDICT, OutboxKey(0, 0), 100)) < expect and time.monotonic() < deadline:
            time.sleep(0.05)
    assert len(rows) == expect
    return rows


@pytest.fixture
def slow_writer(database: sa.Engine) -> Iterator[sa.Connection]:
    """A transaction that has its id and stays open."""
    with database.connect() as connection:
        connection.begin()
        connection.execute(sa.text("SELECT pg_current_xact_id()"))
        yield connection


INSERT = "INSERT INTO outbox (kind, received_at, frame_id) VALUES ('verdict', now(), :frame)"


def test_rows_behind_a_transaction_that_still_runs_are_not_read_before_it(
    database: sa.Engine, write: Write, slow_writer: sa.Connection
) -> None:
    """Its rows come with smaller ids than rows that are there already, so a reader by id would leave them out."""
    slow_writer.execute(sa.text(INSERT), {"frame": "early"})
    write(unjudged("late", 0))
    assert backlog(database).rows == 1
    taken(database, expect=0)
    slow_writer.commit()
    rows = taken(database, expect=2)
    assert rows[0].content is None  # the early one, which refers to nothing in this test
    assert rows[1].camera == "cam"


def test_a_transaction_that_was_older_and_wrote_later_comes_first(
    database: sa.Engine, write: Write, slow_writer: sa.Connection
) -> None:
    write(unjudged("quick", 0))
    slow_writer.execute(sa.text(INSERT), {"frame": "slow"})
    slow_writer.commit()
    rows = taken(database, expect=2)
    assert [row.content is None for row in rows] == [True, False]
    assert rows[0].key.txid < rows[1].key.txid
    assert rows[0].key.id > rows[1].key.id


def test_a_transaction_that_rolls_back_holds_nothing_up(
    database: sa.Engine, write: Write, slow_writer: sa.Connection
) -> None:
    write(unjudged("frame", 0))
    slow_writer.rollback()
    taken(database, expect=1)


def test_writers_at_the_same_time_and_a_relay_beside_them_lose_nothing(
    database: sa.Engine, new_relay: NewRelay, broker: Broker
) -> None:
    def write_all(number: int) -> None:
        partition = FIRST._replace(number=number)
        mine = claim(database, partition, f"worker {number}")
        for n in range(40):
            row = unjudged(f"{number}-{n:02}", n, partition=number, camera=f"cam{number}", result_id=f"{number}-{n}")
            write_batch(database, [mine], batch(row), 7, fill_outbox=True)

    writers = [threading.Thread(target=write_all, args=(number,)) for number in range(3)]
    relay = new_relay()
    publishing = threading.Thread(target=relay.run)
    for thread in [publishing, *writers]:
        thread.start()
    for thread in writers:
        thread.join(120)
    deadline = time.monotonic() + 60
    while backlog(database).rows and time.monotonic() < deadline:
        time.sleep(0.05)
    relay.stop.set()
    publishing.join(30)
    assert len(broker.sent) == 120
    assert by_camera(broker.sent) == {f"cam{c}".encode(): [f"{c}-{n:02}" for n in range(40)] for c in range(3)}


def test_one_relay_has_the_turn_and_another_gets_it_when_it_ends(database: sa.Engine) -> None:
    with ExitStack() as first:
        assert first.enter_context(output_turn(database, "kafka")) is not None
        with output_turn(database, "kafka") as second, output_turn(database, "webhook") as another:
            assert second is None
            assert another is not None
    with output_turn(database, "kafka") as second:
        assert second is not None


def test_a_second_relay_stands_by_and_goes_on_where_the_first_ended(
    database: sa.Engine, write: Write, new_relay: NewRelay, broker: Broker
) -> None:
    second = new_relay()
    with output_turn(database, "kafka") as turn:
        assert turn is not None
        publishing = threading.Thread(target=second.run)
        publishing.start()
        write(unjudged("frame", 0))
        publishing.join(1.0)
        assert broker.sent == []
    deadline = time.monotonic() + 30
    while backlog(database).rows and time.monotonic() < deadline:
        time.sleep(0.05)
    second.stop.set()
    publishing.join(30)
    assert frames(broker.sent) == ["frame"]


ORIGINAL = (("ce_id", b"x"), ("ce_id", b"again"), ("odd\0", b"\xff\x00\xfe"), ("empty", b""))


def test_a_dead_letter_is_published_with_its_original_and_why(
    write: Write, new_relay: NewRelay, broker: Broker, archive: Archive
) -> None:
    body = bytes(range(256))
    original = pack_original(b"key \xff", ORIGINAL)
    letter = dead("frame", 7, body_ref=archive.write(body), original=original, detail="cut\nshort: Größe")
    write(letter)
    assert new_relay().run(until_idle_s=IDLE_S) == 1
    (message,) = broker.taken
    assert (message.topic, message.key, message.value) == ("frames.dlt", b"key \xff", body)
    headers = message.headers
    assert headers[: len(ORIGINAL)] == ORIGINAL
    assert dict(headers[len(ORIGINAL) :]) == {
        "dl_reason": b"broken_image",
        "dl_detail": "cut\nshort: Größe".encode(),
        "dl_topic": b"frames",
        "dl_partition": b"0",
        "dl_offset": b"7",
        "dl_received_at": b"2026-03-03T12:00:00.007000+00:00",
        "dl_frame_id": b"frame",
        "dl_body_ref": str(letter.body_ref).encode(),
    }


def test_what_does_not_fit_or_is_gone_is_left_out_and_said(
    write: Write, new_relay: NewRelay, broker: Broker, archive: Archive, tmp_path: Path
) -> None:
    large, gone = archive.write(bytes(1001)), archive.write(b"gone")
    (tmp_path / "archive" / gone).unlink()
    much = pack_original(None, (("much", bytes(2**20)),))
    write(
        dead("large", 0, body_ref=large),
        dead("gone", 1, body_ref=gone),
        dead("empty", 2),
        dead("much", 3, original=much),
    )
    assert new_relay().run(until_idle_s=IDLE_S) == 4
    found = {m.headers["dl_frame_id"]: (m.headers.get("dl_left_out"), m.value, m.key) for m in broker.sent}
    nothing = (b"", b"cam")
    assert found == {
        "large": ("body", *nothing),
        "gone": ("body", *nothing),
        "empty": (None, *nothing),
        "much": ("headers", *nothing),
    }


def test_an_archive_that_is_away_is_waited_for(
    database: sa.Engine, write: Write, new_relay: NewRelay, broker: Broker, tmp_path: Path
) -> None:
    archive = open_archive(str(tmp_path / "archive"))
    write(dead("frame", 0, body_ref=archive.write(b"body")), unjudged("verdict", 1), dead("later", 2))
    (tmp_path / "archive").rename(tmp_path / "away")
    relay = new_relay()
    publishing = threading.Thread(target=relay.run, kwargs={"until_idle_s": 1.0})
    publishing.start()
    publishing.join(1.5)
    assert publishing.is_alive()
    assert [message.topic for message in broker.sent] == ["verdicts"]  # which no dead letter holds up
    assert backlog(database).rows == 2
    (tmp_path / "away").rename(tmp_path / "archive")
    publishing.join(60)
    assert [message.topic for message in broker.sent] == ["verdicts", "frames.dlt", "frames.dlt"]
    assert [message.value for message in broker.sent[1:]] == [b"body", b""]  # in the order of their camera
