"""What a person should read before a candidate is put in force: Markdown, and a plot beside it."""

import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import altair as alt
import pandas as pd

from infra.score_histogram import CHALLENGE, EDGES, GOOD, score_histogram
from infra.store.promotions import ModelRow
from scorer.detector import Manifest
from trainer.fit import FitReport
from trainer.life.cameras import camera_lines
from trainer.life.challenge import Challenged
from trainer.life.released import Curated

PLOT_FILE = "report.png"
REPORT_FILE = "report.md"
_COLORS = ["#3D8FC6", "#E8710A"]
_NO_PARTS = (
    "There are none: nothing is known of how well this model finds real defects. `differline curate import` takes a folder "
    "with `test/<class>`, `differline curate set rejected --challenge` a frame."
)


@dataclass(frozen=True)
class Other:
    """Another product of the same flow.

    Attributes:
        product: Which.
        released: Its released pictures.
        reasons: Why it was learned anew.
    """

    product: str
    released: int
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Story:
    """Everything that a report tells.

    Attributes:
        product: Of which product.
        reasons: Why it was learned anew.
        curated: What it was learned from.
        quarantined: Frames that wait in quarantine for a person, and are in neither training nor calibration.
        fit: How the fit went.
        manifest: Of the candidate.
        challenged: What the candidate said of the challenge parts.
        in_force: The model in force; None where there is none.
        challenged_before: What that one said of them; None where there is none, or it was refused.
        others: The products that it shares its flow with.
    """

    product: str
    reasons: tuple[str, ...]
    curated: Curated
    quarantined: int
    fit: FitReport
    manifest: Manifest
    challenged: Challenged
    in_force: ModelRow | None
    challenged_before: Challenged | None
    others: tuple[Other, ...] = ()


def markdown(story: Story) -> str:
    """Write the report, in Markdown; the plot lies beside it as `report.png`."""
    fit = story.fit
    lines = [
        f"# {_text(story.product)}: a candidate",
        "",
        f"Why now: {_why(story)}.",
        "",
        *_warnings(fit.warnings),
        "## What it learned from",
        "",
        _learned_from(story.curated, fit),
        "",
        *_one_flow(story),
        *_table(("camera", "pictures"), _by_camera(story.curated)),
        _quarantine(story.quarantined),
        "",
        "## False alarms",
        "",
        _promise(fit),
        "",
        *_cameras(story.manifest),
        f"![Scores of held-out good pictures and of challenge parts, and the threshold.]({PLOT_FILE})",
        "",
        "## Challenge parts",
        "",
        *_challenge_lines(story),
        *_evidence(fit.evidence, "of all products " if story.others else ""),
    ]
    return "\n".join(lines) + "\n"


def plot(story: Story) -> bytes:
    """Draw the scores of held-out good pictures and of challenge parts against the threshold, as PNG."""
    counted = score_histogram(story.manifest.calibration_scores, story.challenged.scores, story.fit.threshold)
    low, high = counted[EDGES][:-1], counted[EDGES][1:]
    tables = [
        pd.DataFrame({"low": low, "high": high, "pictures": counted[column], "kind": kind})
        for kind, column in (("held-out good", GOOD), ("challenge parts", CHALLENGE))
    ]
    table = pd.concat(tables)
    bars = (
        alt.Chart(table[table["pictures"] > 0])
        .mark_rect(opacity=0.6)
        .encode(
            x=alt.X("low:Q").title("score; the last bar holds all beyond").scale(nice=False),
            x2="high:Q",
            y=alt.Y("pictures:Q").title("pictures").axis(tickMinStep=1),
            y2=alt.datum(0),
            color=alt.Color("kind:N").title(None).scale(domain=["held-out good", "challenge parts"], range=_COLORS),
        )
    )
    rule = (
        alt.Chart(pd.DataFrame({"threshold": [story.fit.threshold]}))
        .mark_rule(color="#333333", strokeDash=[6, 3])
        .encode(x="threshold:Q")
    )
    data = io.BytesIO()
    chart = alt.layer(bars, rule).properties(width=520, height=240, background="white")
    chart.configure_legend(orient="bottom").save(data, format="png", scale_factor=2)
    return data.getvalue()


def _warnings(warnings: tuple[str, ...]) -> list[str]:
    return ["**Before you read on**", "", *(f"- {_sentence(line)}" for line in warnings), ""] if warnings else []


