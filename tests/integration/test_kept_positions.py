"""`differline positions` on both buses: what it shows, what it moves, and what it refuses."""

import json
import uuid
from collections.abc import Iterator
from contextlib import closing

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner, Result

from infra.bus import Partition, Record
from infra.bus.connect import open_observer, open_producer
from infra.commands import positions_app
from infra.engines import Engines
from infra.errors import PositionRefusedError, SettingsError, StaleEpochError
from infra.kept_positions import KeptPosition, kept_positions, move_position, positions_table
from infra.settings import Settings
from infra.store.positions import advance, claim, lock_claims

from ..kafka_server import on_kafka

RUN = CliRunner()
FRAMES = 5


class Bus:
    """One partition with FRAMES frames, of which none was judged."""

    def __init__(self, settings: Settings, engines: Engines, database: sa.Engine) -> None:
        self.settings, self.engines, self.database = settings, engines, database
        self.partition = Partition(settings.frames_topic, 0)
        self.name = f"{settings.frames_topic}/0"
        with closing(open_producer(settings, engines)) as producer:
            for number in range(FRAMES):
                producer.send(settings.frames_topic, b"cam", (), str(number).encode(), timeout_s=60)
        self.offsets = [record.offset for record in self._records()]
        self.end = self.offsets[-1] + 1

    def _records(self) -> list[Record]:
        with closing(open_observer(self.settings, self.engines)) as observer:
            observer.assigned()
            observer.seek_to_beginning(self.partition)
            records: list[Record] = []
            while len(records) < FRAMES:
                records += observer.poll(FRAMES, 1.0)
            return records

    def store(self, offset: int) -> None:
        mine = claim(self.database, self.partition, "scorer-1")
        with self.database.begin() as connection:
            lock_claims(connection, [mine])
            advance(connection, {self.partition: offset})

    def kept(self) -> KeptPosition:
        (kept,) = kept_positions(self.settings, self.engines)
        return kept

    @property
    def position(self) -> int | None:
        """What the database has."""
        kept = self.kept()
        return kept.stored.next_offset if kept.stored else None

    def move(self, to: str | int, *, skip_frames: bool = False) -> tuple[int | None, int, int, int]:
        """Before, after, skipped and read again."""
        moved = move_position(self.settings, self.engines, self.name, str(to), skip_frames=skip_frames)
        return moved.before, moved.after, moved.skipped, moved.again


@pytest.fixture(params=["redis", pytest.param("kafka", marks=pytest.mark.kafka)])
def bus(request: pytest.FixtureRequest, settings: Settings, database: sa.Engine, redis_url: str) -> Iterator[Bus]:
    changes = {"partitions": 1, "user": "m.weber"}
    if request.param == "kafka":
        chosen = on_kafka(settings, request.getfixturevalue("kafka"), **changes)
    else:
        chosen = settings.model_copy(update={"frames_topic": "frames-" + uuid.uuid4().hex, **changes})
    return Bus(chosen, Engines(str(settings.database_url), redis_url), database)


def test_a_position_stands_beside_what_the_bus_holds(bus: Bus) -> None:
    new = bus.kept()
    assert (new.partition, new.stored, new.held, new.waiting) == (
        bus.partition,
        None,
        (bus.offsets[0], bus.end),
        FRAMES,
    )
    bus.store(bus.offsets[2])
    kept = bus.kept()
    assert kept.stored is not None
    assert (kept.stored.next_offset, kept.stored.worker) == (bus.offsets[2], "scorer-1")
    assert (kept.held, kept.waiting, kept.state) == ((bus.offsets[0], bus.end), 3, "")
    bus.store(bus.end)
    assert (bus.kept().waiting, bus.kept().state) == (0, "")


def test_a_position_behind_the_end_is_in_plain_sight_and_moves_to_the_oldest(bus: Bus) -> None:
    bus.store(bus.end + 5000)
    assert bus.kept().state == "BEHIND THE END"
    table = positions_table([bus.kept()])
    for whole in ("BEHIND THE END", str(bus.end + 5000), str(bus.offsets[0]), str(bus.end)):
        assert f" {whole} " in table
    assert bus.move("oldest") == (bus.end + 5000, bus.offsets[0], 0, 0)
    assert (bus.position, bus.kept().waiting) == (bus.offsets[0], FRAMES)


def test_whoever_had_the_partition_can_no_longer_write(bus: Bus) -> None:
    bus.store(bus.end)
    mine = claim(bus.database, bus.partition, "scorer-1")
    bus.move("oldest")
    with pytest.raises(StaleEpochError, match=r"belongs to m.weber \(reset\) now"), bus.database.begin() as connection:
        lock_claims(connection, [mine])


