"""The chart of a model's scores: where held-out good pictures and challenge parts lie, and the threshold between them."""

from copy import deepcopy
from functools import cache
from typing import Any

import altair as alt
import pandas as pd

from dashboard.charts import DEFECT_COLOR, GOOD_COLOR, QUIET_COLOR
from infra.score_histogram import CHALLENGE, EDGES, GOOD

TABLE = "model_scores"
CHART_HEIGHT_PX = 200
_KINDS = {GOOD: "held-out good", CHALLENGE: "challenge parts"}


def histogram_figure(histogram: dict[str, Any], threshold: float) -> dict[str, Any]:
    """Return the chart for `st.vega_lite_chart`: the specification, which never changes, with its table."""
    return {**deepcopy(_chart()), "datasets": {TABLE: histogram_table(histogram, threshold)}}


def histogram_table(histogram: dict[str, Any], threshold: float) -> pd.DataFrame:
    """Return the bars that are not empty, and a row for the threshold."""
    edges = histogram[EDGES]
    rows: list[tuple[Any, ...]] = [
        (low, high, pictures, kind, None)
        for name, kind in _KINDS.items()
        for low, high, pictures in zip(edges[:-1], edges[1:], histogram[name], strict=True)
        if pictures
    ]
    rows.append((None, None, None, "threshold", threshold))
    table = pd.DataFrame(rows, columns=["low", "high", "pictures", "kind", "threshold"])
    return table.astype(dict.fromkeys(("low", "high", "pictures", "threshold"), "float64"))


@cache
def _chart() -> dict[str, Any]:
    base = alt.Chart(alt.NamedData(TABLE))
    kinds = list(_KINDS.values())
    bars = (
        base.mark_rect()
        .transform_filter("isValid(datum.pictures)")
        .encode(
            x=alt.X("low:Q").title("score; the last bar holds all beyond").scale(nice=False).axis(grid=False),
            x2="high:Q",
            y=alt.Y("pictures:Q").title("pictures").axis(tickMinStep=1, tickCount=4),
            y2=alt.datum(0),
            color=alt.Color("kind:N")
            .title(None)
            .scale(domain=kinds, range=[GOOD_COLOR, DEFECT_COLOR])
            .legend(orient="top"),
            opacity=alt.value(0.6),
            tooltip=[
                alt.Tooltip("kind:N", title="of"),
                alt.Tooltip("low:Q", title="from", format=".4g"),
                alt.Tooltip("high:Q", title="to", format=".4g"),
                alt.Tooltip("pictures:Q"),
            ],
        )
    )
    threshold = base.transform_filter("isValid(datum.threshold)").transform_calculate(
        label="'threshold ' + format(datum.threshold, '.4~g')"
    )
    rule = threshold.mark_rule(color=QUIET_COLOR, strokeDash=[6, 4], strokeWidth=1.5).encode(x="threshold:Q")
    name = threshold.mark_text(align="right", dx=-4, dy=6, baseline="top", color=QUIET_COLOR, fontSize=11).encode(
        x="threshold:Q", y=alt.value(0), text="label:N"
    )
    specification: dict[str, Any] = alt.layer(bars, rule, name).properties(height=CHART_HEIGHT_PX).to_dict()
    return specification
