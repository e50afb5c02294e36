"""From an extractor and defect-free pictures to the parts of a detector, and the evidence of what they are worth."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from infra.errors import TrainingSetError
from scorer.detector import (
    Extractor,
    Flow,
    Fusion,
    LocalModel,
    PartScores,
    Subject,
    ViewPlan,
    cap_of,
    look,
    prepare,
)
from trainer.images import PictureSet, drawn_pictures
from trainer.local import fit_local
from trainer.pretrain.defects import HELD_OUT_KINDS
from trainer.progress import Progress, Stage
from trainer.splitting import Places, hold_out
from trainer.synthetic import squares, with_defects, with_turned
from trainer.training import TrainingRun, train_flow, training_bank

PROBE_SHARE = 5  # one training picture in five
_PICTURES_PER_CHUNK = 4


class Parted(NamedTuple):
    """Training pictures, parted.

    Attributes:
        learning: What the parts learn from.
        probe: What they never see: it sets the scales of the fusion, and is the ground of the evidence.
    """

    learning: PictureSet
    probe: PictureSet


@dataclass(frozen=True)
class Assembly:
    """The parts of a detector, fitted.

    Attributes:
        extractor: The frozen extractor.
        flow: The flow of the last epoch.
        local: The local model; None where the preset has none.
        fusion: How they become one score.
        views: Which views the flow scores.
        device: Where they compute.
        final_loss: Mean loss of the flow a view in the last epoch.
        evidence: AUROC on synthetic defects in the probe; None where there was no probe.
    """

    extractor: Extractor
    flow: Flow
    local: LocalModel | None
    fusion: Fusion | None
    views: ViewPlan
    device: torch.device
    final_loss: float
    evidence: float | None

    def parts(self, pictures: PictureSet, progress: Progress, stage: Stage) -> PartScores:
        """Score pictures by each part, a few in memory at a time."""
        found: list[PartScores] = []
        done = 0
        progress(stage, done, len(pictures))
        for chunk in pictures.chunks(_PICTURES_PER_CHUNK):
            prepared = prepare(chunk, device=self.device)
            subject = Subject(self.extractor, self.flow, self.local, prepared, self.views, self._cap)
            found += look([subject])
            done += len(chunk)
            progress(stage, done, len(pictures))
        return PartScores.joined(found)

    @property
    def _cap(self) -> float | None:
        if self.local is None:
            return None
        return math.inf if self.fusion is None else self.fusion.cap

    def score(self, parts: PartScores) -> NDArray[np.float64]:
        """Make one score a picture of what the parts say: (N,) float64."""
        return parts.flow if self.fusion is None else self.fusion(parts.side_by_side())


def part_off(training: PictureSet, seed: int, *, needed: bool = True) -> Parted:
    """Hold one training picture in five out of all learning, whole runs drawn by seed; none, where no probe is needed."""
    if not needed:
        return Parted(training, PictureSet(()))
    places = part_off_places(training.runs, seed)
    return Parted(training.subset(places.kept), training.subset(places.held_out))


def part_off_places(runs: Sequence[str | None], seed: int) -> Places:
    """Which of the pictures of these production runs are learned from, and which are the probe."""
    return hold_out(runs, -(-len(runs) // PROBE_SHARE), np.random.default_rng([seed, 6]))


def assemble(run: TrainingRun, parted: Parted) -> Assembly:
    """Fit all parts that the preset has.

    Raises:
        TrainingSetError: A loss stopped being a number, or a score is not finite.
    """
    preset, extractor = run.preset, run.extractor
    flow, final_loss = train_flow(run, training_bank(run, parted.learning))
    local = None
    if preset.local is not None:
        local = fit_local(run, preset.local, parted.learning)
    bare = Assembly(extractor, flow, local, None, preset.scoring_plan(run.seed), run.device, final_loss, None)
    if not len(parted.probe):
        return bare
    probe = parted.probe if preset.local is None else with_turned(parted.probe, preset.local.few)
    good = bare.parts(probe, run.progress, Stage.PROBE)
    if local is None:
        return replace(bare, evidence=_evidence(bare, good, parted.probe, run))
    fusion, good = fuse(good)
    whole = replace(bare, fusion=fusion)
    return replace(whole, evidence=_evidence(whole, good, parted.probe, run))


def fuse(good: PartScores) -> tuple[Fusion, PartScores]:
    """Take the cap of the views and the scales of the scores from a probe; return the probe's scores under that cap as well.

    Raises:
        TrainingSetError: A score is not finite.
    """
    if not np.isfinite(good.side_by_side()).all():
        raise TrainingSetError("a score of a held-out picture is not finite: nothing was learned")
    cap = cap_of(good.by_view)
    capped = good.capped(cap)
    return Fusion.fit(capped.side_by_side(), cap), capped


def _evidence(whole: Assembly, good: PartScores, probe: PictureSet, run: TrainingRun) -> float:
    """How well the probe's pictures are told from their twins with synthetic defects, of kinds that nothing learned from."""
    rng = np.random.default_rng([run.seed, 7])
    twins, changed = with_defects(list(squares(probe)), HELD_OUT_KINDS, rng)
    seen = np.flatnonzero(changed.any(axis=(1, 2)))
    if not len(seen):
        raise TrainingSetError("no synthetic defect can be seen on these pictures: are they blank?")
    defective = drawn_pictures([twins[index] for index in seen])
    bad = whole.score(whole.parts(defective, run.progress, Stage.EVIDENCE))
    scores = np.concatenate([whole.score(good)[: len(probe)], bad])
    if not np.isfinite(scores).all():
        raise TrainingSetError("a score of a held-out picture is not finite: nothing was learned")
    return float(roc_auc_score(np.repeat([0, 1], [len(probe), len(bad)]), scores))
