"""The charts of the drift page: unchanging Vega-Lite specifications on one time axis, and tables that change under them.

Each specification is made once, and all that moves is in its table (see dashboard/charts.py), so nothing flickers. All charts
have the same ends and the same room for the axis at the left, so a moment is at the same place in each of them.
"""

from collections.abc import Iterator, Sequence
from copy import deepcopy
from datetime import datetime, timedelta, tzinfo
from functools import cache
from typing import Any, Literal

import altair as alt
import pandas as pd

from dashboard.charts import DEFECT_COLOR, GOOD_COLOR, QUIET_COLOR, wall_time_ms
from dashboard.data.drift import History
from dashboard.drift_distances import LEAST_FRAMES, DistanceBucket
from infra.distances import PSI_OTHER, PSI_SAME
from infra.store.drift_standings import Calibration
from infra.store.models import CALIBRATION_LEVELS
from infra.store.tables import DriftKind

_Chart = Any  # Altair types what its methods return too loosely to be checked
_Row = dict[str, Any]
Quality = Literal["focus", "brightness", "contrast"]
QUALITIES: tuple[Quality, ...] = ("focus", "brightness", "contrast")

TABLE = "drift"  # what the specifications call their table
ALARM = 2.0  # decimal logarithm of 1 / 0.01: Ville's bound of 1 %; see trainer/DRIFT.md
PICTURES_COLOR = "#B279A2"
SCALE_ENDS = (-1.5, 4.0)  # the stake never falls much below 0.1; above an alarm nobody needs to know how far
_PSI_END = 1.0
_TIMES = (
    (timedelta(hours=36), "%H:%M"),
    (timedelta(days=10), "%d %b %H:%M"),
)  # what the axis says, up to how long a time
_AXIS_ROOM_PX = 46
_PLACES = 100
_LAST_PLACE_WITH_ROOM = 88
_ROOM_OF_A_NAME = 6  # places
_IMPORTANCE = ("alarm", "model", "anew")
_TEXTS = {"clock", "until_clock", "series", "label", "what", "row", "shown"}
_NUMBERS = (
    "at", "until", "q05", "q25", "median", "q75", "q95", "frames", "defects", "threshold",
    "wealth", "highest", "parts", "value", "chance", "most", "segment",
)  # fmt: skip
_COLUMNS = (*_NUMBERS, *sorted(_TEXTS))


def scores_figure(history: History, zone: tzinfo) -> dict[str, Any]:
    """Return the quantiles of the scores over time, before those of the calibration and with the threshold."""
    rows = [
        _bucket(history, place, zone)
        | {
            "q05": bucket.q05,
            "q25": bucket.q25,
            "median": bucket.median,
            "q75": bucket.q75,
            "q95": bucket.q95,
            "defects": bucket.defects,
        }
        for place, bucket in enumerate(history.series.buckets)
        if bucket.median is not None
    ]
    for begin, end, model in _model_times(history):
        known = dict(zip(CALIBRATION_LEVELS, model.scores, strict=False)) if model.scores else {}
        span = {"row": "calibration", **_ends(begin, end, zone), "threshold": model.threshold}
        rows.append(span | {"q05": known.get(0.05), "median": known.get(0.5), "q95": known.get(0.95)})
    return _figure(_scores_chart(_times(history)), [*_frame(history, zone), *rows])


def tests_figure(history: History, zone: tzinfo) -> dict[str, Any]:
    """Return how both tests went, with the alarm line and where they began anew."""
    rows: list[_Row] = []
    for kind in DriftKind:
        rows += _test(history, kind, zone)
    return _figure(_tests_chart(_times(history)), [*_frame(history, zone), *rows])


def psi_figure(history: History, zone: tzinfo) -> dict[str, Any]:
    """Return the PSI of each bucket, with what chance alone makes of so few frames and the two lines that are usual."""
    rows = [
        _distance(history, found, zone)
        | {
            "value": min(found.distance.psi, _PSI_END),
            "chance": min(found.distance.chance, _PSI_END),
            "label": f"{found.distance.psi:.3f}",
        }
        for found in history.distances
    ]
    return _figure(_psi_chart(_times(history)), [*_frame(history, zone), *rows])