def _why(story: Story) -> str:
    others = (f"{_text(other.product)}: {reason}" for other in story.others for reason in other.reasons)
    return "; ".join([*story.reasons, *others]) or "somebody asked for it"


def _one_flow(story: Story) -> list[str]:
    """What several products in one flow mean for this one."""
    if not story.others:
        return []
    others = " and ".join(f"{_text(other.product)} ({other.released} released pictures)" for other in story.others)
    line = (
        f"One flow learned from this product and from {others}: from {story.fit.n_train} pictures in all. Threshold, "
        "false alarms and challenge parts are of this product alone. The others have candidates of their own, which are put in "
        "force one by one."
    )
    return [line, ""]


def _learned_from(curated: Curated, fit: FitReport) -> str:
    learned = len(curated.released) - fit.n_calibration
    return (
        f"{len(curated.released)} released pictures of {curated.runs} production runs: {learned} to learn from, "
        f"{fit.n_calibration} held out for calibration. {_released_by(curated)} Nothing was left out; the manifest has the "
        "SHA-256 of each."
    )


def _promise(fit: FitReport) -> str:
    return (
        f"Threshold {fit.threshold:.4g}. Asked for: at most {fit.rate_requested:.3%} of good parts. The least that "
        f"{fit.n_calibration} held-out pictures can promise: {fit.rate_possible:.3%}. With 95 % confidence the true rate is "
        f"below {fit.rate_upper_bound:.3%}, if pictures are independent (split conformal prediction: Vovk 2012, section 2)."
    )


def _cameras(manifest: Manifest) -> list[str]:
    rows = [(_text(camera), str(frames), said) for camera, frames, said in camera_lines(manifest)]
    if not rows:
        return []
    said = (
        "That is the threshold of all cameras together, and so is the plot's: it keeps the rate over all their frames, not at "
        "each of them. A camera with enough held-out pictures is judged by its own (the bound is of that camera by itself):"
    )
    return [said, "", *_table(("camera", "held out", "judged by"), rows)]


def _released_by(curated: Curated) -> str:
    people = len(curated.decisions) - curated.by_rule
    if not curated.by_rule:
        return "People released all of them."
    return (
        f"People released {people}, a rule {curated.by_rule}. A rule releases by p-value and so leaves out the highest "
        "scores: the threshold may come out too low, and false alarms more than promised."
    )


def _by_camera(curated: Curated) -> list[tuple[str, str]]:
    counted = Counter(each.camera or "(from a folder)" for each in curated.decisions)
    return [(_text(camera), str(count)) for camera, count in counted.most_common()]


def _quarantine(count: int) -> str:
    if not count:
        return "No frame waits in quarantine."
    return (
        f"{count} kept frames wait in quarantine for a person. They are in neither training nor calibration; each that is a "
        "good part is a false alarm that the threshold does not know of."
    )


def _challenge_lines(story: Story) -> list[str]:
    if not story.challenged.parts:
        return [_NO_PARTS]
    rows = [("this candidate", str(story.challenged))]
    if story.in_force is not None:
        name = f"version {story.in_force.version}, in force"
        rows.append((name, str(story.challenged_before) if story.challenged_before else "it could not be loaded"))
    return _table(("model", "of the challenge parts"), rows)


def _evidence(evidence: dict[str, float], whose: str) -> list[str]:
    if not evidence:
        return []
    tried = ", ".join(f"{_text(name)} {100 * auroc:.1f}" for name, auroc in evidence.items())
    return [f"AUROC on synthetic defects in good pictures {whose}that nothing was learned from: {tried}."]


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    lines = ["| " + " | ".join(head) + " |", "| " + " | ".join("---" for _ in head) + " |"]
    return [*lines, *("| " + " | ".join(row) + " |" for row in rows), ""]


def _text(text: str) -> str:
    """Text from outside as text: no Markdown, no HTML, no formula, one line."""
    return _escaped(text, "\\`*_{}[]<>()#+-.!|~$&:")


def _sentence(text: str) -> str:
    """A sentence of ours with a name from outside in it: what marks up is text, what ends sentences is as it is."""
    return _escaped(text, "\\`*_[]<>|~$&")


def _escaped(text: str, marks: str) -> str:
    return "".join("\\" + char if char in marks else char for char in " ".join(text.split()))
