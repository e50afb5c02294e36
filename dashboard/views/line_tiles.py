"""The tiles of the line page: small, large, and the one that was chosen."""

import io
from datetime import datetime, timedelta

import streamlit as st
from PIL import Image

from dashboard import charts, words
from dashboard.data import line as data
from dashboard.data.line import Camera, Tile
from dashboard.views.calm import Pages
from infra.clock import utc_now
from infra.store.tables import VerdictState
from infra.store.verdicts import ScoreSeries, Verdict

CHOSEN = "camera"  # the name in the address, so that a view can be shared
_PICTURE_HEIGHT_PX = 210
_CHOSEN_HEIGHT_PX = 300
_SMALL_WIDTH_PX = 270  # four beside each other on 1280 px, six on 1920


def small_tile(camera: Camera, now: datetime, pages: Pages) -> None:
    """Draw a camera among many: no chart that the browser has to draw."""
    with st.container(border=True, width=_SMALL_WIDTH_PX, gap="xsmall"):
        _head(camera)
        st.image(data.strip_of(camera), width="stretch", alt="latest frame, and scores of the last hour")
        st.caption(f"{_last_frame(camera.verdict, now)}  \n{_rates(camera)}")
        _links(camera, pages, "all {:,}", ":material/open_in_full:")


def large_tile(camera: Camera, window: timedelta, now: datetime, pages: Pages) -> None:
    """Draw a camera among few, with its chart."""
    tile, series = data.tile(camera.name), data.score_series(camera.name, window)
    with st.container(border=True):
        _head(camera)
        _picture_and_chart(camera.name, tile, series, _PICTURE_HEIGHT_PX, "scores")
        _said(tile.verdict, series, now)
        _foot(camera, pages)


def chosen_tile(name: str, camera: Camera | None, window: timedelta, pages: Pages) -> None:
    """Draw the camera that was chosen across the page; it stays until it is closed."""
    with st.container(border=True):
        with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
            with st.container(horizontal=True, vertical_alignment="center", width="content"):
                st.text(name, width="content")
                if camera:
                    words.camera_badge(camera.state).show()
            st.button(
                "Close", key="line_close", icon=":material/close:", type="tertiary", on_click=_choose, args=(None,)
            )
        if camera is None:
            st.caption("There is no camera of this name.")
            return
        tile, series = data.tile(name), data.score_series(name, window)
        _picture_and_chart(name, tile, series, _CHOSEN_HEIGHT_PX, "chosen")
        _said(tile.verdict, series, utc_now())
        if tile.verdict:
            st.text(_what(tile.verdict))
        _foot(camera, pages, enlarge=None)


def _choose(camera: str | None) -> None:
    st.session_state["line_camera"] = camera
    if camera is None:
        st.query_params.pop(CHOSEN, None)
    else:
        st.query_params[CHOSEN] = camera


def _head(camera: Camera) -> None:
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
        st.text(camera.name, width="content")
        words.camera_badge(camera.state).show()


def _said(verdict: Verdict | None, series: ScoreSeries, now: datetime) -> None:
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
        with st.container(horizontal=True, vertical_alignment="center", width="content", gap="small"):
            if verdict:
                words.verdict_badge(verdict.state).show()
            st.caption(_last_frame(verdict, now), width="content")
        st.caption(_counts(series), width="content")


def _foot(camera: Camera, pages: Pages, enlarge: str | None = "Enlarge") -> None:
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
        st.caption(_rates(camera), width="content")
        _links(camera, pages, "alerts ({:,})", enlarge)


def _links(camera: Camera, pages: Pages, count: str, enlarge: str | None) -> None:
    """To the newest open alert, to all alerts of the camera, and to its large view."""
    with st.container(horizontal=True, vertical_alignment="center", width="content", gap="small"):
        if camera.alerts:
            newest = {"alert": str(camera.alerts.newest_id)}
            st.page_link(pages["alerts"], label="newest alert", query_params=newest)
        label = count.format(camera.alerts.count) if camera.alerts else "alerts"
        st.page_link(pages["alerts"], label=label, query_params={"camera": camera.name})
        if enlarge is not None:
            key = f"line_open_{camera.name}"
            st.button(enlarge, key=key, help="Enlarge", type="tertiary", on_click=_choose, args=(camera.name,))


def _picture_and_chart(camera: str, tile: Tile, series: ScoreSeries, height_px: int, key: str) -> None:
    picture_side, chart_side = st.columns([2, 3], vertical_alignment="center")
    with (
        picture_side,
        st.container(height=height_px + 34, border=False, horizontal_alignment="center", vertical_alignment="center"),
    ):
        _picture(tile, height_px)
    with chart_side:
        figure = charts.score_figure(series, words.time_zone())
        st.vega_lite_chart(figure, width="stretch", key=f"line_{key}_{camera}")


def _picture(tile: Tile, height_px: int) -> None:
    if not tile.picture:
        st.caption("no picture at hand")
        return
    with Image.open(io.BytesIO(tile.picture)) as opened:
        width, height = opened.size
    shown_width = max(1, min(width * height_px // height, 2 * height_px))
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


def _rates(camera: Camera) -> str:
    alarms = "1 false alarm" if camera.false_alarms == 1 else f"{camera.false_alarms:,} false alarms"
    return f"{camera.frames_per_s:.1f} frames/s · {alarms} this shift"


def _counts(series: ScoreSeries) -> str:
    frames = "frame" if series.frames == 1 else "frames"
    parts = [f"{series.frames:,} {frames}", f"{series.defects:,} DEFECT"]
    if series.no_verdicts:
        parts.append(f"{series.no_verdicts:,} without verdict")
    return " · ".join(parts)


def _what(verdict: Verdict) -> str:
    """Say what was looked at, in the words of others: text, not markup."""
    parts = [f"product {verdict.product}"]
    parts += [f"part {verdict.part_id}"] if verdict.part_id else []
    parts += [f"model version {verdict.model_version}"] if verdict.model_version is not None else []
    return " · ".join(parts)