def ks_figure(history: History, zone: tzinfo) -> dict[str, Any]:
    """Return the Kolmogorov-Smirnov distance of each bucket: what is certain, and how much the histogram leaves open."""
    rows = [
        _distance(history, found, zone)
        | {"value": found.distance.ks.at_least, "most": found.distance.ks.at_most}
        | {"label": f"{found.distance.ks.at_least:.3f} to {found.distance.ks.at_most:.3f}"}
        for found in history.distances
    ]
    return _figure(_ks_chart(_times(history)), [*_frame(history, zone), *rows])


def quality_figure(history: History, name: Quality, zone: tzinfo) -> dict[str, Any]:
    """Return medians of one quality of the pictures over time, before those of the calibration pictures."""
    rows = [
        _bucket(history, place, zone) | {"median": getattr(bucket, name)}
        for place, bucket in enumerate(history.series.buckets)
        if getattr(bucket, name) is not None
    ]
    for begin, end, model in _model_times(history):
        if model.quality:
            low, middle, high = model.quality[QUALITIES.index(name)]
            rows.append({"row": "calibration", **_ends(begin, end, zone), "q05": low, "median": middle, "q95": high})
    return _figure(_quality_chart(name, _times(history)), [*_frame(history, zone), *rows])


def _figure(chart: dict[str, Any], rows: Sequence[_Row]) -> dict[str, Any]:
    """The specification with its table; Streamlit writes into what it is given."""
    table = pd.DataFrame(rows, columns=list(_COLUMNS)).astype(dict.fromkeys(_NUMBERS, "float64"))
    return {**deepcopy(chart), "datasets": {TABLE: table}}


def _times(history: History) -> str:
    """How the axis says a time."""
    return next((said for most, said in _TIMES if history.until - history.since <= most), "%d %b")


def _frame(history: History, zone: tzinfo) -> Iterator[_Row]:
    """Both ends of the time, and what happened within it."""
    for number, at in enumerate((history.since, history.until)):
        yield {"row": "edge", "at": wall_time_ms(at, zone), "segment": number}
    yield from _marks(history, zone)


def _marks(history: History, zone: tzinfo) -> Iterator[_Row]:
    """Models that came in, alarms, and tests that began anew; what lies in one place is one mark, or it could not be read."""
    happened: list[tuple[datetime, str, str, str]] = []
    for test in history.tests:
        about = "scores" if test.kind is DriftKind.SCORE else "pictures"
        if test.alarmed_at:
            happened.append((test.alarmed_at, "alarm", "alarm", f"alarm: {about}"))
        if test.began_at:
            happened.append((test.began_at, "anew", "anew", f"test begins anew: {about}"))
    versions = [
        (one.done_at, "model", f"v{one.version}", f"version {one.version} in force") for one in history.promotions
    ]
    happened = sorted([*happened, *versions], key=lambda one: _IMPORTANCE.index(one[1]))
    span = history.until - history.since
    placed: dict[tuple[int, str], _Row] = {}
    for at, what, short, label in happened:
        if not history.since <= at < history.until:
            continue
        place = int((at - history.since) / span * _PLACES)
        if (same := placed.get((place, what))) is not None:
            same["label"] += f"; {label}"
            continue
        named = any(abs(place - other) < _ROOM_OF_A_NAME for other, _ in placed)
        side = int(place > _LAST_PLACE_WITH_ROOM)
        about_it = {
            "what": what,
            "shown": "" if named else short,
            "label": label,
            "segment": side,
            "clock": _clock(at, zone),
        }
        placed[place, what] = {"row": "mark", "at": wall_time_ms(at, zone), **about_it}
    for (place, what), row in reversed(placed.items()):  # what matters most is drawn last
        if what != "anew" or not any((near, "model") in placed for near in (place - 1, place, place + 1)):
            yield row


def _bucket(history: History, place: int, zone: tzinfo) -> _Row:
    bucket, width = history.series.buckets[place], history.series.width
    begin, end = max(bucket.at, history.since), min(bucket.at + width, history.until)
    return {"row": "bucket", "frames": bucket.frames, **_ends(begin, end, zone)}


