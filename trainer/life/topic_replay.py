"""Frames that the bus still has scored again by any model: also those that the archive has never kept."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from infra.bus import Observer, Record
from infra.bus.span import records_of, spans_of
from infra.claim_check import Fetch, fetch_from
from infra.errors import BadFrameError, DeadLetterReason
from infra.frames import FrameMessage
from infra.pictures import RgbPicture
from infra.printable import printable
from infra.received import Received, message_of, picture_of, place_of
from infra.store.promotions import ModelRow
from infra.store.second_verdicts import FrameOnRecord, ends_on_bus, frames_on_record, judgeable_frames
from scorer.detector import Detector
from trainer.life.refit import Workshop
from trainer.life.replay import FRAMES_AT_ONCE, score_frames
from trainer.progress import Stage

_MOST_NAMED = 100


@dataclass
class ReplayedFromTopic:
    """What became of a replay from the topic.

    Attributes:
        frames: Verdicts of the product in the window.
        judgeable: Those of frames on which something can be judged.
        found: Those of these whose frame is still on the topic.
        before: Those of these that this model had scored before, in shadow or by a replay.
        scored: Scored now.
        not_finite: Frames whose score is not a number.
        lost: Frames on the topic whose picture is gone, is another one or does not decode.
        unreadable: Messages of the window that say neither camera nor product, or anything else that cannot be read.
        no_verdict: Messages of the product in the window without a verdict of their own.
        named: Of lost frames and unreadable messages the first hundred, with the reason of each.
    """

    frames: int
    judgeable: int
    found: int = 0
    before: int = 0
    scored: int = 0
    not_finite: int = 0
    lost: int = 0
    unreadable: int = 0
    no_verdict: int = 0
    named: list[str] = field(default_factory=list)

    @property
    def gone(self) -> int:
        """How many verdicts of the window are of frames that are no longer on the topic."""
        return max(0, self.judgeable - self.found)  # while it reads, the line may add to the window

    def name(self, what: str, error: object) -> None:
        """Say what cannot be scored, and why."""
        if len(self.named) < _MOST_NAMED:
            self.named.append(printable(f"{what}: {error}"))

    def __str__(self) -> str:
        """Say it in a line or more."""
        head = (
            f"{self.scored} frames scored now, {self.before} before, of {self.found} on the topic that can be judged, of "
            f"{self.frames} in the window"
        )
        further = {
            "verdicts of the window are of frames that are no longer on the topic": self.gone,
            "scores were not finite": self.not_finite,
            "messages of the window have no verdict of their own: sent twice, dead letters, or not judged yet": (
                self.no_verdict
            ),
            "messages of the window cannot be read": self.unreadable,
        }
        bad = self.lost + self.unreadable
        more = [f"and {bad - len(self.named)} more"] if bad > len(self.named) else []
        lines = [f"{count} {what}" for what, count in further.items() if count]
        return "\n".join([head, *lines, *(f"not scored: {line}" for line in self.named), *more])


def replay_from_topic(
    workshop: Workshop, bus: Observer, model: ModelRow, since: datetime, until: datetime
) -> ReplayedFromTopic:
    """Score the frames of a window that the bus still has by a model; results stand beside the verdicts, which stay.

    The bus is read beside the scorers: their positions and their group know nothing of it. A frame is scored once by a model,
    so an interrupted replay goes on where it was.

    Args:
        workshop: Where pictures and models are.
        bus: A reader of its own, of all partitions of the frames topic.
        model: By which model.
        since: Frames received then or later.
        until: Frames received before.

    Raises:
        DetectorError: The model is refused.
        BusAwayError: The bus does not answer; what was scored before stays.
        ArchiveAwayError: The archive that large pictures are in does not answer; likewise.
        DatabaseAwayError: PostgreSQL does not answer; likewise.
    """
    ends = ends_on_bus(workshop.database, model.product, since, until)
    done = ReplayedFromTopic(*judgeable_frames(workshop.database, model.product, since, until))
    again = _Again(workshop, workshop.detector_of(model), model, fetch_from(workshop.archive), done)
    workshop.progress(Stage.REPLAY, 0, done.judgeable)
    for records in records_of(bus, spans_of(bus, since, until, ends), FRAMES_AT_ONCE):
        again.take([record for record in records if since <= record.received_at < until])
        workshop.progress(Stage.REPLAY, min(done.found, done.judgeable), done.judgeable)
    again.finish()
    workshop.progress(Stage.REPLAY, done.judgeable, done.judgeable)
    return done


@dataclass
class _Again:
    """Joins records to their verdicts, and scores them in batches, whichever part of the records they are."""

    workshop: Workshop
    detector: Detector
    model: ModelRow
    fetch: Fetch
    done: ReplayedFromTopic
    in_hand: list[tuple[FrameOnRecord, RgbPicture]] = field(default_factory=list)

    def take(self, records: Sequence[Record]) -> None:
        """Find what is to be scored among some records, and score it as soon as it is a batch."""
        messages = self._messages(records)
        if not messages:
            return
        found = frames_on_record(self.workshop.database, self.model.id, messages.keys())
        self.done.no_verdict += len(messages) - len(found)
        for frame in found:
            if frame.judgeable:
                self._judge(frame, messages[frame.received_at, frame.camera, frame.frame_id])

    def finish(self) -> None:
        """Score what is in hand."""
        result = score_frames(self.workshop, self.detector, self.model, self.in_hand)
        self.done.scored += result.new
        self.done.not_finite += result.not_finite
        self.in_hand.clear()

    def _messages(self, records: Sequence[Record]) -> Mapping[tuple[datetime, str, str], FrameMessage]:
        """The messages of the product, by what their verdicts are found by."""
        found: dict[tuple[datetime, str, str], FrameMessage] = {}
        for record in records:
            try:
                message = message_of(record)
            except BadFrameError as error:
                self.done.unreadable += 1
                self.done.name(place_of(record), error)
                continue
            if message.product == self.model.product:
                key = record.received_at, message.camera, message.frame_id
                self.done.no_verdict += key in found  # sent twice within a millisecond: the verdict is of the first
                found.setdefault(key, message)
        return found

    def _judge(self, frame: FrameOnRecord, message: FrameMessage) -> None:
        self.done.found += 1
        if frame.scored:
            self.done.before += 1
            return
        try:
            picture = _judged_picture(frame, picture_of(message, self.workshop.max_pixels, self.fetch))
        except BadFrameError as error:
            self.done.lost += 1
            self.done.name(f"{frame.camera}/{frame.frame_id}", error)
            return
        self.in_hand.append((frame, picture))
        if len(self.in_hand) == FRAMES_AT_ONCE:
            self.finish()


def _judged_picture(frame: FrameOnRecord, received: Received) -> RgbPicture:
    if received.sha256 == frame.sha256:
        return received.picture
    raise BadFrameError(DeadLetterReason.HASH_MISMATCH, f"the body has {received.sha256}, judged was {frame.sha256}")
