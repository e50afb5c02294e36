"""The report as Markdown: the honest protocol first, controls in the same table, plots beside the file."""

from collections.abc import Callable, Mapping, Sequence

from trainer.paper.outcomes import Figures, Kind, Spread
from trainer.paper.results import PaperReport, Row

QUOTED = {
    "DifferNet": 97.7,
    "1-NN": 80.0,
    "GANomaly": 76.6,
    "GeoTrans": 75.5,
    "one-class SVM": 58.7,
    "DSEBM": 57.2,
    "ADGAN": 46.4,
}  # Table 2 of the paper on MTD, as recalled: no copy with its numbers was at hand

PLOTS = {
    "roc": "Figure 5. ROC curves, averaged over splits and seeds at equal false-alarm rates.",
    "histogram": "Figure 6. Scores of good and of defective test pictures, first split and first seed of each protocol; "
    "the last bar holds all that lie beyond.",
    "subsets": "Figure 7. AUROC with few training pictures.",
    "heatmaps": "Figure 8. Pictures, masks, and heatmaps with the masks' outlines; one colour scale for all of them.",
}


def markdown(report: PaperReport, plots: Mapping[str, str]) -> str:
    """Write the report.

    Args:
        report: What was measured.
        plots: Path of each plot, as seen from the report; what is missing is left out.
    """
    parts = [
        _head(report),
        _methods(report),
        _plot(plots, "roc"),
        _plot(plots, "histogram"),
        _classes(report),
        _ablations(report),
        _photometry(report),
        _together(report),
        _subsets(report),
        _plot(plots, "subsets"),
        _pixels(report),
        _plot(plots, "heatmaps"),
        _how(report),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _head(report: PaperReport) -> str:
    test = ", ".join(f"{count} {name}" for name, count in report.counts.test.items())
    lines = [
        f"# DifferNet on {report.name}",
        (
            f"Extractor `{report.extractor}` ({report.extractor_sha256[:12]}), preset `{report.preset}`, "
            f"{report.training_views} views of each training picture, {report.views} behind a score; "
            f"{report.counts.train} training pictures; test: {test}. AUROC and recalls in %."
        ),
    ]
    lines += [_headline(report, protocol) for protocol in ("grouped", "given") if report.splits.get(protocol)]
    if report.marks:
        lines.append("**Before you read on**\n\n" + "\n".join(f"- {mark}" for mark in report.marks))
    return "\n\n".join(lines)


def _headline(report: PaperReport, protocol: str) -> str:
    """One sentence: the detector beside the strongest of what needs no network."""
    found: dict[str, tuple[Row, Figures]] = {
        row.method: (row, figures) for row in report.table2 if (figures := getattr(row, protocol)) is not None
    }
    controls = {name: figures for name, (row, figures) in found.items() if row.kind is Kind.CONTROL}
    strongest = max(controls, key=lambda name: controls[name].auroc.mean)
    whole = f"differline {_percent(found['differline'][1].auroc)} AUROC, " if "differline" in found else ""
    where = "Parts never seen (groups apart)" if protocol == "grouped" else "The given split"
    return (
        f"**{where}:** {whole}DifferNet {_percent(found['DifferNet'][1].auroc)} AUROC; the strongest control without any "
        f"network, {strongest}, {_percent(controls[strongest].auroc)}."
    )


def _methods(report: PaperReport) -> str:
    splits, seeds = report.splits, len(report.seeds)
    grouped = (
        f"**Groups apart** is the honest protocol: the defect-free pictures show {report.groups} groups (parts), and no group "
        f"is on both sides. {_times(splits.get('grouped', 0), 'split')}, a fifth of the groups held out in each, all defects "
        f"in every test, {_times(seeds, 'seed')}: what a plant sees on parts never seen. "
        if report.groups
        else ""
    )
    given = f"**Given split** is what the folders say (for MTD, the paper's split), {_times(seeds, 'seed')}."
    note = (
        "Mean ± standard deviation over splits and seeds; splits share defects and training pictures, so this is no confidence "
        "interval. differline is flow and local model together; where groups are apart it has one seed a split. "
        "Controls use no network; brightness, sharpness and shape count by their distance from the training mean. "
        "The quoted column is Table 2 of the paper as recalled: MTD's full test set, ImageNet weights, not measured here."
    )
    header = ["method", *_protocols(report, ("AUROC", "recall, no false alarm", "recall, 1 %")), "quoted AUROC"]
    body = [
        [_name(row), *_cells(report, row, _three_figures), f"{QUOTED[row.method]:.1f}" if row.method in QUOTED else ""]
        for row in report.table2
    ]
    measured = {row.method for row in report.table2}
    blanks = [""] * (len(header) - 2)
    body += [[f"{name} *(quoted)*", *blanks, f"{auroc:.1f}"] for name, auroc in QUOTED.items() if name not in measured]
    return f"## Table 2: methods, beside what needs no network\n\n{grouped}{given}\n\n{_table(header, body)}\n\n{note}"


def _classes(report: PaperReport) -> str:
    lead = "grouped" if report.groups else "given"
    names = [name for name in report.counts.test if name != "good"]
    body = []
    for row in report.table2:
        found: Figures | None = getattr(row, lead)
        if found is not None:
            body.append([_name(row), *(_percent(found.per_class[name]) for name in names)])
    title = "groups apart" if report.groups else "given split"
    return f"## AUROC by class of defects ({title})\n\n{_table(['method', *names], body)}"


def _ablations(report: PaperReport) -> str:
    return (
        "## Table 3: scales and views\n\n"
        f"First seed, every split. The gain is the difference to all scales with {report.views} test views, on the same splits"
        f" of the leading protocol.\n\n{_with_gain(report, report.table3)}"
    )


def _photometry(report: PaperReport) -> str:
    if not report.photometry:
        return ""
    return (
        "## Light\n\n"
        "Brightness and contrast factors in [0.85, 1.15] on every view (section 4.2), or every picture brought to one "
        f"mean grey and deviation. First seed, every split.\n\n{_with_gain(report, report.photometry)}"
    )


def _together(report: PaperReport) -> str:
    if not report.together:
        return ""
    body = [[name, _percent(alone), _percent(joint)] for name, (alone, joint) in report.together.items()]
    return (
        "## Several products in one flow\n\n"
        "AUROC over seeds. The one flow has half as many blocks again and learns the training pictures of all products; the "
        "first product is split as above (first split), the others as their folders say.\n\n"
        f"{_table(['product', 'a flow of its own', 'one flow for all'], body)}"
    )


def _with_gain(report: PaperReport, table: Sequence[Row]) -> str:
    header = ["DifferNet", *_protocols(report, ("AUROC",)), "gain"]
    body = [
        [row.method, *_cells(report, row, lambda found: [_percent(found.auroc)]), _signed(row.gain)] for row in table
    ]
    return _table(header, body)


def _subsets(report: PaperReport) -> str:
    sizes = sorted({size for by_size in report.subsets.values() for size in by_size})
    header = ["training pictures", *(f"{size}" if size != sizes[-1] else f"all ({size})" for size in sizes)]
    body = [
        [method, *(_percent(by_size[size]) if size in by_size else "" for size in sizes)]
        for method, by_size in report.subsets.items()
    ]
    where = "groups apart, one subset of each of three splits" if report.groups else "given split, three subsets"
    return f"## Few training pictures\n\nAUROC, {where}; first seed.\n\n{_table(header, body)}"


def _pixels(report: PaperReport) -> str:
    if not report.pixels:
        return "## Heatmaps\n\nNo masks under `ground_truth`: heatmaps were not measured."
    columns = {
        "pixel AUROC, defective pictures": [each.auroc_on_defects for each in report.pixels],
        "pixel AUROC, all test pictures": [each.auroc for each in report.pixels],
        "AUPRO (30 %)": [each.aupro for each in report.pixels],
    }
    body = [[_percent(Spread.of(values)) for values in columns.values()]]
    first = report.pixels[0]
    return (
        f"## Heatmaps against masks\n\n{_table(list(columns), body)}\n\n"
        f"{_times(len(report.pixels), 'split')} of the leading protocol, first seed, {_times(report.heatmap_views, 'view')}, "
        f"{first.pictures} pictures with {first.regions} defective regions in the first, compared at 224 px. "
        "Pixel AUROC (Bergmann et al., CVPR 2019): every pixel counts the same. AUPRO (Bergmann et al., IJCV 2021): every "
        "connected region counts the same, up to a false-positive rate of 30 %."
    )


def _how(report: PaperReport) -> str:
    skipped = "".join(f"\n- skipped {name}: {reason}" for name, reason in report.counts.skipped.items())
    return (
        "## How it was measured\n\n"
        "- The flow is the one of the last epoch; no test picture was used for any choice.\n"
        "- Every picture has views of its own, the same ones for all splits and seeds; a seed is that of the flow's "
        "weights and of the order of the views.\n"
        "- GANomaly, where it was measured, has anomalib's defaults at 64 px and 30 epochs.\n"
        f"{_adapted(report)}"
        "- 1-NN (PCA to 64 dimensions, z-scored) and one-class SVM see the flow's features; nothing is tuned.\n"
        "- Recall without a false alarm: share of the defects above every good test picture; it falls with the number of good "
        "ones.\n"
        "- Sharpness is the log variance of the Laplacian at 448 px; pixel correlation is taken at 32 x 32 px, grey.\n"
        f"- Seeds {', '.join(map(str, report.seeds))}; {report.seconds:.0f} s, less what was kept of an earlier run."
        f"{skipped}"
    )


def _adapted(report: PaperReport) -> str:
    if not report.adapt_minutes:
        return ""
    return (
        f"- The row *adapted*: the extractor was tuned to what the detector learns from for {report.adapt_minutes:g} minutes, "
        "on every split anew; one seed a split.\n"
    )


def _name(row: Row) -> str:
    return f"*control: {row.method}*" if row.kind is Kind.CONTROL else row.method


def _protocols(report: PaperReport, columns: Sequence[str]) -> list[str]:
    names = [*(["groups apart"] if report.groups else []), "given split"]
    return [f"{name}: {column}" for name in names for column in columns]


def _cells(report: PaperReport, row: Row, columns: Callable[[Figures], list[str]]) -> list[str]:
    cells: list[str] = []
    for found in (row.grouped, row.given) if report.groups else (row.given,):
        cells += columns(found) if found is not None else [""]
    return cells


def _three_figures(found: Figures) -> list[str]:
    return [_percent(found.auroc), _percent(found.recall_at_none), _percent(found.recall_at_1pct)]


def _percent(spread: Spread) -> str:
    mean = f"{100 * spread.mean:.1f}"
    return f"{mean} ± {100 * spread.deviation:.1f}" if spread.count > 1 else mean


def _signed(spread: Spread | None) -> str:
    if spread is None:
        return ""
    mean = f"{100 * spread.mean:+.1f}"
    return f"{mean} ± {100 * spread.deviation:.1f}" if spread.count > 1 else mean


def _times(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _table(header: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    rows = [header, ["---"] * len(header), *body]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _plot(plots: Mapping[str, str], name: str) -> str:
    return f"![{PLOTS[name]}]({plots[name]})\n\n{PLOTS[name]}" if name in plots else ""
