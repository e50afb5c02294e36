"""From decoded frames to the rows of a batch: who judges what, which frames get a heatmap, which pictures are kept."""

import math
import time
import zlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from infra.archive import Archive
from infra.clock import Clock
from infra.dead_letters import pack_original
from infra.frames import new_id
from infra.heatmaps import encode_heatmap
from infra.settings import Settings
from infra.store.results import Batch, DeadLetterRow, HeatmapRow, VerdictRow
from infra.store.second_verdicts import SecondVerdict
from infra.store.tables import NoVerdictReason, SecondSource, VerdictState
from scorer.camera_health import Frozen
from scorer.decode import DeadFrame, DecodedFrame
from scorer.detector import Scores, score_together
from scorer.models import LoadedModel, ModelShelf
from scorer.reservoir import Reservoir
from scorer.shadows import Shadows


@dataclass
class StageSeconds:
    """Where a scorer's time goes, in seconds."""

    decode: float = 0.0
    views: float = 0.0
    features: float = 0.0
    flow: float = 0.0
    heatmap: float = 0.0
    write: float = 0.0


@dataclass(frozen=True, slots=True)
class Judgement:
    """What was decided about one frame.

    `maps` is what the local model found, for the heatmap; `second` is what the candidate in shadow says, if there is one.
    """

    state: VerdictState
    reason: NoVerdictReason | None = None
    model: LoadedModel | None = None
    score: float | None = None
    p_value: float | None = None
    views: int | None = None
    score_ms: float | None = None
    scored_at: datetime | None = None
    maps: NDArray[np.float32] | None = None
    second: "Judgement | None" = None


Scored = tuple[DecodedFrame, Judgement]


@dataclass(frozen=True, eq=False)  # tensors have no single answer to ==
class _Group:
    """Frames of a batch, by their places in it, and who looks at them."""

    model: LoadedModel
    pictures: Tensor
    places: list[int]
    looks_on: bool


