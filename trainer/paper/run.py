"""`differline evaluate DIR --paper`: measure, draw and write."""

import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from infra.errors import SettingsError, TrainingSetError
from scorer.detector import Extractor
from trainer.images import MAX_PIXELS
from trainer.paper.bench import Bench
from trainer.paper.charts import histogram_chart, roc_chart, subsets_chart
from trainer.paper.controls import CORRELATION, picture_statistics
from trainer.paper.experiments import BASELINE_TITLES, DIFFERLINE, DIFFERNET, Measured, Plan, measure, views_title
from trainer.paper.gallery import Exhibit, gallery
from trainer.paper.ganomaly import require_anomalib
from trainer.paper.labelled import LabelledSet, read_labelled
from trainer.paper.multimodal import together
from trainer.paper.pixels import PixelFigures, pixel_figures
from trainer.paper.report import markdown
from trainer.paper.results import PaperReport, counts, marks, products, rows, subsets
from trainer.paper.splits import GROUPED, HELD_OUT, Split, given_split, grouped_splits
from trainer.paper.store import ArrayStore
from trainer.presets import Preset
from trainer.progress import Progress, silent

SEEDS = 5
VIEWS_MAX = 16  # 64 are the paper's; on two cores that bank takes an hour
HOTTEST = 0.99  # quantile of the heat that has the hottest colour in figure 8
_PROTOCOL_TITLES = {GROUPED: "groups apart"}


@dataclass(frozen=True)
class Order:
    """How much of a report is asked for.

    Attributes:
        groups: CSV of file and group; without it, only the given split is measured.
        splits: Splits by group, 1 to 5.
        seeds: Seeds of each flow.
        views_max: The largest step of views in table 3: 1, 4, 16 or 64.
        photometry: Whether photometric choices are measured as well; each needs a bank of its own.
        heatmaps: Splits whose heatmaps are compared with masks.
        others: Folders of other products in the same layout, learned together with the first in one flow.
        ganomaly: Whether GANomaly is trained as a row of Table 2; it needs the extra of that name.
        adapt_minutes: Minutes of adaptation on each split, as a row beside the detector's; 0 for none.
        photographs: Whether figure 8 shows the pictures themselves beside masks and heatmaps.
    """

    groups: Path | None = None
    splits: int = HELD_OUT
    seeds: int = SEEDS
    views_max: int = VIEWS_MAX
    photometry: bool = False
    heatmaps: int = 1
    others: tuple[Path, ...] = ()
    photographs: bool = True
    ganomaly: bool = False
    adapt_minutes: float = 0.0


def paper_report(
    folder: Path,
    file: Path,
    preset: Preset,
    extractor: Extractor,
    order: Order,
    *,
    kept: Path,
    device: str | torch.device = "cpu",
    max_pixels: int = MAX_PIXELS,
    progress: Progress = silent,
) -> PaperReport:
    """Measure the paper's tables and figures on a folder in MVTec AD layout, and write them as Markdown with plots beside it.

    Args:
        folder: With `train/good`, `test/good`, `test/<defect>` and `ground_truth/<defect>`.
        file: The report to write; plots are called as it is, with the figure's name behind.
        preset: How flows are trained.
        extractor: The frozen extractor.
        order: How much is asked for.
        kept: Folder for features and scores, by the extractor's SHA-256: an interrupted report goes on from there.
        device: Where to compute.
        max_pixels: Largest width x height that is decoded.
        progress: Told how far it is.

    Raises:
        SettingsError: The report is to lie in a folder that is not there, or two products have one name.
        TrainingSetError: Pictures, groups or masks that do not fit, or figures that are not finite.
    """
    started = time.perf_counter()
    if not file.parent.is_dir():
        raise SettingsError(f"{file.parent} is not a folder")
    if order.ganomaly:
        require_anomalib()
    names = [each.resolve().name for each in (folder, *order.others)]
    if len(set(names)) < len(names):
        raise SettingsError(f"products are told apart by the names of their folders: {', '.join(names)}")
    labelled = read_labelled(folder, order.groups, max_pixels, progress)
    grouped = grouped_splits(labelled, order.splits) if labelled.groups is not None else ()
    plan = Plan(
        splits=(*grouped, given_split(labelled)),
        seeds=tuple(range(order.seeds)),
        views_max=order.views_max,
        photometry=order.photometry,
        ganomaly=order.ganomaly,
        adapt_minutes=order.adapt_minutes,
    )
    store = ArrayStore(kept / extractor.sha256[:16])
    bench = Bench(labelled, extractor, preset, store, torch.device(device), progress)
    measured = measure(bench, plan, picture_statistics(labelled.pictures), progress)
    leading = [split for split in plan.splits if split.protocol == plan.splits[0].protocol]
    pixels, plots = _heatmaps(bench, leading[: order.heatmaps], plan.seeds[0], order.photographs)
    others = [
        replace(bench, labelled=read_labelled(other, None, max_pixels, progress), _banks={}, _locals={})
        for other in order.others
    ]
    joined = [(bench, plan.splits[0]), *((other, given_split(other.labelled)) for other in others)]
    full = [each for each in measured.ablations if each.method == views_title(preset.scoring_views)]
    report = PaperReport(
        name=names[0],
        counts=counts(labelled),
        groups=0 if labelled.groups is None else len(np.unique(labelled.groups[labelled.good])),
        extractor=extractor.name,
        extractor_sha256=extractor.sha256,
        preset=preset.name,
        views=preset.scoring_views,
        training_views=preset.bank_views,
        seeds=plan.seeds,
        adapt_minutes=order.adapt_minutes,
        splits={name: sum(split.protocol == name for split in plan.splits) for name in _protocols(plan)},
        table2=rows(measured.methods),
        table3=rows(measured.ablations, full),
        photometry=rows([*full, *measured.photometry], full) if measured.photometry else (),
        together=products([together(joined, seed) for seed in plan.seeds]) if others else {},
        subsets=subsets(measured.subsets),
        pixels=pixels,
        heatmap_views=preset.heatmap_views,
        marks=marks(labelled, plan.splits, measured.statistics, measured),
        seconds=time.perf_counter() - started,
    )
    _write(file, report, {**_charts(measured, plan, report), **plots})
    return report