@pytest.mark.parametrize("stored", ["nothing", "the second", "behind the end"])
def test_frames_that_wait_are_jumped_over_only_if_that_is_said(bus: Bus, stored: str) -> None:
    before = {"nothing": None, "the second": bus.offsets[1], "behind the end": bus.end + 9}[stored]
    unread = FRAMES - 1 if stored == "the second" else FRAMES
    if before is not None:
        bus.store(before)
    for to, jumped in (("newest", unread), (str(bus.offsets[3]), unread - 2)):
        with pytest.raises(PositionRefusedError, match=rf"^{jumped} frames in {bus.name} wait .*--skip-frames"):
            bus.move(to)
        assert bus.position == before
    assert bus.move("newest", skip_frames=True) == (before, bus.end, unread, 0)
    assert (bus.position, bus.kept().waiting) == (bus.end, 0)


def test_going_back_says_how_many_frames_are_read_again(bus: Bus) -> None:
    bus.store(bus.offsets[4])
    assert bus.move(bus.offsets[1]) == (bus.offsets[4], bus.offsets[1], 0, 3)
    assert bus.kept().waiting == 4


@pytest.mark.parametrize("to", ["", "latest", "-1", "1.5", "٣", "9" * 30, "behind"])
def test_a_place_that_is_none_is_refused(bus: Bus, to: str) -> None:
    bus.store(bus.offsets[1])
    with pytest.raises(SettingsError, match=f"from {bus.offsets[0]} to {bus.end}") as caught:
        bus.move(bus.end + 1 if to == "behind" else to, skip_frames=True)
    assert "\n" not in str(caught.value)
    assert bus.position == bus.offsets[1]


@pytest.mark.parametrize("name", ["", "{topic}", "{topic}/", "{topic}/1", "{topic}/-0", "other/0", "{topic}/x"])
def test_a_partition_that_is_none_is_refused(bus: Bus, name: str) -> None:
    with pytest.raises(SettingsError, match="the partitions of the bus are"):
        move_position(
            bus.settings, bus.engines, name.format(topic=bus.settings.frames_topic), "oldest", skip_frames=True
        )
    assert bus.kept().stored is None


def test_a_position_of_a_topic_that_is_no_longer_used_is_shown_without_the_bus(bus: Bus) -> None:
    claim(bus.database, Partition("an old topic", 3), "scorer-1")
    old = next(kept for kept in kept_positions(bus.settings, bus.engines) if kept.partition.topic == "an old topic")
    assert (old.held, old.waiting, old.state) == (None, None, "")
    assert "an old topic" in positions_table([old])


@pytest.fixture
def command(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> Bus:
    """The settings in the environment, where the command reads them."""
    names = ("database_url", "redis_url", "bus", "kafka_servers", "frames_topic", "partitions", "user", "data_dir")
    for name in names:
        monkeypatch.setenv(f"DIFFERLINE_{name.upper()}", str(getattr(bus.settings, name)))
    return bus


def run(*arguments: str) -> Result:
    return RUN.invoke(positions_app, list(arguments), catch_exceptions=False)


def test_the_command_lists(command: Bus) -> None:
    command.store(command.offsets[2])
    shown = run().output
    for text in ("scorer-1", str(command.offsets[2]), str(command.end), "waiting"):
        assert text in shown


def test_the_command_moves_and_logs_who_and_why(command: Bus) -> None:
    command.store(command.offsets[1])
    done = run("--reset", command.name, "--to", "newest", "--why", " the topic was made anew ", "--skip-frames")
    assert done.exit_code == 0
    assert f"{command.name}: {command.offsets[1]} became {command.end}, epoch 2; 4 frames skipped" in done.stdout
    (event,) = [json.loads(line) for line in done.stderr.splitlines() if "position.reset" in line]
    logged = {name: event[name] for name in ("who", "why", "before", "after", "skipped", "epoch", "level")}
    assert logged == {
        "who": "m.weber",
        "why": "the topic was made anew",
        "before": command.offsets[1],
        "after": command.end,
        "skipped": 4,
        "epoch": 2,
        "level": "warning",
    }


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("--reset", "frames/0"), "--reset needs --to"),
        (("--reset", "frames/0", "--to", "oldest"), "--why TEXT"),
        (("--reset", "frames/0", "--to", "oldest", "--why", " "), "--why TEXT"),
        (("--reset", "frames/0", "--to", "oldest", "--why", "x" * 501), "500 characters"),
        (("--to", "oldest"), "belong to --reset"),
        (("--skip-frames",), "belong to --reset"),
    ],
)
def test_half_a_command_is_refused(arguments: tuple[str, ...], why: str) -> None:
    with pytest.raises(SettingsError, match=why):
        run(*arguments)
