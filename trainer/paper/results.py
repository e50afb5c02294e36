"""From outcomes to the tables of the report, as JSON can hold them."""

from collections.abc import Mapping, Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict

from trainer.evaluate import GOOD, Counts, separation
from trainer.paper.controls import CORRELATION, LIGHT_AND_SHARPNESS, PictureStatistics
from trainer.paper.experiments import Measured
from trainer.paper.labelled import LabelledSet
from trainer.paper.outcomes import Figures, Kind, Outcome, Spread, figures, gain
from trainer.paper.pixels import PixelFigures
from trainer.paper.splits import GIVEN, GROUPED, Split

MARKED_FROM = 0.80


class Row(BaseModel):
    """A row of a table.

    Attributes:
        method: Its name.
        kind: A detector or a control.
        grouped: Its figures where no group is on both sides; None where no groups are known.
        given: Its figures on the split that the folders make; None where it was not measured.
        gain: Difference in AUROC to the table's reference under the leading protocol, paired by split and seed.
    """

    model_config = ConfigDict(frozen=True)

    method: str
    kind: Kind
    grouped: Figures | None
    given: Figures | None
    gain: Spread | None = None


class PaperReport(BaseModel):
    """What `differline evaluate --paper` measured; fractions from 0 to 1.

    Attributes:
        name: Name of the folder.
        counts: What was looked at.
        groups: How many groups the defect-free pictures are of; 0: not known.
        extractor: Name of the extractor.
        extractor_sha256: SHA-256 of its weights.
        preset: Name of the preset.
        views: Views behind a score.
        training_views: Views of each training picture.
        seeds: Seeds of the flows.
        adapt_minutes: Minutes in which an extractor was tuned to each split; 0 where none was.
        splits: How many splits, by protocol.
        table2: Methods and controls.
        table3: DifferNet with something left out, and with other numbers of views.
        photometry: DifferNet under other photometry; empty where it was not measured.
        together: AUROC by product, in a flow of its own and in one flow for all; empty where one product was given.
        subsets: AUROC by method and number of training pictures.
        pixels: Heatmaps against masks, a split each; empty where there are no masks.
        heatmap_views: Views behind a heatmap.
        marks: What a reader must know before reading a figure, a sentence each.
        seconds: Seconds for all of it, less what an earlier run left in the store.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    counts: Counts
    groups: int
    extractor: str
    extractor_sha256: str
    preset: str
    views: int
    training_views: int
    seeds: tuple[int, ...]
    adapt_minutes: float = 0.0
    splits: dict[str, int]
    table2: tuple[Row, ...]
    table3: tuple[Row, ...]
    photometry: tuple[Row, ...]
    together: dict[str, tuple[Spread, Spread]]
    subsets: dict[str, dict[int, Spread]]
    pixels: tuple[PixelFigures, ...]
    heatmap_views: int
    marks: tuple[str, ...]
    seconds: float


def rows(outcomes: Sequence[Outcome], reference: Sequence[Outcome] = ()) -> tuple[Row, ...]:
    """Make a row of each method, in the order of its first outcome; with a reference, paired differences as well."""
    leading = GROUPED if any(each.protocol == GROUPED for each in outcomes) else GIVEN
    made = []
    for method in dict.fromkeys(each.method for each in outcomes):
        own = [each for each in outcomes if each.method == method]
        by_protocol = {name: [each for each in own if each.protocol == name] for name in (GROUPED, GIVEN)}
        made.append(
            Row(
                method=method,
                kind=own[0].kind,
                grouped=figures(by_protocol[GROUPED]) if by_protocol[GROUPED] else None,
                given=figures(by_protocol[GIVEN]) if by_protocol[GIVEN] else None,
                gain=gain(by_protocol[leading], reference) if reference else None,
            )
        )
    return tuple(made)


def subsets(outcomes: Sequence[Outcome]) -> dict[str, dict[int, Spread]]:
    """AUROC by method and number of training pictures. All pictures of a split count as one number, the median over splits."""
    whole = int(
        np.median([max(each.training for each in outcomes if each.split == split) for split in _splits(outcomes)])
    )
    largest = {split: max(each.training for each in outcomes if each.split == split) for split in _splits(outcomes)}
    found: dict[str, dict[int, list[float]]] = {}
    for each in outcomes:
        size = whole if each.training == largest[each.split] else each.training
        found.setdefault(each.method, {}).setdefault(size, []).append(each.separation().auroc)
    return {
        method: {size: Spread.of(values) for size, values in sorted(sizes.items())} for method, sizes in found.items()
    }


def products(found: Sequence[Mapping[str, tuple[Outcome, Outcome]]]) -> dict[str, tuple[Spread, Spread]]:
    """AUROC by product over seeds: alone, together."""
    return {
        name: (
            Spread.of(each[name][0].separation().auroc for each in found),
            Spread.of(each[name][1].separation().auroc for each in found),
        )
        for name in (found[0] if found else {})
    }


def marks(
    labelled: LabelledSet, splits: Sequence[Split], statistics: PictureStatistics, measured: Measured
) -> tuple[str, ...]:
    """Say which controls separate a set by themselves, and what is not known of it."""
    lines: list[str] = []
    if labelled.groups is None:
        lines.append(
            "No groups were given (`--groups FILE.csv`), so pictures of one part may be on both sides of the split: "
            "parts never seen will be told apart less well than these figures say."
        )
    for name in LIGHT_AND_SHARPNESS:
        strongest = max(_alone(labelled, splits, statistics, name), _control(measured, name))
        if strongest >= MARKED_FROM:
            lines.append(
                f"On this set {name} alone separates defective from defect-free test pictures with "
                f"{100 * strongest:.0f} AUROC, in whichever direction: read every score on it with that in mind."
            )
    for protocol in dict.fromkeys(split.protocol for split in splits):
        near = _control(measured, CORRELATION, protocol)
        if near >= MARKED_FROM:
            lines.append(
                f"On the {protocol} split the plain pixel correlation with the nearest training picture has "
                f"{100 * near:.0f} AUROC without any network: its good test pictures are near copies of training pictures."
            )
    return tuple(lines)


def _alone(labelled: LabelledSet, splits: Sequence[Split], statistics: PictureStatistics, name: str) -> float:
    """Largest over the protocols' means of AUROC, or of 1 - AUROC, of the measure as it is: either direction separates."""
    strongest = 0.0
    for protocol in dict.fromkeys(split.protocol for split in splits):
        tests = [split.test for split in splits if split.protocol == protocol]
        auroc = float(np.mean([separation(statistics.measures[name][t], labelled.classes[t]).auroc for t in tests]))
        strongest = max(strongest, auroc, 1.0 - auroc)
    return strongest


def _control(measured: Measured, name: str, protocol: str | None = None) -> float:
    """AUROC of a control, or 1 minus it: distances from the training mean that are smaller for defects separate as well."""
    wanted = [each for each in measured.methods if each.method == name and protocol in (None, each.protocol)]
    auroc = figures(wanted).auroc.mean
    return auroc if name == CORRELATION else max(auroc, 1.0 - auroc)


def _splits(outcomes: Sequence[Outcome]) -> set[int]:
    return {each.split for each in outcomes}


def counts(labelled: LabelledSet) -> Counts:
    """What was looked at."""
    names, found = np.unique(labelled.classes[~labelled.in_train], return_counts=True)
    return Counts(
        train=int((labelled.classes[labelled.in_train] == GOOD).sum()),
        test=dict(zip(names.tolist(), found.tolist(), strict=True)),
        skipped={str(skipped.path): skipped.reason for skipped in labelled.pictures.skipped},
    )