def _distance(history: History, found: DistanceBucket, zone: tzinfo) -> _Row:
    begin, end = max(found.at, history.since), min(found.at + found.width, history.until)
    shown = "enough" if found.distance.frames >= LEAST_FRAMES else "few"
    return {"row": "bucket", "frames": found.distance.frames, "shown": shown, **_ends(begin, end, zone)}


def _ends(begin: datetime, end: datetime, zone: tzinfo) -> _Row:
    return {
        "at": wall_time_ms(begin, zone),
        "until": wall_time_ms(end, zone),
        "clock": _clock(begin, zone),
        "until_clock": f"{end.astimezone(zone):%H:%M}",
    }


def _clock(at: datetime, zone: tzinfo) -> str:
    return f"{at.astimezone(zone):%d %b %H:%M}"


def _model_times(history: History) -> Iterator[tuple[datetime, datetime, Calibration]]:
    """From when to when which model judged; where one bucket has two, the newer one."""
    runs: list[tuple[datetime, datetime, int]] = []
    for bucket in history.series.buckets:
        if not bucket.model_ids or bucket.median is None:
            continue
        number, end = max(bucket.model_ids), min(bucket.at + history.series.width, history.until)
        if runs and runs[-1][2] == number:
            runs[-1] = (runs[-1][0], end, number)
        else:
            runs.append((max(bucket.at, history.since), end, number))
    for begin, end, number in runs:
        if number in history.models:
            yield begin, end, history.models[number]


def _test(history: History, kind: DriftKind, zone: tzinfo) -> Iterator[_Row]:
    """The minutes of one test; another segment where it began anew, so that no line joins the two."""
    segment, name = 0, "scores" if kind is DriftKind.SCORE else "pictures"
    for minute in history.tests:
        if minute.kind is not kind:
            continue
        segment += minute.began_at is not None
        low, high = SCALE_ENDS
        yield {
            "row": "test",
            "at": wall_time_ms(minute.last_at, zone),
            "clock": _clock(minute.last_at, zone),
            "series": name,
            "segment": segment,
            "value": min(max(minute.wealth, low), high),
            "most": min(max(minute.highest, low), high),
            "wealth": minute.wealth,
            "highest": minute.highest,
            "parts": minute.parts,
        }


@cache
def _scores_chart(times: str) -> dict[str, Any]:
    y = alt.Scale(zero=False, nice=True)
    axis = _axis(4, ".3~g")
    calibration, bucket = _rows("calibration", times), _rows("bucket", times)
    threshold = calibration.mark_rule(color=DEFECT_COLOR, strokeDash=[6, 4], strokeWidth=1.5)
    tooltip = [
        *_WHEN,
        *(alt.Tooltip(f"{name}:Q", title=said, format=".4g") for name, said in _QUANTILES),
        alt.Tooltip("frames:Q", format=","),
        alt.Tooltip("defects:Q", title="DEFECT", format=","),
    ]
    named = bucket.encode(tooltip=tooltip)
    return _chart(
        "Scores: middle half and 5 to 95 %, before those at calibration (grey), and the threshold",
        240,
        times,
        calibration.mark_rect(color=QUIET_COLOR, opacity=0.22).encode(x2="until:Q", y=_y("q05", y, axis), y2="q95:Q"),
        calibration.mark_rule(color=QUIET_COLOR, strokeDash=[2, 2]).encode(x2="until:Q", y=_y("median", y, axis)),
        threshold.encode(x2="until:Q", y=_y("threshold", y, axis)),
        named.mark_rect(color=GOOD_COLOR, opacity=0.28).encode(x2="until:Q", y=_y("q05", y, axis), y2="q95:Q"),
        named.mark_rect(color=GOOD_COLOR, opacity=0.5).encode(x2="until:Q", y=_y("q25", y, axis), y2="q75:Q"),
        named.mark_rule(color=GOOD_COLOR, strokeWidth=2.5).encode(x2="until:Q", y=_y("median", y, axis)),
        named=True,
    )


