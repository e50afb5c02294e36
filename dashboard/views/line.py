"""The line: one tile per camera, kept up to date without a click."""

import io
from datetime import datetime, timedelta

import streamlit as st
from PIL import Image

from dashboard import charts, words
from dashboard.data import line as data
from dashboard.data.line import Line, Tile
from dashboard.views.calm import Pages, calmly
from infra.clock import utc_now
from infra.store.tables import VerdictState
from infra.store.verdicts import ScoreSeries, Verdict

WINDOWS = {"15 min": timedelta(minutes=15), "1 h": timedelta(hours=1), "8 h": timedelta(hours=8)}
_REFRESH_S = 2
_PICTURE_HEIGHT_PX = 210
_START_A_CAMERA = """differline ingest folder PICTURES --camera CAMERA --product PRODUCT --watch
differline score"""


@st.fragment(run_every=_REFRESH_S)
def page(pages: Pages) -> None:
    """Draw the page; it runs again by itself."""
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
        window = st.segmented_control(
            "Time shown",
            list(WINDOWS),
            default="15 min",
            required=True,
            key="window",
            label_visibility="collapsed",
            persist_state="session",
        )
        summary = st.container(horizontal=True, vertical_alignment="center", width="content")
    with calmly():
        line = data.current_line()
        with summary:
            _summary(line, pages)
        _warnings(line)
        if line.tiles:
            _tiles(line, WINDOWS[window or "15 min"])
        else:
            _nothing_yet()


def _summary(line: Line, pages: Pages) -> None:
    if line.cameras > len(line.tiles):
        st.caption(f"the first {len(line.tiles)} of {line.cameras:,} cameras")
    label = "1 open alert" if line.open_alerts == 1 else f"{line.open_alerts:,} open alerts"
    st.page_link(pages["alerts"], label=label if line.open_alerts else "no open alerts")


def _warnings(line: Line) -> None:
    if line.missing:
        st.error("The ledger has a gap: frames were accepted and are not accounted for.", icon=":material/error:")
        for camera, frames in line.missing.items():
            st.text(f"{camera}: {frames:,} missing")
    if line.tiles and line.scorers == 0:
        st.warning("No scorer is running: what comes in waits on the bus.", icon=":material/warning:")


def _nothing_yet() -> None:
    with st.container(border=True):
        st.markdown("#### No frames yet")
        st.caption("Start a camera and a scorer, each in a shell of its own; the tile comes up here by itself.")
        st.code(_START_A_CAMERA, language=None)


def _tiles(line: Line, window: timedelta) -> None:
    in_a_row = 1 if len(line.tiles) == 1 else 2
    now = utc_now()
    for first in range(0, len(line.tiles), in_a_row):
        columns = st.columns(in_a_row)
        for column, tile in zip(columns, line.tiles[first : first + in_a_row], strict=False):
            with column:
                _tile(tile, data.score_series(tile.camera, window), now, first + columns.index(column))


def _tile(tile: Tile, series: ScoreSeries, now: datetime, place: int) -> None:
    with st.container(border=True):
        with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
            st.text(tile.camera)
            if tile.verdict:
                words.verdict_badge(tile.verdict.state).show()
        picture_side, chart_side = st.columns([2, 3], vertical_alignment="center")
        with (
            picture_side,
            st.container(
                height=_PICTURE_HEIGHT_PX + 34, border=False, horizontal_alignment="center", vertical_alignment="center"
            ),
        ):
            _picture(tile)
        with chart_side:
            st.vega_lite_chart(charts.score_figure(series, words.time_zone()), width="stretch", key=f"scores-{place}")
        with st.container(horizontal=True, horizontal_alignment="distribute"):
            st.caption(_last_frame(tile.verdict, now), width="content")
            st.caption(_counts(series), width="content")


def _picture(tile: Tile) -> None:
    if not tile.picture:
        st.caption("no picture at hand")
        return
    with Image.open(io.BytesIO(tile.picture)) as opened:
        width, height = opened.size
    shown_width = max(1, min(width * _PICTURE_HEIGHT_PX // height, 2 * _PICTURE_HEIGHT_PX))
    st.image(tile.picture, width=shown_width, alt="latest frame")
    if tile.picture_is_earlier:
        st.caption("picture of an earlier frame")


def _last_frame(verdict: Verdict | None, now: datetime) -> str:
    if verdict is None:
        return "no verdict yet"
    last_frame = f"last frame {words.age(now - verdict.received_at)}"
    if verdict.state is VerdictState.NO_VERDICT:
        return f"{last_frame} · {words.no_verdict_reason(verdict.reason)}"
    return f"{last_frame} · score {words.number(verdict.score)}, threshold {words.number(verdict.threshold)}"


def _counts(series: ScoreSeries) -> str:
    frames = "frame" if series.frames == 1 else "frames"
    parts = [f"{series.frames:,} {frames}", f"{series.defects:,} DEFECT"]
    if series.no_verdicts:
        parts.append(f"{series.no_verdicts:,} without verdict")
    return " · ".join(parts)
