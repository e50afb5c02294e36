"""The score chart: an unchanging Vega-Lite specification, drawn with Altair, and a table that changes under it.

Streamlit draws a chart anew when its specification changes and only moves the marks when its data changes. So everything that
moves, the window's ends and the threshold included, is in the table, and a tile that updates does not flicker.
"""

from collections.abc import Sequence
from copy import deepcopy
from datetime import UTC, datetime, tzinfo
from functools import cache
from typing import Any, Literal

import altair as alt
import pandas as pd

from infra.store.verdicts import ScoreBucket, ScoreSeries

_Chart = Any  # Altair types what its methods return too loosely to be checked
ScaleKind = Literal["linear", "log", "symlog"]

GOOD_COLOR = "#3D8FC6"
DEFECT_COLOR = "#E8710A"
QUIET_COLOR = "#8A9199"
CHART_HEIGHT_PX = 210
TABLE = "scores"  # what the specification calls its table
_WIDE_SPREAD = 8.0  # highest score over threshold from which a linear axis would flatten everything near the threshold

_COLUMNS = ("at", "lowest", "highest", "threshold", "label", "verdict", "frames", "blanks", "clock")


def score_figure(series: ScoreSeries, zone: tzinfo) -> dict[str, Any]:
    """Return a camera's score chart for `st.vega_lite_chart`: the specification with its table."""
    specification = deepcopy(score_chart(scale_kind(series.buckets)))  # Streamlit writes into what it is given
    return {**specification, "datasets": {TABLE: score_table(series, zone)}}


def wall_time_ms(at: datetime, zone: tzinfo) -> float:
    """Return what a clock in the plant shows, as milliseconds since 1970 would be if that were UTC.

    Vega knows two zones only: UTC and the browser's. With this in a scale of type `utc` it shows the plant's.
    """
    return at.astimezone(zone).replace(tzinfo=UTC).timestamp() * 1000


def score_table(series: ScoreSeries, zone: tzinfo) -> pd.DataFrame:
    """Return the chart's rows: the buckets, and one row at each end of the window; `at` is as `wall_time_ms` makes it."""
    scored = [bucket.threshold for bucket in series.buckets if bucket.threshold is not None]
    first, last = (scored[0], scored[-1]) if scored else (None, None)
    rows: list[tuple[Any, ...]] = [
        (
            wall_time_ms(series.since, zone),
            None,
            None,
            first,
            None if first is None else f"{first:.4g}",
            "edge",
            0,
            0,
            "",
        )
    ]
    rows += [
        (
            wall_time_ms(bucket.at, zone),
            bucket.lowest,
            bucket.highest,
            bucket.threshold,
            None,
            "DEFECT" if bucket.defects else "GOOD",
            bucket.frames,
            bucket.no_verdicts,
            f"{bucket.at.astimezone(zone):%H:%M:%S}",
        )
        for bucket in series.buckets
    ]
    rows.append((wall_time_ms(series.until, zone), None, None, last, None, "edge", 0, 0, ""))
    return pd.DataFrame(rows, columns=list(_COLUMNS)).astype(
        {"at": "float64", "lowest": "float64", "highest": "float64", "threshold": "float64"}
    )


def scale_kind(buckets: Sequence[ScoreBucket]) -> ScaleKind:
    """Choose the score axis: linear, unless scores lie so far above the threshold that it would hide what is near it."""
    highest = [bucket.highest for bucket in buckets if bucket.highest is not None]
    lowest = [bucket.lowest for bucket in buckets if bucket.lowest is not None]
    thresholds = [bucket.threshold for bucket in buckets if bucket.threshold is not None]
    if not highest or not thresholds or max(highest) <= _WIDE_SPREAD * max(abs(value) for value in thresholds):
        return "linear"
    return "log" if min(*lowest, *thresholds) > 0 else "symlog"


@cache
def score_chart(kind: ScaleKind) -> dict[str, Any]:
    """Return the Vega-Lite specification of the chart, without its table; made once, since Altair takes long to check it."""
    time = alt.X("at:T").scale(type="utc").title(None).axis(format="%H:%M", tickCount=5, grid=False)
    score = alt.Scale(type=kind, zero=False, nice=False, padding=10)
    chart = alt.layer(_spread(time, score), _peaks(time, score), _blanks(time), _threshold(time, score))
    spec: dict[str, Any] = chart.properties(height=CHART_HEIGHT_PX).to_dict()
    return spec


def _base(time: alt.X) -> _Chart:
    return alt.Chart(alt.NamedData(TABLE)).encode(x=time)


def _score(column: str, scale: alt.Scale) -> alt.Y:
    return alt.Y(f"{column}:Q").scale(scale).title("score").axis(tickCount=4, format=".4~g")


def _spread(time: alt.X, scale: alt.Scale) -> _Chart:
    """From the lowest to the highest score of neighbouring frames."""
    mark = _base(time).mark_rule(color=GOOD_COLOR, opacity=0.35, strokeWidth=2)
    return mark.encode(y=_score("lowest", scale), y2="highest:Q").transform_filter("datum.frames > 1")


def _peaks(time: alt.X, scale: alt.Scale) -> _Chart:
    """The highest score, told apart by form as well as colour."""
    kinds = ["GOOD", "DEFECT"]
    color = alt.Color("verdict:N").scale(domain=kinds, range=[GOOD_COLOR, DEFECT_COLOR]).legend(None)
    shape = alt.Shape("verdict:N").scale(domain=kinds, range=["circle", "cross"]).legend(None)
    size = alt.Size("verdict:N", sort=kinds).scale(domain=kinds, range=[14, 70]).legend(None)
    tooltip = [
        alt.Tooltip("clock:N", title="time"),
        alt.Tooltip("highest:Q", title="highest score", format=".4g"),
        alt.Tooltip("threshold:Q", format=".4g"),
        alt.Tooltip("frames:Q"),
    ]
    mark = _base(time).mark_point(filled=True, opacity=0.9)
    encoded = mark.encode(y=_score("highest", scale), color=color, shape=shape, size=size, tooltip=tooltip)
    return encoded.transform_filter("isValid(datum.highest) && datum.verdict != 'edge'")


def _blanks(time: alt.X) -> _Chart:
    """Where frames have no verdict: a grey tick at the foot."""
    mark = _base(time).mark_tick(color=QUIET_COLOR, thickness=2, size=12, yOffset=-6, orient="vertical")
    return mark.encode(
        y=alt.value("height"),
        tooltip=[alt.Tooltip("clock:N", title="no verdict"), alt.Tooltip("blanks:Q", title="frames")],
    ).transform_filter("datum.blanks > 0")


def _threshold(time: alt.X, scale: alt.Scale) -> _Chart:
    """The threshold in force, across the window, with its value at the left end."""
    base = _base(time).transform_filter("isValid(datum.threshold)")
    rule = base.mark_line(interpolate="step-after", color=QUIET_COLOR, strokeDash=[6, 4], strokeWidth=1.5)
    name = base.mark_text(align="left", baseline="bottom", dx=2, dy=-4, color=QUIET_COLOR, fontSize=11)
    label = alt.Text("label:N")
    return alt.layer(
        rule.encode(y=_score("threshold", scale)),
        name.encode(y=_score("threshold", scale), text=label).transform_calculate(
            label="isValid(datum.label) ? 'threshold ' + datum.label : ''"
        ),
    )