@cache
def _tests_chart(times: str) -> dict[str, Any]:
    y = alt.Scale(domain=list(SCALE_ENDS), nice=False, clamp=True)
    axis = _axis(5, "d")
    names = ["scores", "pictures"]
    color = alt.Color("series:N").scale(domain=names, range=[GOOD_COLOR, PICTURES_COLOR])
    legend = alt.Legend(orient="top-left", title=None, direction="horizontal", symbolType="stroke", offset=2)
    silent, color = color.legend(None), color.legend(legend)
    dash = alt.StrokeDash("series:N").scale(domain=names, range=[[1, 0], [7, 3]]).legend(legend)
    test = _rows("test", times)
    tooltip = [
        alt.Tooltip("clock:N", title="time"),
        alt.Tooltip("series:N", title="test of"),
        alt.Tooltip("wealth:Q", title="log10 of the stake", format=".2f"),
        alt.Tooltip("highest:Q", title="highest", format=".2f"),
        alt.Tooltip("parts:Q", format=","),
    ]
    line = test.mark_line(interpolate="step-after", strokeWidth=2)
    name = _edge(0).mark_text(align="left", baseline="bottom", dx=4, dy=-3, fontSize=11, color=QUIET_COLOR)
    return _chart(
        'Test martingales: what a stake of 1 against "no drift" has become, as a power of ten',
        220,
        times,
        _line(ALARM, y, DEFECT_COLOR),
        name.encode(x=alt.value(0), y=alt.datum(ALARM, scale=y), text=alt.value(_ABOUT_ALARM)),
        line.encode(y=_y("value", y, axis), color=color, strokeDash=dash, detail="segment:Q"),
        test.mark_point(filled=True, size=9).encode(y=_y("value", y, axis), color=silent, tooltip=tooltip),
        test.mark_rule(strokeWidth=1, opacity=0.5).encode(y=_y("value", y, axis), y2="most:Q", color=silent),
        named=True,
    )


@cache
def _psi_chart(times: str) -> dict[str, Any]:
    y = alt.Scale(domain=[0, 0.5], nice=False, clamp=True)
    axis = _axis(3, ".1f")
    bucket = _rows("bucket", times)
    chance = bucket.mark_rule(color=QUIET_COLOR, strokeWidth=1.5).encode(x2="until:Q", y=_y("chance", y, axis))
    return _chart(
        "PSI against calibration; the usual lines at 0.1 and 0.25, and what chance alone makes (grey)",
        100,
        times,
        _bars(bucket, y, axis, "PSI"),
        chance,
        _line(PSI_SAME, y, QUIET_COLOR),
        _line(PSI_OTHER, y, QUIET_COLOR),
        labels=False,
    )


@cache
def _ks_chart(times: str) -> dict[str, Any]:
    y = alt.Scale(domain=[0, 0.5], nice=False, clamp=True)
    axis = _axis(3, ".1f")
    bucket = _rows("bucket", times)
    left_open = bucket.mark_rect(color=GOOD_COLOR, opacity=0.25).encode(
        x2="until:Q", y=_y("value", y, axis), y2="most:Q"
    )
    return _chart("Kolmogorov-Smirnov distance from calibration", 125, times, left_open, _bars(bucket, y, axis, "KS"))


@cache
def _quality_chart(name: Quality, times: str) -> dict[str, Any]:
    y = alt.Scale(zero=False, nice=True)
    axis = _axis(3, ".3~g")
    calibration, bucket = _rows("calibration", times), _rows("bucket", times)
    last = name == QUALITIES[-1]
    tooltip = [*_WHEN, alt.Tooltip("median:Q", format=".4g"), alt.Tooltip("frames:Q", format=",")]
    return _chart(
        f"Pictures: {name}, median, before 5 to 95 % of the calibration pictures (grey)",
        120 if last else 95,
        times,
        calibration.mark_rect(color=QUIET_COLOR, opacity=0.22).encode(x2="until:Q", y=_y("q05", y, axis), y2="q95:Q"),
        calibration.mark_rule(color=QUIET_COLOR, strokeDash=[2, 2]).encode(x2="until:Q", y=_y("median", y, axis)),
        bucket.mark_rule(color=PICTURES_COLOR, strokeWidth=3).encode(
            x2="until:Q", y=_y("median", y, axis), tooltip=tooltip
        ),
        labels=last,
    )


def _edge(number: int) -> _Chart:
    """One row, for what is drawn once."""
    return alt.Chart(alt.NamedData(TABLE)).transform_filter(f"datum.row == 'edge' && datum.segment == {number}")


