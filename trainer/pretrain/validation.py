"""Validation: the detector's protocol in miniature, on families and kinds of defects that were held out of training."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from torch import Tensor

from scorer.detector import VIEW_PX, Extractor, ViewPlan, extract, prepare
from trainer.assembly import assemble, part_off
from trainer.baselines import baseline_scores
from trainer.images import drawn_pictures
from trainer.presets import COMPACT
from trainer.pretrain.defects import HELD_OUT_KINDS, Kind, add_defect
from trainer.pretrain.families import HELD_OUT, program_of
from trainer.pretrain.lighting import Picture
from trainer.progress import Stage, silent
from trainer.training import TrainingRun

_SEED = 1_000_003  # programs of validation are nobody's training programs, whatever the seed of a run
_PICTURES_PER_CHUNK = 16


@dataclass(frozen=True)
class Protocol:
    """How much is measured.

    Attributes:
        programs: Programs of each family: products.
        train: Defect-free pictures of a product to learn from.
        good: Defect-free test pictures.
        defective: Defective test pictures.
        views: Views of each picture.
    """

    programs: int = 3
    train: int = 60
    good: int = 40
    defective: int = 40
    views: int = 2


@dataclass(frozen=True)
class Measured:
    """What was found for one product.

    Attributes:
        family: Its family.
        number: Its number in the family.
        auroc: How well defective pictures are told from defect-free ones, from 0 to 1.
    """

    family: str
    number: int
    auroc: float


def measure(
    extractor: Extractor,
    protocol: Protocol | None = None,
    device: torch.device | str = "cpu",
    families: Mapping[str, object] = HELD_OUT,
    kinds: tuple[Kind, ...] = HELD_OUT_KINDS,
    *,
    whole: bool = False,
) -> Iterator[Measured]:
    """Learn each product from its defect-free pictures and tell new ones from defective ones.

    Args:
        extractor: What is measured.
        protocol: How much.
        device: Where to compute.
        families: Whose programs are the products.
        kinds: What is wrong with the defective pictures.
        whole: By the whole detector, flow and local model, as a plant has it; else by the nearest neighbour on the flow's
            features, which takes seconds.
    """
    protocol = protocol or Protocol()
    extractor = extractor.to(device)
    for family in families:
        for number in range(protocol.programs):
            train, good, defective = draw_product(family, number, protocol, kinds)
            score = _by_detector if whole else _by_nearest_neighbour
            scores = score(extractor, train, [*good, *defective], protocol.views, device)
            truth = np.repeat([0, 1], [len(good), len(defective)])
            yield Measured(family, number, float(roc_auc_score(truth, scores)))


def draw_product(
    family: str, number: int, protocol: Protocol, kinds: tuple[Kind, ...]
) -> tuple[list[Picture], list[Picture], list[Picture]]:
    """Draw pictures of a product: to learn from, defect-free ones to test with, and defective ones."""
    program = program_of(family, number, _SEED)
    chance = np.random.default_rng([_SEED, 3, number, *family.encode()])
    other = program_of(family, number + protocol.programs, _SEED)(chance, VIEW_PX)
    pictures = [program(chance, VIEW_PX) for _ in range(protocol.train + protocol.good + protocol.defective)]
    parted = protocol.train, protocol.train + protocol.good
    defective = [add_defect(chance, picture, other, kinds)[0] for picture in pictures[parted[1] :]]
    return pictures[: parted[0]], pictures[parted[0] : parted[1]], defective


def summary(rows: list[Measured]) -> str:
    """Return the mean AUROC of each family and of all, in percent, as one line."""
    families = dict.fromkeys(row.family for row in rows)
    means = {family: np.mean([row.auroc for row in rows if row.family == family]) for family in families}
    listed = ", ".join(f"{family} {100 * mean:.1f}" for family, mean in means.items())
    return f"mean AUROC {100 * np.mean([row.auroc for row in rows]):.1f} ({listed})"


def measured_lines(
    extractor: Extractor,
    device: torch.device | str = "cpu",
    protocol: Protocol | None = None,
    *,
    whole: bool = False,
) -> Iterator[str]:
    """Measure, and yield a line for each product as it is done, and the summary."""
    rows: list[Measured] = []
    for row in measure(extractor, protocol, device, whole=whole):
        rows.append(row)
        yield f"{row.family} {row.number}: AUROC {100 * row.auroc:.1f}"
    yield f"{extractor.name}: {summary(rows)}"


def _by_nearest_neighbour(
    extractor: Extractor, train: list[Picture], test: list[Picture], views: int, device: torch.device | str
) -> NDArray[np.float64]:
    bank = _features(extractor, train, views, device, shared=False)
    _, scores = next(baseline_scores(bank, _features(extractor, test, views, device, shared=True), seed=0))
    return scores


def _by_detector(
    extractor: Extractor, train: list[Picture], test: list[Picture], views: int, device: torch.device | str
) -> NDArray[np.float64]:
    preset = replace(COMPACT, bank_views=views, epoch_views=views, scoring_views=views)
    run = TrainingRun(preset, extractor, 0, torch.device(device))
    detector = assemble(run, part_off(drawn_pictures(train), run.seed))
    return detector.score(detector.parts(drawn_pictures(test), silent, Stage.TEST))


def _features(
    extractor: Extractor, pictures: list[Picture], views: int, device: torch.device | str, *, shared: bool
) -> Tensor:
    parts: list[Tensor] = []
    for start in range(0, len(pictures), _PICTURES_PER_CHUNK):
        chunk = pictures[start : start + _PICTURES_PER_CHUNK]
        plan = ViewPlan(count=views, seed=0 if shared else start + 1)
        parts.append(extract(extractor, prepare(chunk, device=device), plan.draw(len(chunk), shared=shared)).features)
    features = torch.cat(parts).cpu()
    return features.view(len(pictures), views, features.shape[1])
