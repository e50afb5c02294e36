"""Turning the pages of a list: in the session stands the last entry of each page before the one that is shown."""

from typing import TypeVar

import streamlit as st

MOST_PAGES = 1000  # that can be gone back; those before are forgotten, so that a session does not grow

Key = TypeVar("Key")


def newer_button(pages: str, *, possible: bool, key: str | None = None) -> None:
    """Draw the button that goes one page back.

    Args:
        pages: Where in the session the pages before are.
        possible: Whether there are any.
        key: The button's, where the page has another one of that label.
    """
    icon = ":material/chevron_left:"
    st.button("Newer", key=key, icon=icon, disabled=not possible, on_click=_newer, args=(pages,))


def older_button(pages: str, last: Key | None, *, label: str = "Older", key: str | None = None) -> None:
    """Draw the button that goes one page on.

    Args:
        pages: Where in the session the pages before are.
        last: The last entry of the page that is shown; None: there is nothing behind it.
        label: What stands on it.
        key: The button's, where the page has another one of that label.
    """
    st.button(
        label,
        key=key,
        icon=":material/chevron_right:",
        icon_position="right",
        disabled=last is None,
        on_click=_older,
        args=(pages, last),
    )


def _newer(pages: str) -> None:
    st.session_state[pages] = st.session_state.get(pages, [])[:-1]


def _older(pages: str, last: Key) -> None:
    st.session_state[pages] = [*st.session_state.get(pages, []), last][-MOST_PAGES:]