@dataclass
class Judge:
    """Scores the frames of a batch, slice by slice, and puts its rows together.

    Attributes:
        settings: From which age on frames are not judged, and which share of them gets a heatmap, and is kept.
        shelf: The models in force.
        archive: Where pictures are kept.
        clock: The time of `scored_at`, and what a frame's age is told by.
        shadows: The candidates that look on.
        stages: Seconds by stage, added up over all batches.
    """

    settings: Settings
    shelf: ModelShelf
    archive: Archive
    clock: Clock
    shadows: Shadows
    stages: StageSeconds = field(default_factory=StageSeconds)
    reservoir: Reservoir = field(init=False)
    frozen: Frozen = field(init=False)

    def __post_init__(self) -> None:
        self.reservoir = Reservoir(self.settings.archive_per_hour)
        self.frozen = Frozen(self.settings.frozen_after)

    def judge(self, scored: Sequence[Scored], dead: Sequence[DeadFrame]) -> Batch:
        """Put the rows of a batch together; the positions go to behind the last record of each partition.

        Args:
            scored: Frames as `score` returned them, of one slice of the batch or of several.
            dead: The others.

        Raises:
            ArchiveAwayError: A picture cannot be kept; judging again is safe.
        """
        by_product: dict[str, list[Scored]] = defaultdict(list)
        for frame, judgement in scored:
            by_product[frame.message.product].append((frame, judgement))
        verdicts: list[VerdictRow] = []
        heatmaps: list[HeatmapRow] = []
        for group in by_product.values():
            verdicts += [self._verdict_row(frame, judgement) for frame, judgement in group]
            heatmaps += self._heatmaps(group)
        records = [frame.record for frame, _ in scored] + [frame.record for frame in dead]
        return Batch(
            verdicts=verdicts,
            heatmaps=heatmaps,
            dead_letters=[self._dead_letter_row(frame) for frame in dead],
            next_offsets={
                partition: max(r.offset for r in records if r.partition == partition) + 1
                for partition in {record.partition for record in records}
            },
            seconds=[row for frame, judgement in scored if (row := _second_verdict(frame, judgement.second))],
        )

    def score(self, frames: Sequence[DecodedFrame]) -> list[Scored]:
        """Decide about frames of a batch, all products in one pass; returned in their order."""
        models = {frame.message.product: self.shelf.judge_of(frame.message.product) for frame in frames}
        reasons = [self._why_not(frame, models[frame.message.product]) for frame in frames]
        judgements = [Judgement(VerdictState.NO_VERDICT, reason) for reason in reasons]
        to_score: dict[str, list[int]] = defaultdict(list)
        for place, frame in enumerate(frames):
            if reasons[place] is None:
                to_score[frame.message.product].append(place)
        groups = [
            group
            for product, places in to_score.items()
            for group in self._groups(
                models[product], self.shadows.of(product), [frames[place] for place in places], places
            )
        ]
        if not groups:
            return list(zip(frames, judgements, strict=True))
        pictures = [(group.model.detector, group.pictures) for group in groups]
        cameras = [[frames[place].message.camera for place in group.places] for group in groups]
        found = score_together(pictures, cameras=cameras, early_exit=self.settings.early_exit)
        for group, scores in zip(groups, found, strict=True):
            for place, judgement in zip(group.places, self._by_score(group.model, scores), strict=True):
                judgements[place] = replace(judgements[place], second=judgement) if group.looks_on else judgement
        return list(zip(frames, judgements, strict=True))

    def _groups(
        self,
        model: LoadedModel | NoVerdictReason,
        candidate: LoadedModel | None,
        frames: Sequence[DecodedFrame],
        places: list[int],
    ) -> list["_Group"]:
        """Who looks at the frames of a product: the model in force first, then the candidate at the same tensor."""
        if not isinstance(model, LoadedModel):
            return []
        began = time.perf_counter()
        prepared = model.detector.prepare([frame.picture for frame in frames])
        self.stages.views += time.perf_counter() - began
        group = _Group(model, prepared, places, looks_on=False)
        if candidate is None or candidate.row.id == model.row.id:  # it was just put in force
            return [group]
        return [group, _Group(candidate, prepared, places, looks_on=True)]

    def _by_score(self, model: LoadedModel, scores: Scores) -> list[Judgement]:
        self.stages.views += scores.views_s
        self.stages.features += scores.features_s
        self.stages.flow += scores.flow_s
        share_ms = 1000 * (scores.views_s + scores.features_s + scores.flow_s) / len(scores.score)
        scored_at = self.clock()
        judgements = []
        for place, score in enumerate(scores.score):
            if not math.isfinite(score):
                judgements.append(Judgement(VerdictState.NO_VERDICT, NoVerdictReason.SCORE_NOT_FINITE, model))
                continue
            state = VerdictState.DEFECT if scores.defect[place] else VerdictState.GOOD
            by = (float(score), float(scores.p_value[place]), int(scores.views[place]))
            maps = None if scores.maps is None else scores.maps[place]
            judgements.append(Judgement(state, None, model, *by, share_ms, scored_at, maps))
        return judgements

    def _why_not(self, frame: DecodedFrame, model: LoadedModel | NoVerdictReason) -> NoVerdictReason | None:
        frozen = self.frozen.looks_frozen(frame)  # of every frame, whatever else is wrong with it
        if frame.unusable is not None:
            return frame.unusable
        if frozen:
            return NoVerdictReason.FROZEN
        return model if isinstance(model, NoVerdictReason) else self._late(frame)

    def _late(self, frame: DecodedFrame) -> NoVerdictReason | None:
        limit_s = self.settings.late_after_s
        if limit_s is None or (self.clock() - frame.message.captured_at).total_seconds() <= limit_s:
            return None
        return NoVerdictReason.LATE

    def _heatmaps(self, scored: Sequence[Scored]) -> list[HeatmapRow]:
        chosen = [
            (frame, judgement.model, judgement.maps)
            for frame, judgement in scored
            if judgement.model is not None
            and judgement.score is not None
            and (judgement.state == VerdictState.DEFECT or _sampled(frame, self.settings.heatmap_sample))
        ]
        if not chosen:
            return []
        started = time.perf_counter()
        detector = chosen[0][1].detector  # one product, one model
        maps = [found for _, _, found in chosen if found is not None]
        heats = detector.heatmap([frame.picture for frame, _, _ in chosen], np.stack(maps) if maps else None)
        rows = [
            HeatmapRow(frame.record.received_at, frame.message.camera, frame.message.frame_id, encode_heatmap(heat))
            for (frame, _, _), heat in zip(chosen, heats, strict=True)
        ]
        self.stages.heatmap += time.perf_counter() - started
        return rows

    def _verdict_row(self, frame: DecodedFrame, judgement: Judgement) -> VerdictRow:
        message, record, model = frame.message, frame.record, judgement.model
        drawn = self.reservoir.keeps(message.camera, message.frame_id, record.received_at)
        kept = drawn or judgement.state != VerdictState.GOOD
        return VerdictRow(
            received_at=record.received_at,
            frame_id=message.frame_id,
            result_id=new_id(),
            topic=record.partition.topic,
            partition=record.partition.number,
            bus_offset=record.offset,
            camera=message.camera,
            product=message.product,
            part_id=message.part_id,
            job_id=message.job_id,
            run=message.run,
            sequence=message.sequence,
            sha256=frame.sha256,
            simulated=message.simulated,
            captured_at=message.captured_at,
            scored_at=judgement.scored_at,
            state=judgement.state,
            reason=judgement.reason,
            model_id=model.row.id if model else None,
            score=judgement.score,
            p_value=judgement.p_value,
            threshold=model.detector.calibration_of(message.camera).threshold if model else None,
            views=judgement.views,
            archive_ref=self.archive.write(message.body) if kept else None,
            decode_ms=1000 * frame.decode_s,
            score_ms=judgement.score_ms,
            focus=frame.quality.focus,
            brightness=frame.quality.brightness,
            contrast=frame.quality.contrast,
        )

    def _dead_letter_row(self, frame: DeadFrame) -> DeadLetterRow:
        record = frame.record
        return DeadLetterRow(
            received_at=record.received_at,
            topic=record.partition.topic,
            partition=record.partition.number,
            bus_offset=record.offset,
            frame_id=frame.traces.frame_id,
            camera=frame.traces.camera,
            run=frame.traces.run,
            sequence=frame.traces.sequence,
            reason=frame.reason,
            detail=frame.detail,
            headers=frame.headers,
            body_ref=self.archive.write(record.value) if record.value else None,
            original=pack_original(record.key, record.headers),
        )


def _second_verdict(frame: DecodedFrame, said: Judgement | None) -> SecondVerdict | None:
    """What a candidate says of a frame; nothing, where its score is no number."""
    if said is None or said.model is None or said.score is None or said.p_value is None or said.views is None:
        return None
    assert said.scored_at is not None  # noqa: S101 - what has a score has its time
    return SecondVerdict(
        model_id=said.model.row.id,
        received_at=frame.record.received_at,
        camera=frame.message.camera,
        frame_id=frame.message.frame_id,
        source=SecondSource.SHADOW,
        product=frame.message.product,
        state=said.state,
        score=said.score,
        p_value=said.p_value,
        threshold=said.model.detector.calibration_of(frame.message.camera).threshold,
        views=said.views,
        scored_at=said.scored_at,
    )


def _sampled(frame: DecodedFrame, one_in: int) -> bool:
    """Draw by the frame id, so that a frame that is scored again is drawn again."""
    return zlib.crc32(frame.message.frame_id.encode()) % one_in == 0
