"""Reports as text for people."""

import io

from rich.console import Console
from rich.table import Table

from trainer.evaluate import EvaluationReport
from trainer.fit import FitReport


def fit_summary(report: FitReport) -> str:
    """Say how a fit went."""
    return (
        f"learned from {report.n_train} pictures, calibrated on {report.n_calibration} others"
        f" ({report.n_skipped} files skipped)\n"
        f"threshold {report.threshold:.2f}: at most {report.rate_requested:.2%} false alarms asked for,"
        f" {report.rate_possible:.2%} is the least that {report.n_calibration} pictures can promise;"
        f" 95 % upper bound on the true rate {report.rate_upper_bound:.2%}\n"
        f"fit {report.fit_s:.1f} s, calibration {report.calibration_s:.1f} s{_evidence(report.evidence)}"
    )


def _evidence(evidence: dict[str, float]) -> str:
    if not evidence:
        return ""
    best = max(evidence, key=evidence.__getitem__)
    tried = ", ".join(f"{name} {100 * auroc:.1f}" for name, auroc in evidence.items())
    taken = f"; taken: {best}" if len(evidence) > 1 else ""
    return f"\nAUROC on synthetic defects in good pictures that nothing was learned from: {tried}{taken}"


def evaluation_table(report: EvaluationReport) -> str:
    """Return an evaluation as a table of text."""
    alone = {f"{name} alone": found for name, found in report.parts.items()}
    methods = {f"differline ({report.preset}, {report.views} views)": report, **alone, **report.baselines}
    table = Table("method", "AUROC", "recall at 1 % false alarms", *report.per_class)
    for name, found in methods.items():
        figures = (found.auroc, found.recall_at_1pct, *found.per_class.values())
        table.add_row(name, *(f"{figure:.3f}" for figure in figures))
    text = io.StringIO()
    Console(file=text, width=160).print(table)
    skipped = "".join(f"skipped {name}: {reason}\n" for name, reason in report.counts.skipped.items())
    return (
        f"{text.getvalue()}{skipped}trained on {report.counts.train} pictures, tested on {sum(report.counts.test.values())};"
        f" extractor {report.extractor} ({report.extractor_sha256[:12]}); last epoch; {report.seconds:.0f} s"
        f"{_evidence(report.evidence)}"
    )
