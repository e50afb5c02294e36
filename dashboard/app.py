"""The router: which pages there are, and who may see them. Streamlit runs this file on every rerun."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
import streamlit as st
from PIL import Image
from streamlit.navigation.page import Page

from dashboard import access, wanted
from dashboard.access import Person, Right
from dashboard.sources import sources
from dashboard.views import alerts, curate, drift, health, line, models, people, search
from dashboard.views.calm import Pages, show_away
from infra.errors import AccessDeniedError, DatabaseAwayError

_LOOK_AGAIN_S = 3


@dataclass(frozen=True)
class _Entry:
    """A page of the navigation; those who have not the right do not find it there."""

    name: str
    draw: Callable[[Pages], None]
    icon: str
    right: Right = Right.SEE


_ENTRIES = (
    _Entry("line", line.page, ":material/videocam:"),
    _Entry("alerts", alerts.page, ":material/notifications:"),
    _Entry("search", search.page, ":material/search:"),
    _Entry("drift", drift.page, ":material/trending_up:"),
    _Entry("curate", curate.page, ":material/checklist:"),
    _Entry("models", models.page, ":material/model_training:"),
    _Entry("health", health.page, ":material/monitor_heart:"),
    _Entry("people", people.page, ":material/group:", Right.ADMINISTER),
)


def main() -> None:
    """Draw the page that the address asks for."""
    st.set_page_config(page_title="differline", page_icon=_icon(), layout="wide")
    try:
        who = access.person()
    except AccessDeniedError:
        _instead(_sign_in, remembered=True)
    except DatabaseAwayError:
        _instead(_away)
    else:
        if who.may(Right.SEE):
            _pages(who)
        else:
            _instead(partial(_no_role, who))


def _pages(who: Person) -> None:
    pages: dict[str, Page] = {}
    for entry in _ENTRIES:
        if who.may(entry.right):
            pages[entry.name] = _page(entry, partial(entry.draw, pages))
    page = st.navigation(list(pages.values()), position="top")
    if sources().settings.oidc_metadata_url is not None:
        _go_where_they_wanted(page, pages)
    page.run()
    _signed_in_as(who)


def _go_where_they_wanted(page: Page, pages: dict[str, Page]) -> None:
    """Open the page whose address brought them here before they signed in, if the provider has sent them to the first one."""
    if "signed_in_before" in st.session_state:
        return
    st.session_state["signed_in_before"] = True
    before = wanted.take()
    if before is not None and before.page in pages and page == pages[_ENTRIES[0].name] and not st.query_params:
        st.switch_page(pages[before.page], query_params=before.parameters)


def _instead(draw: Callable[[], None], *, remembered: bool = False) -> None:
    """Draw this whatever the address asks for, and leave the address as it is: it counts again later."""
    page = st.navigation([_page(entry, draw) for entry in _ENTRIES], position="hidden")
    if remembered:
        wanted.remember(page.url_path or _ENTRIES[0].name)
    page.run()


def _page(entry: _Entry, draw: Callable[[], None]) -> Page:
    return st.Page(
        draw,
        title=entry.name.capitalize(),
        icon=entry.icon,
        url_path=entry.name,
        default=entry.name == _ENTRIES[0].name,
    )


def _signed_in_as(who: Person) -> None:
    with st.container(horizontal=True, horizontal_alignment="right", vertical_alignment="center"):
        st.text(f"{who.name} · {who.role}", width="content")
        if sources().settings.oidc_metadata_url is not None:
            st.button("Sign out", on_click=st.logout, icon=":material/logout:", type="tertiary")


def _sign_in() -> None:
    with st.container(border=True):
        st.markdown("#### differline")
        st.caption("Sign in to see the line.")
        st.button("Sign in", on_click=st.login, icon=":material/login:", type="primary")


def _away() -> None:
    show_away()
    _until_it_answers()


@st.fragment(run_every=_LOOK_AGAIN_S)
def _until_it_answers() -> None:
    with suppress(DatabaseAwayError, AccessDeniedError):
        access.person()
        st.rerun()


def _no_role(who: Person) -> None:
    st.warning("You are signed in and have no role here; somebody who administers the sign-in can give you one.")
    _until_there_is_one()
    _signed_in_as(who)


@st.fragment(run_every=_LOOK_AGAIN_S)
def _until_there_is_one() -> None:
    if access.may(Right.SEE):
        st.rerun()


def _icon() -> Image.Image:
    """Draw a lens: an icon by name would be fetched from the internet, which a plant may not have."""
    icon = np.zeros((64, 64, 4), np.uint8)
    cv2.circle(icon, (32, 32), 26, (0, 114, 178, 255), 9, cv2.LINE_AA)
    cv2.circle(icon, (32, 32), 10, (213, 94, 0, 255), -1, cv2.LINE_AA)
    return Image.fromarray(icon)


main()
