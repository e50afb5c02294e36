"""The line: whether it is well, a tile per camera, and a large view of the one that was chosen; up to date without a click."""

from contextlib import suppress
from datetime import timedelta

import streamlit as st

from dashboard.camera_state import CameraState
from dashboard.data import line as data
from dashboard.data.line import Line
from dashboard.views.calm import Pages, calmly
from dashboard.views.line_tiles import CHOSEN, chosen_tile, large_tile, small_tile
from dashboard.words import Badge
from infra.clock import utc_now
from infra.errors import AccessDeniedError, DatabaseAwayError

WINDOWS = {"15 min": timedelta(minutes=15), "1 h": timedelta(hours=1), "8 h": timedelta(hours=8)}
MOST_LARGE = 6
"""Cameras up to which each has a chart of its own; more of them would make the browser slow."""

_REFRESH_S = 2
_REFRESH_MANY_S = 5
_MOST_NAMED = 8
_START_A_CAMERA = """differline ingest folder PICTURES --camera CAMERA --product PRODUCT --watch
differline score"""


def page(pages: Pages) -> None:
    """Draw the page; it runs again by itself."""
    _remember_choice()
    few = True
    with suppress(DatabaseAwayError, AccessDeniedError):
        few = len(data.current_line().shown) <= MOST_LARGE
    st.fragment(_live, run_every=_REFRESH_S if few else _REFRESH_MANY_S)(pages)


def _remember_choice() -> None:
    """What was chosen stands in the address, and comes back with somebody who has been on another page."""
    if CHOSEN in st.query_params:
        st.session_state["line_camera"] = st.query_params[CHOSEN]
    elif camera := st.session_state.get("line_camera"):
        st.query_params[CHOSEN] = camera


def _live(pages: Pages) -> None:
    # The places are always there, whatever is in them: what stands below does not move, and is not drawn anew.
    top, warnings, large, tiles = st.container(), st.container(), st.container(), st.container()
    with calmly():
        line = data.current_line()
        with top:
            window = _top(line, pages)
        with warnings:
            _warnings(line)
        with large:
            _chosen(line, window, pages)
        with tiles:
            if line.cameras:
                _tiles(line, window, pages)
            else:
                _nothing_yet()


def _top(line: Line, pages: Pages) -> timedelta:
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
        with st.container(horizontal=True, vertical_alignment="center", width="content"):
            if line.cameras:
                well = _cameras_badge(line)
                st.markdown(f"#### :{well.color}[{well.icon} {well.label}]", width="content")
                _ledger_badge(line).show()
                _scorers_badge(line.scorers).show()
            label = "1 open alert" if line.open_alerts == 1 else f"{line.open_alerts:,} open alerts"
            st.page_link(pages["alerts"], label=label if line.open_alerts else "no open alerts")
        window = st.segmented_control(
            "Time shown",
            list(WINDOWS),
            default="1 h",
            required=True,
            key="line_window",
            label_visibility="collapsed",
            persist_state="session",
        )
    return WINDOWS[window or "1 h"]


def _cameras_badge(line: Line) -> Badge:
    """Whether the line is well: what is read first, and largest."""
    bad = len(line.not_well)
    at_rest = sum(camera.state is CameraState.AT_REST for camera in line.cameras)
    if bad:
        said = "the camera is not well" if line.count == 1 else f"{bad:,} of {line.count:,} cameras not well"
        return Badge(said, ":material/warning:", "orange")
    if at_rest == len(line.cameras):
        return Badge("all cameras at rest", ":material/pause:", "gray")
    if at_rest:
        well = line.count - at_rest
        cameras = "1 camera" if well == 1 else f"{well:,} cameras"
        return Badge(f"{cameras} well, {at_rest:,} at rest", ":material/check:", "blue")
    return Badge(
        "the camera is well" if line.count == 1 else f"all {line.count:,} cameras well", ":material/check:", "blue"
    )


def _ledger_badge(line: Line) -> Badge:
    if missing := sum(line.missing.values()):
        return Badge(f"{missing:,} frames missing", ":material/error:", "orange")
    return Badge("ledger balanced", ":material/balance:", "blue")


def _scorers_badge(scorers: int | None) -> Badge:
    match scorers:
        case None:
            return Badge("scorers not known", ":material/question_mark:", "gray")
        case 0:
            return Badge("no scorer", ":material/warning:", "orange")
        case 1:
            return Badge("1 scorer", ":material/check:", "blue")
    return Badge(f"{scorers:,} scorers", ":material/check:", "blue")


def _warnings(line: Line) -> None:
    if line.missing:
        st.error("The ledger has a gap: frames were accepted and are not accounted for.", icon=":material/error:")
        st.text(_some([f"{camera}: {frames:,} missing" for camera, frames in line.missing.items()]))
    if line.cameras and line.scorers == 0:
        st.warning("No scorer is running: what comes in waits on the bus.", icon=":material/warning:")
    if line.not_well and line.count > MOST_LARGE:
        st.text(_some([f"{camera.name}: {camera.state}" for camera in line.not_well]))
    if line.count > len(line.shown):
        st.caption(f"{len(line.shown):,} of {line.count:,} cameras are shown, those that are not well among them.")


def _some(names: list[str]) -> str:
    """Name the first ones, and say how many more there are."""
    more = len(names) - _MOST_NAMED
    return " · ".join(names[:_MOST_NAMED]) + (f" · and {more:,} more" if more > 0 else "")


def _chosen(line: Line, window: timedelta, pages: Pages) -> None:
    name = st.query_params.get(CHOSEN)
    if name is None:
        return
    camera = next((camera for camera in line.cameras if camera.name == name), None)
    chosen_tile(name, camera, window, pages)


def _nothing_yet() -> None:
    with st.container(border=True):
        st.markdown("#### No frames yet")
        st.caption("Start a camera and a scorer, each in a shell of its own; the tile comes up here by itself.")
        st.code(_START_A_CAMERA, language=None)


def _tiles(line: Line, window: timedelta, pages: Pages) -> None:
    shown, now = line.shown, utc_now()
    if len(shown) > MOST_LARGE:
        with st.container(horizontal=True, gap="small"):
            for camera in shown:
                small_tile(camera, now, pages)
        return
    in_a_row = 1 if len(shown) == 1 else 2
    for first in range(0, len(shown), in_a_row):
        for column, camera in zip(st.columns(in_a_row), shown[first : first + in_a_row], strict=False):
            with column:
                large_tile(camera, window, now, pages)