def _line(at: float, y: alt.Scale, color: str) -> _Chart:
    """A line across the chart."""
    return _edge(0).mark_rule(color=color, strokeDash=[6, 4], strokeWidth=1.5).encode(y=alt.datum(at, scale=y))


_ABOUT_ALARM = "alarm line: 1 % of stable lines ever reach it"
_WHEN = [alt.Tooltip("clock:N", title="from"), alt.Tooltip("until_clock:N", title="until")]
_QUANTILES = (("q95", "95 %"), ("q75", "75 %"), ("median", "median"), ("q25", "25 %"), ("q05", "5 %"))


def _bars(bucket: _Chart, y: alt.Scale, axis: alt.Axis, name: str) -> _Chart:
    """Bars from 0; pale where there are few frames behind."""
    opacity = alt.condition("datum.shown == 'few'", alt.value(0.25), alt.value(0.75))
    tooltip = [
        *_WHEN,
        alt.Tooltip("label:N", title=name),
        alt.Tooltip("frames:Q", title="frames with a score", format=","),
    ]
    return bucket.mark_rect(color=GOOD_COLOR).encode(
        x2="until:Q", y=_y("value", y, axis), y2=alt.datum(0), opacity=opacity, tooltip=tooltip
    )


def _chart(
    title: str, height_px: int, times: str, *layers: _Chart, named: bool = False, labels: bool = True
) -> dict[str, Any]:
    """One chart; `named`: what happened has its name at the top; without `labels` the chart below says the time."""
    marks = _rows("mark", times)
    kinds = ["model", "alarm", "anew"]
    color = alt.Color("what:N").scale(domain=kinds, range=[QUIET_COLOR, DEFECT_COLOR, QUIET_COLOR]).legend(None)
    dash = alt.StrokeDash("what:N").scale(domain=kinds, range=[[1, 0], [1, 0], [3, 3]]).legend(None)
    tooltip = [alt.Tooltip("clock:N", title="time"), alt.Tooltip("label:N", title="what")]
    happened = [marks.mark_rule(strokeWidth=1.5).encode(color=color, strokeDash=dash, tooltip=tooltip)]
    if named:
        shape = alt.Shape("what:N").scale(domain=kinds, range=["square", "triangle-down", "circle"]).legend(None)
        signs = marks.mark_point(filled=True, size=70, opacity=1)
        happened.append(signs.encode(y=alt.value(0), color=color, shape=shape, tooltip=tooltip))
        for side, (align, dx) in enumerate((("left", 7), ("right", -7))):
            names = marks.mark_text(align=align, baseline="middle", dx=dx, fontSize=11, color=QUIET_COLOR)
            here = names.transform_filter(f"datum.segment == {side}")
            happened.append(here.encode(y=alt.value(0), text="shown:N"))
    ends = _rows("edge", times).mark_rule(opacity=0)
    heading = alt.TitleParams(title, anchor="start", fontSize=12, fontWeight="normal", offset=10 if named else 4)
    layered = alt.layer(ends, *layers, *happened).properties(height=height_px, title=heading)
    own = layered.resolve_scale(color="independent", strokeDash="independent", shape="independent")
    spec: dict[str, Any] = own.to_dict()
    for layer in spec["layer"]:
        if not labels and "axis" in layer["encoding"].get("x", {}):
            layer["encoding"]["x"]["axis"] |= {"labels": False, "ticks": False}
    return spec


def _rows(which: str, times: str) -> _Chart:
    axis = alt.Axis(format=times, tickCount=7, grid=True, gridOpacity=0.35, labelOverlap=True, labelFlush=16)
    time = alt.X("at:T").scale(type="utc", nice=False, padding=0).title(None).axis(axis)
    return alt.Chart(alt.NamedData(TABLE)).encode(x=time).transform_filter(f"datum.row == '{which}'")


def _axis(ticks: int, number: str) -> alt.Axis:
    return alt.Axis(tickCount=ticks, format=number, minExtent=_AXIS_ROOM_PX, maxExtent=_AXIS_ROOM_PX, gridOpacity=0.35)


def _y(column: str, scale: alt.Scale, axis: alt.Axis) -> alt.Y:
    return alt.Y(f"{column}:Q").scale(scale).title(None).axis(axis)
