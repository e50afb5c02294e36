"""Archived frames scored again by any model: which shipped parts would the new model reject?"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from infra.errors import BadFrameError
from infra.pictures import RgbPicture, decode
from infra.printable import printable
from infra.store.connect import transaction
from infra.store.promotions import ModelRow
from infra.store.second_verdicts import (
    FrameOnRecord,
    FrameToReplay,
    SecondVerdict,
    add_second,
    frames_of,
    frames_to_replay,
)
from infra.store.tables import SecondSource, VerdictState
from scorer.detector import Detector
from trainer.life.refit import Workshop
from trainer.progress import Stage

FRAMES_AT_ONCE = 16

FrameKey = FrameToReplay | FrameOnRecord
"""A frame as its verdict names it: by time of receipt, camera and id."""


@dataclass(frozen=True)
class Replayed:
    """What became of a replay.

    Attributes:
        frames: Frames of the product in the window.
        kept: Those whose pictures are kept and can be judged: neither black, nor over-exposed, nor of a frozen camera.
        scored: Scored now.
        before: Had been scored by this model before, in shadow or by a replay.
        lost: Frames whose picture is gone, altered or does not decode, with the reason of each.
        not_finite: Frames whose score is not a number.
    """

    frames: int
    kept: int
    scored: int
    before: int
    lost: tuple[str, ...]
    not_finite: int

    def __str__(self) -> str:
        """Say it in a line or more."""
        window = f"{self.kept} kept ones that can be judged, of {self.frames} in the window"
        head = f"{self.scored} frames scored now, {self.before} before, of {window}"
        bad = [f"{self.not_finite} scores were not finite"] if self.not_finite else []
        return "\n".join([head, *bad, *(f"not scored: {line}" for line in self.lost)])


def replay(workshop: Workshop, model: ModelRow, since: datetime, until: datetime) -> Replayed:
    """Score the kept frames of a window by a model; results stand beside the verdicts, which stay.

    A frame is scored once by a model, so an interrupted replay goes on where it was.

    Args:
        workshop: Where pictures and models are.
        model: By which model.
        since: Frames received then or later.
        until: Frames received before.

    Raises:
        DetectorError: The model is refused.
        ArchiveAwayError: The archive does not answer.
        DatabaseAwayError: PostgreSQL does not answer; what was scored before stays.
    """
    frames, kept = frames_of(workshop.database, model.product, since, until)
    waiting = frames_to_replay(workshop.database, model.product, model.id, since, until)
    detector = workshop.detector_of(model)
    lost: list[str] = []
    scored = not_finite = 0
    workshop.progress(Stage.REPLAY, 0, len(waiting))
    for start in range(0, len(waiting), FRAMES_AT_ONCE):
        chunk = waiting[start : start + FRAMES_AT_ONCE]
        there = [(frame, picture) for frame in chunk if (picture := _picture(workshop, frame, lost)) is not None]
        done = score_frames(workshop, detector, model, there)
        scored += done.new
        not_finite += done.not_finite
        workshop.progress(Stage.REPLAY, start + len(chunk), len(waiting))
    return Replayed(frames, kept, scored, kept - len(waiting), tuple(lost), not_finite)


def _picture(workshop: Workshop, frame: FrameToReplay, lost: list[str]) -> RgbPicture | None:
    try:
        return decode(workshop.archive.read(frame.archive_ref), workshop.max_pixels)
    except (FileNotFoundError, BadFrameError) as error:
        lost.append(printable(f"{frame.camera}/{frame.frame_id}: {error}"))
        return None


@dataclass(frozen=True, slots=True)
class ScoredAgain:
    """What became of some frames: how many scores are new on record, and how many were not finite."""

    new: int
    not_finite: int


def score_frames(
    workshop: Workshop, detector: Detector, model: ModelRow, frames: Sequence[tuple[FrameKey, RgbPicture]]
) -> ScoredAgain:
    """Score frames by a model, and put down what it says beside their verdicts.

    Raises:
        DatabaseAwayError: PostgreSQL does not answer; nothing of them was put down.
    """
    if not frames:
        return ScoredAgain(0, 0)
    scores = detector.score([picture for _, picture in frames], cameras=[frame.camera for frame, _ in frames])
    scored_at = workshop.clock()
    rows = [
        SecondVerdict(
            model_id=model.id,
            received_at=frame.received_at,
            camera=frame.camera,
            frame_id=frame.frame_id,
            source=SecondSource.REPLAY,
            product=model.product,
            state=VerdictState.DEFECT if scores.defect[place] else VerdictState.GOOD,
            score=float(scores.score[place]),
            p_value=float(scores.p_value[place]),
            threshold=detector.calibration_of(frame.camera).threshold,
            views=int(scores.views[place]),
            scored_at=scored_at,
        )
        for place, (frame, _) in enumerate(frames)
        if math.isfinite(scores.score[place])
    ]
    with transaction(workshop.database) as connection:
        return ScoredAgain(add_second(connection, rows), len(frames) - len(rows))
