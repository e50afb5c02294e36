"""Drift: where the tests of all cameras stand, and one camera and product over any time, against calibration."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pandas as pd
import streamlit as st

from dashboard import drift_charts, words
from dashboard.data import drift as data
from dashboard.data.drift import REFRESH_S, History
from dashboard.drift_distances import LEAST_FRAMES, Standing
from dashboard.sources import sources
from dashboard.views.calm import Pages, calmly
from infra.clock import utc_now
from infra.distances import PSI_OTHER, PSI_SAME
from infra.plant_time import shift_began, shift_starts
from infra.store.drift_standings import DriftStanding

_SHIFT, _FREE = "This shift", "From … to"
_LENGTHS = {"24 h": timedelta(hours=24), "7 d": timedelta(days=7), "30 d": timedelta(days=30)}
_RANGES = [_SHIFT, *_LENGTHS, _FREE]
_USUAL_RANGE = "24 h"
_LONGEST = timedelta(days=366)
_CAMERA, _PRODUCT = "drift_camera", "drift_product"  # in the session, and in the address
_RANGE, _FROM, _TO = "drift_range", "drift_from", "drift_to"
_TABLE_ROWS = 6
_ROW_PX = 35
OWN_PARTS = 200  # as in scorer/drift_series.py, which the dashboard does not import


@st.fragment(run_every=REFRESH_S)
def page(_pages: Pages) -> None:
    """Draw the page; it runs again by itself."""
    with calmly():
        found = data.overview()
        if not found:
            _nothing_yet()
            return
        chosen = _chosen(found)
        _overview(found, chosen)
        chosen = _selectors(found, chosen)
        span = _range()
        if span is not None:
            _history(chosen, data.history(chosen.camera, chosen.product, *span))


def _nothing_yet() -> None:
    with st.container(border=True):
        st.markdown("#### No frames yet")
        st.caption("As soon as a camera sends frames, this page shows whether they still look as at calibration.")


def _chosen(found: Sequence[Standing]) -> Standing:
    """What the session or the address names; else the first, which is the worst."""
    wanted = tuple(st.session_state.get(key) or st.query_params.get(key) for key in (_CAMERA, _PRODUCT))
    for line in found:
        if (line.camera, line.product) == wanted:
            return line
    if wanted[0] is not None and not any(line.camera == wanted[0] for line in found):
        st.info(
            "The address names a camera that is not known here, or that has been silent for long.",
            icon=":material/info:",
        )
    return next((line for line in found if line.camera == wanted[0]), found[0])


def _overview(found: Sequence[Standing], chosen: Standing) -> None:
    pairs = [(line.camera, line.product) for line in found]
    place = found.index(chosen)
    # A row is known by its place: other cameras, or another choice, are another table.
    key = f"drift-overview-{hash((tuple(pairs), place))}"

    def select() -> None:
        rows = st.session_state[key].selection.rows
        if rows:
            _choose(*pairs[rows[0]])

    st.dataframe(
        pd.DataFrame([_overview_row(line) for line in found]),
        key=key,
        hide_index=True,
        height="content" if len(found) <= _TABLE_ROWS else _ROW_PX * (_TABLE_ROWS + 1) + 3,
        placeholder="—",
        column_config={
            "scores": _bar("scores, of 2"),
            "pictures": _bar("pictures, of 2"),
            "since": st.column_config.DatetimeColumn("since", format="D MMM HH:mm"),
            "PSI": st.column_config.NumberColumn("PSI, 24 h", format="%.3f", help=_ABOUT_PSI),
            "frames": st.column_config.NumberColumn("frames, 24 h", format="localized"),
        },
        on_select=select,
        selection_mode="single-row",
        selection_default={"selection": {"rows": [place], "columns": [], "cells": []}},
    )


def _bar(label: str) -> Any:
    most = drift_charts.ALARM
    return st.column_config.ProgressColumn(
        label, help=_ABOUT_BAR, width="small", min_value=0.0, max_value=most, format="%.2f"
    )


def _overview_row(line: Standing) -> dict[str, Any]:
    alarmed, zone = line.alarmed, words.time_zone()
    since = alarmed.alarmed_at if alarmed else None
    return {
        "camera": line.camera,
        "product": line.product,
        "state": _state(line),
        "since": since.astimezone(zone).replace(tzinfo=None) if since else None,
        "scores": None if line.scores is None else max(0.0, line.scores.wealth),
        "pictures": None if line.pictures is None else max(0.0, line.pictures.wealth),
        "PSI": line.distance.psi if line.distance and line.distance.frames >= LEAST_FRAMES else None,
        "frames": line.frames,
    }


_ABOUT_BAR = (
    "How far the test is on its way to the alarm: a full bar is an alarm, which 1 % of stable lines ever raise."
)
_ABOUT_PSI = f"Scores of the last 24 hours against calibration; nothing below {LEAST_FRAMES} frames. For the eye only."


def _state(line: Standing) -> str:
    if line.alarmed:
        return f"▲ {words.drift_cause(line.alarmed.cause)}"
    if line.scores is None:
        return "scores are not tested: no model"
    if _learning(line.scores) or (line.pictures and _learning(line.pictures)):
        return "learning what is usual"
    return "no drift"


def _learning(test: DriftStanding) -> bool:
    return test.compares_with_itself and test.parts == 0


def _selectors(found: Sequence[Standing], chosen: Standing) -> Standing:
    """Camera, product and time in one row; what is chosen is in the address, so that it can be shared."""
    cameras = sorted({line.camera for line in found})
    products = sorted(line.product for line in found if line.camera == chosen.camera)
    st.session_state[_CAMERA], st.session_state[_PRODUCT] = chosen.camera, chosen.product
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.selectbox("Camera", cameras, key=_CAMERA, width=220)
        st.selectbox("Product", products, key=_PRODUCT, width=220)
        st.segmented_control(
            "Time shown",
            _RANGES,
            default=_USUAL_RANGE,
            required=True,
            key=_RANGE,
            on_change=_begin_free,
            bind="query-params",
        )
        if st.session_state.get(_RANGE) == _FREE:
            st.datetime_input("From", value=None, key=_FROM, format="YYYY-MM-DD", width=200, bind="query-params")
            st.datetime_input("To", value=None, key=_TO, format="YYYY-MM-DD", width=200, bind="query-params")
    for key, value in ((_CAMERA, chosen.camera), (_PRODUCT, chosen.product)):
        if st.query_params.get(key) != value:
            st.query_params[key] = value
    return chosen


def _choose(camera: str, product: str) -> None:
    st.session_state[_CAMERA], st.session_state[_PRODUCT] = camera, product


def _begin_free() -> None:
    """Begin with the last day, so that there is something to change."""
    if st.session_state.get(_RANGE) == _FREE and st.session_state.get(_FROM) is None:
        now = utc_now().astimezone(words.time_zone()).replace(tzinfo=None, second=0, microsecond=0)
        st.session_state[_FROM], st.session_state[_TO] = now - timedelta(days=1), now


def _range() -> tuple[datetime, datetime | None] | None:
    """From when to when, UTC; no end is now, and nothing is what cannot be shown, which is said."""
    chosen, now = st.session_state.get(_RANGE) or _USUAL_RANGE, utc_now()
    now -= timedelta(seconds=now.timestamp() % REFRESH_S)  # the same answer for everybody who looks
    if chosen == _SHIFT:
        return shift_began(now, words.time_zone(), shift_starts(sources().settings.shifts)), None
    if chosen in _LENGTHS:
        return now - _LENGTHS[chosen], None
    since, until = (_in_plant(st.session_state.get(key)) for key in (_FROM, _TO))
    if since is None:
        st.caption("Say from when.")
    elif since >= (until or now):
        st.caption("It ends before it begins.")
    elif (until or now) - since > _LONGEST:
        st.caption(f"More than {_LONGEST.days} days cannot be shown at once.")
    else:
        return since, until if until and until < now else None
    return None


def _in_plant(wall: datetime | None) -> datetime | None:
    return None if wall is None else wall.replace(tzinfo=words.time_zone())


def _history(chosen: Standing, history: History) -> None:
    st.caption(_standing_in_words(chosen))
    if not history.frames and not history.tests:
        st.info("No frames of this camera and product in this time.", icon=":material/hourglass_empty:")
        return
    zone = words.time_zone()
    if any(bucket.median is not None for bucket in history.series.buckets):
        st.vega_lite_chart(drift_charts.scores_figure(history, zone), width="stretch", key="drift-scores")
        _without(
            history,
            [model.version for model in history.models.values() if model.scores is None],
            "scores",
        )
    elif history.frames:
        st.info(
            "No frame of this time was judged: there was no model. Pictures are shown below.", icon=":material/info:"
        )
    if history.tests:
        st.vega_lite_chart(drift_charts.tests_figure(history, zone), width="stretch", key="drift-tests")
    else:
        st.caption(
            "How the tests went in this time is not on record; it is kept for 90 days, from the day of the update on."
        )
    if history.distances:
        st.vega_lite_chart(drift_charts.psi_figure(history, zone), width="stretch", key="drift-psi")
        st.vega_lite_chart(drift_charts.ks_figure(history, zone), width="stretch", key="drift-ks")
        _distances_in_words(history)
    _pictures(history)


def _pictures(history: History) -> None:
    zone = words.time_zone()
    measured = any(bucket.focus is not None for bucket in history.series.buckets)
    for name in drift_charts.QUALITIES if measured else ():
        st.vega_lite_chart(drift_charts.quality_figure(history, name, zone), width="stretch", key=f"drift-{name}")
    if measured:
        _without(history, [model.version for model in history.models.values() if model.quality is None], "pictures")


def _without(history: History, versions: list[int], what: str) -> None:
    """Say whose calibration cannot be drawn."""
    if versions:
        named = ", ".join(str(version) for version in sorted(versions)[:5])
        which = f"version {named}" if len(history.models) > 1 else "this model"
        st.caption(
            f"No grey band for {which}: it was registered before quantiles of its calibration {what} went on record."
        )


def _distances_in_words(history: History) -> None:
    if history.whole is not None:
        whole = history.whole
        reading = "the same" if whole.psi < PSI_SAME else "changed" if whole.psi <= PSI_OTHER else "another population"
        st.caption(
            f"The whole time: PSI {whole.psi:.3f} ({reading}, by custom), KS {whole.ks.at_least:.3f} to {whole.ks.at_most:.3f} "
            f"over {whole.frames:,} frames with a score. PSI and KS are for the eye: frames of one part or run resemble each "
            f"other, and looked at often they cross any line by chance. Only the test above alarms with a bound. Bars are pale "
            f"below {LEAST_FRAMES} frames; KS is told from a histogram of 50 bins, which leaves open what is pale above a bar."
        )


def _standing_in_words(chosen: Standing) -> str:
    """Say in a sentence how it stands; only our own words."""
    alarmed = chosen.alarmed
    if alarmed:
        since = words.local_time(alarmed.alarmed_at, words.time_zone())
        return f"Alarm since {since}. {words.about_drift(alarmed.cause)}"
    if chosen.scores is None:
        return "No model has judged these frames: their scores are not tested, and pictures are compared with the first ones."
    said = [f"No drift is told by {chosen.scores.parts:,} parts since the test began."]
    for test, what in ((chosen.scores, "scores"), (chosen.pictures, "pictures")):
        if test and test.compares_with_itself:
            waits = test.parts == 0
            first = f"takes its first {OWN_PARTS} parts for the usual" if waits else "compares with its own first parts"
            said.append(f"The test of the {what} {first}, not with calibration.")
    return " ".join(said)
