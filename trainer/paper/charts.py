"""The plots of a report as PNG, drawn with Altair and rendered offline."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from trainer.evaluate import GOOD
from trainer.paper.outcomes import Outcome, Spread, mean_roc

_Chart = Any  # Altair types what its methods return too loosely to be checked

COLORS = ["#0B6E99", "#E8710A", "#5B8C3A", "#8A9199", "#9B5DA5"]
GOOD_COLOR, DEFECT_COLOR = "#3D8FC6", "#E8710A"
SIDE_PX = 300
SCALE = 2
BINS = 40
SHOWN = 0.97  # quantile of the scores that the last bar of a histogram begins at
APART = 1.03  # methods stand a little beside each other, so that their deviations can be told apart


def roc_chart(curves: Mapping[str, Mapping[str, Sequence[Outcome]]]) -> bytes:
    """Figure 5: by protocol, by method, the mean ROC curve; one panel a protocol."""
    rows = [
        (protocol, method, rate, recall)
        for protocol, methods in curves.items()
        for method, outcomes in methods.items()
        for rate, recall in mean_roc(outcomes)
    ]
    methods = list(dict.fromkeys(row[1] for row in rows))
    table = pd.DataFrame(rows, columns=["protocol", "method", "rate", "recall"])
    lines = alt.Chart(table).mark_line(strokeWidth=2.2, interpolate="step-after")
    encoded = lines.encode(
        x=alt.X("rate:Q").title("false-alarm rate").axis(format="%", tickCount=5),
        y=alt.Y("recall:Q").title("defects found").axis(format="%", tickCount=5).scale(domain=[0, 1]),
        color=_by("method", methods),
        strokeDash=alt.StrokeDash("method:N").title(None).scale(domain=methods, range=_dashes(methods)),
    )
    return _png(_panels(encoded, list(curves)))


def histogram_chart(outcomes: Mapping[str, Outcome]) -> bytes:
    """Figure 6: scores of good and of defective test pictures of one trial a panel, on a logarithmic axis.

    The last bar holds whatever lies beyond: one wild score would flatten all the others.
    """
    tables = []
    for title, outcome in outcomes.items():
        scores = np.minimum(outcome.scores, np.quantile(outcome.scores, SHOWN))
        edges = np.geomspace(scores.min() * 0.999, scores.max() * 1.001, BINS + 1)
        for kind, chosen in (("good", outcome.classes == GOOD), ("defective", outcome.classes != GOOD)):
            share = np.histogram(scores[chosen], edges)[0] / chosen.sum()
            table = pd.DataFrame({"low": edges[:-1], "high": edges[1:], "share": share})
            tables.append(table.assign(panel=title, pictures=kind, foot=0.0))
    bars = alt.Chart(pd.concat(tables)).mark_rect(opacity=0.55).transform_filter("datum.share > 0")
    kinds = ["good", "defective"]
    encoded = bars.encode(
        x=alt.X("low:Q").title("score (log scale)").scale(type="log", nice=False).axis(format=".3~s", tickCount=5),
        x2="high:Q",
        y=alt.Y("share:Q").title("share of the pictures").axis(format="%", tickCount=5),
        y2="foot:Q",
        color=alt.Color("pictures:N").title(None).scale(domain=kinds, range=[GOOD_COLOR, DEFECT_COLOR]),
    )
    return _png(_panels(encoded, list(outcomes)).resolve_scale(x="independent"))


def subsets_chart(by_size: Mapping[str, Mapping[int, Spread]]) -> bytes:
    """Figure 7: AUROC over the number of training pictures, by method, with one deviation up and down."""
    rows = [
        (method, size * APART**place, spread.mean, spread.mean - spread.deviation, spread.mean + spread.deviation)
        for place, (method, sizes) in enumerate(by_size.items())
        for size, spread in sizes.items()
    ]
    table = pd.DataFrame(rows, columns=["method", "size", "auroc", "low", "high"])
    sizes = sorted({size for sizes in by_size.values() for size in sizes})
    base = alt.Chart(table).encode(
        x=alt.X("size:Q")
        .title("training pictures (log scale)")
        .scale(type="log", nice=False, padding=12)
        .axis(values=sizes, format="d", grid=False),
        color=_by("method", list(by_size)),
    )
    y = alt.Y("auroc:Q").title("AUROC, mean and one deviation").axis(format="%", tickCount=6)
    bars = base.mark_rule(strokeWidth=1.5, opacity=0.6).encode(y=alt.Y("low:Q").scale(zero=False), y2="high:Q")
    line = base.mark_line(strokeWidth=2.2, point=alt.OverlayMarkDef(size=50)).encode(y=y.scale(zero=False))
    return _png(alt.layer(line, bars).properties(width=1.5 * SIDE_PX, height=SIDE_PX))


def _by(column: str, names: Sequence[str]) -> alt.Color:
    return alt.Color(f"{column}:N").title(None).scale(domain=list(names), range=COLORS[: len(names)])


def _dashes(names: Sequence[str]) -> list[list[int]]:
    return [[1, 0] if place == 0 else [6, 2 * place] for place in range(len(names))]


def _panels(chart: _Chart, order: list[str]) -> _Chart:
    column = "protocol" if "protocol" in chart.data else "panel"
    sized = chart.properties(width=SIDE_PX, height=SIDE_PX)
    header = alt.Header(title=None, labelFontSize=13, labelFontWeight="bold")
    return sized.facet(column=alt.Column(f"{column}:N", sort=order, header=header))


def _png(chart: _Chart) -> bytes:
    data = io.BytesIO()
    styled = chart.configure_view(stroke="#D0D4D8").configure_axis(gridColor="#ECEEF0", titleFontWeight="normal")
    styled.configure_legend(orient="bottom", labelFontSize=12).properties(background="white").save(
        data, format="png", scale_factor=SCALE
    )
    return data.getvalue()
