"""How the line runs, asked of a real PostgreSQL; dead letters sent again over a real bus."""

from datetime import timedelta

import pytest
import sqlalchemy as sa

from infra.archive import open_archive
from infra.errors import BadFrameError, BusAwayError
from infra.frames import Header
from infra.pictures import encode_jpeg
from infra.resend import RESENT_OF, send_again
from infra.store import audit, health
from infra.store.positions import claim
from infra.store.results import write_batch
from infra.store.tables import PARTITIONED, dead_letters, ensure_day_partitions, verdicts

from ..small_model import part_picture
from .line import Line
from .rows import FIRST, NOON, batch, dead, unjudged


def test_the_times_of_the_newest_frames_are_told_by_stage(database: sa.Engine) -> None:
    rows = [
        unjudged(
            f"f{n}",
            n * 1000,
            captured_at=NOON + timedelta(seconds=n - 0.5),
            scored_at=NOON + timedelta(seconds=n + 2),
            decode_ms=4.0,
            score_ms=100.0 + n,
        )
        for n in range(11)
    ]
    with database.begin() as connection:
        ensure_day_partitions(connection, NOON.date(), 1)
    write_batch(database, [claim(database, FIRST, "w")], batch(*rows, unjudged("late", 20_000)), 7)
    found = health.pace(database)
    assert (found.frames, found.first, found.last) == (12, NOON, NOON + timedelta(seconds=20))
    stages = {stage.name: (stage.median, stage.high) for stage in found.stages}
    assert stages["to_bus"] == pytest.approx((0.5, 0.5))
    assert stages["waiting"] == pytest.approx((2.0, 2.0))
    assert stages["decoding"] == pytest.approx((0.004, 0.004))
    assert stages["scoring"] == pytest.approx((0.105, 0.1095))
    assert stages["in_all"][0] > stages["committing"][0] > 0


def test_without_frames_there_is_no_pace(database: sa.Engine) -> None:
    assert health.pace(database) == health.Pace(0, None, None, ())


def test_dead_letters_come_in_pages_newest_first_each_once(database: sa.Engine) -> None:
    with database.begin() as connection:
        ensure_day_partitions(connection, NOON.date(), 1)
    write_batch(database, [claim(database, FIRST, "w")], batch(*(dead(f"f{n}", n) for n in range(7))), 7)
    seen: list[str] = []
    after = None
    while page := health.letters(database, after=after, limit=3):
        seen += [letter.frame_id for letter in page]
        after = page[-1].key
    assert sorted(seen) == [f"f{n}" for n in range(7)]
    with database.connect() as connection:
        times = dict(map(tuple, connection.execute(sa.select(dead_letters.c.frame_id, dead_letters.c.committed_at))))
    assert [times[name] for name in seen] == sorted(times.values(), reverse=True)


def test_every_table_has_a_size_and_those_by_day_their_first_day(database: sa.Engine) -> None:
    with database.begin() as connection:
        ensure_day_partitions(connection, NOON.date(), 1)
    found = {size.name: size for size in health.table_sizes(database)}
    assert found["verdicts"].bytes > 0
    assert {name for name, size in found.items() if size.oldest_day == NOON.date()} == set(PARTITIONED)


@pytest.fixture
def letter(line: Line) -> health.LetterKey:
    """A frame without a product, dead-lettered by a real scorer."""
    frame = line.frame(encode_jpeg(part_picture(1)))
    headers: tuple[Header, ...] = (
        ("ce_id", b"frame-1"),
        ("ce_source", b"cam"),
        ("ce_run", b"run-1"),
        ("ce_sequence", b"0"),
        ("other", b"\xff\x00"),
    )
    line.producer.send(line.settings.frames_topic, b"cam", headers, frame.body, timeout_s=10)
    line.worker().run(until_idle_s=0.3)
    (found,) = health.letters(line.database)
    assert found.reason == "missing_product"
    return found.key


def again(line: Line, key: health.LetterKey, reason: str = "the product is set now") -> str:
    archive = open_archive(line.settings.archive_location)
    topic = line.settings.frames_topic
    return send_again(line.database, archive, line.producer, key, topic=topic, who="m.weber", reason=reason)


def test_a_dead_letter_sent_again_is_one_frame_more_however_often_it_is_sent(
    line: Line, letter: health.LetterKey
) -> None:
    assert again(line, letter) == again(line, letter)
    line.worker().run(until_idle_s=0.3)
    first, second = sorted(line.rows(dead_letters), key=lambda row: row.received_at)  # it still has no product
    assert second.frame_id == again(line, letter)
    assert second.headers[RESENT_OF] == "frame-1"
    assert second.headers["other"] == first.headers["other"]
    assert (second.run, second.sequence) == (None, None)
    assert second.body_ref == first.body_ref
    (camera,) = line.ledger().cameras
    assert sum(camera.dead_lettered.values()) == 2
    assert camera.duplicates == 1
    rows = [row for row in audit.newest(line.database, 10) if row.action == "send_again"]
    assert {(row.who, row.reason, row.detail["frame_id"]) for row in rows} == {
        ("m.weber", "the product is set now", second.frame_id)
    }


def test_what_cannot_be_sent_leaves_no_trace(line: Line, letter: health.LetterKey) -> None:
    with pytest.raises(ValueError, match="reason"):
        again(line, letter, "  ")
    gone = health.LetterKey(letter.committed_at, letter.received_at, letter.topic, letter.partition, 10**15)
    with pytest.raises(LookupError, match="no such"):
        again(line, gone)

    class Away:
        def send(self, *_message: object, **_options: object) -> None:
            raise BusAwayError("the bus does not answer")

    line.producer, producer = Away(), line.producer  # type: ignore[assignment]
    with pytest.raises(BusAwayError):
        again(line, letter)
    line.producer = producer
    for file in (line.settings.data_dir / "archive").rglob("*"):
        if file.is_file():
            file.unlink()
    with pytest.raises(BadFrameError, match="gone"):
        again(line, letter)
    assert [row.action for row in audit.newest(line.database, 10)] == []
    assert line.rows(verdicts) == []