def reduced(preset: Preset, views: int | None, training_views: int | None) -> Preset:
    """The preset with other numbers of views behind a score and of each training picture."""
    if training_views is not None:
        preset = replace(preset, bank_views=training_views, epoch_views=min(training_views, preset.epoch_views))
    return preset.with_views(views)


def _heatmaps(
    bench: Bench, splits: list[Split], seed: int, photographs: bool
) -> tuple[tuple[PixelFigures, ...], dict[str, bytes]]:
    found: list[PixelFigures] = []
    plots: dict[str, bytes] = {}
    for split in splits:
        masks = {int(index): bench.labelled.mask(int(index)) for index in split.test}
        places = [place for place, index in enumerate(split.test.tolist()) if masks[index] is not None]
        whole = {index: mask for index, mask in masks.items() if mask is not None}
        if not any(mask.any() for mask in whole.values()):
            return (), {}
        heat = bench.heat(split, seed)
        found.append(pixel_figures(heat[places], list(whole.values())))
        if not plots:
            exhibits = _exhibits(bench.labelled, split, heat, photographs)
            plots = {"heatmaps": gallery(exhibits, max(float(np.quantile(heat, HOTTEST)), 1e-12))}
    return tuple(found), plots


def _exhibits(labelled: LabelledSet, split: Split, heat: NDArray[np.float32], photographs: bool) -> list[Exhibit]:
    """The picture of median heat of each class, with a mask where it is defective: neither the best nor the worst one."""
    exhibits = []
    classes = labelled.classes[split.test]
    for name in sorted(set(classes.tolist()), key=lambda name: (name != "good", name)):
        places = np.flatnonzero(classes == name)
        place = int(places[np.argsort(heat[places].max(axis=(1, 2)))[len(places) // 2]])
        index = int(split.test[place])
        mask = labelled.mask(index)
        if mask is not None:
            picture = labelled.pictures.pictures[index].load() if photographs else None
            exhibits.append(Exhibit(name, picture, mask, heat[place]))
    return exhibits


def _charts(measured: Measured, plan: Plan, report: PaperReport) -> dict[str, bytes]:
    measured_names = {each.method for each in measured.methods}
    shown = [name for name in (DIFFERLINE, DIFFERNET, *BASELINE_TITLES.values(), CORRELATION) if name in measured_names]
    titles = {name: _PROTOCOL_TITLES.get(name, "given split") for name in _protocols(plan)}
    curves = {
        title: {
            method: [each for each in measured.methods if (each.protocol, each.method) == (name, method)]
            for method in shown
        }
        for name, title in titles.items()
    }
    return {
        "roc": roc_chart(curves),
        "histogram": histogram_chart({title: methods[DIFFERNET][0] for title, methods in curves.items()}),
        "subsets": subsets_chart(report.subsets),
    }


def _protocols(plan: Plan) -> list[str]:
    return list(dict.fromkeys(split.protocol for split in plan.splits))


def _write(file: Path, report: PaperReport, plots: dict[str, bytes]) -> None:
    names = {name: f"{file.stem}-{name}.png" for name in plots}
    try:
        for name, data in plots.items():
            (file.parent / names[name]).write_bytes(data)
        file.write_text(markdown(report, names), encoding="utf-8")
    except OSError as error:
        raise TrainingSetError(f"cannot write {file}: {error.strerror}") from error
