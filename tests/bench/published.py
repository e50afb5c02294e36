"""What came out on Kafka for the frames that went in, seen from outside: by reading the topics, not the database."""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass

from infra.bus import Record
from infra.bus.kafka import KafkaBusConsumer
from infra.bus.topics import DEAD_LETTERS_SUFFIX
from infra.settings import Settings

_PAGE = 500
_WAIT_S = 1.0


@dataclass(frozen=True)
class Published:
    """Messages of some cameras.

    Attributes:
        frames: Camera and frame id of each frame, as they lie on their topic.
        verdicts: Camera, frame id and result id of each verdict, as they lie on theirs.
        dead_letters: Frame ids on the dead letter topic.
        partitions: How many of the frames lie in which partition.
    """

    frames: Sequence[tuple[str, str]]
    verdicts: Sequence[tuple[str, str, str]]
    dead_letters: frozenset[str]
    partitions: dict[int, int]

    @property
    def results(self) -> int:
        """Verdicts that a reader keeps who knows doubles by their ce_id."""
        return len({result for _, _, result in self.verdicts})

    def faults(self) -> list[str]:
        """What is wrong, a line each: a frame without a verdict or with two, a verdict of no frame, a camera out of order."""
        judged = [(camera, frame) for camera, frame in self.frames if frame not in self.dead_letters]
        kept = [(camera, frame) for camera, frame, _ in _first(self.verdicts)]
        lines = [f"{frame} of {camera} has no verdict" for camera, frame in judged if (camera, frame) not in set(kept)]
        lines += [f"{frame} of {camera} was never sent" for camera, frame in kept if (camera, frame) not in set(judged)]
        times = Counter(frame for _, frame in kept)
        lines += [f"{frame} has {number} results" for frame, number in times.items() if number > 1]
        for camera in sorted({camera for camera, _ in judged}):
            if [frame for name, frame in judged if name == camera] != [frame for name, frame in kept if name == camera]:
                lines.append(f"the verdicts of {camera} are not its frames in their order")
        return lines


def read_published(settings: Settings, cameras: Collection[str]) -> Published:
    """Read the three topics from their beginning."""
    frames = _read(settings, settings.frames_topic, cameras)
    verdicts = _read(settings, settings.verdicts_topic, cameras)
    dead = _read(settings, settings.frames_topic + DEAD_LETTERS_SUFFIX, cameras)
    return Published(
        frames=[(_key(record), _header(record, "ce_id")) for record in frames],
        verdicts=[(_key(record), _header(record, "ce_subject"), _header(record, "ce_id")) for record in verdicts],
        dead_letters=frozenset(_header(record, "dl_frame_id") for record in dead),
        partitions=dict(sorted(Counter(record.partition.number for record in frames).items())),
    )


def _read(settings: Settings, topic: str, cameras: Collection[str]) -> list[Record]:
    with closing(KafkaBusConsumer(settings, topic, group=None)) as consumer:
        partitions = consumer.assigned()
        for partition in partitions:
            consumer.seek_to_beginning(partition)
        found: list[Record] = []
        while consumer.waiting(partitions):
            found += [record for record in consumer.poll(_PAGE, _WAIT_S) if _key(record) in cameras]
        return found


def _first(verdicts: Iterable[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    """The first appearance of each result."""
    known: set[str] = set()
    return [verdict for verdict in verdicts if not (verdict[2] in known or known.add(verdict[2]))]


def _key(record: Record) -> str:
    return (record.key or b"").decode("utf-8", "replace")


def _header(record: Record, name: str) -> str:
    return dict(record.headers)[name].decode()
