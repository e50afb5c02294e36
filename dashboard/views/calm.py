"""What every page shows where something cannot be shown: no database, no right, nothing yet."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import streamlit as st
from streamlit.navigation.page import Page

from infra.errors import AccessDeniedError, DatabaseAwayError

Pages = Mapping[str, Page]
"""Every page by the name in its address, for links from one to the other."""


@contextmanager
def calmly() -> Iterator[None]:
    """Draw what is inside; where the database is away or a right is missing, say so instead."""
    try:
        yield
    except DatabaseAwayError:
        show_away()
    except AccessDeniedError as error:
        show_denied(error)


def show_away() -> None:
    """Say it calmly; pages that run by themselves go on as soon as it answers."""
    st.warning(
        "The database does not answer. Nothing is lost: frames wait on the bus. "
        "This page goes on by itself as soon as it answers.",
        icon=":material/cloud_off:",
    )


def show_denied(error: AccessDeniedError) -> None:
    """Say what is missing; the error's text is our own."""
    st.warning(f"Not allowed: {error}.", icon=":material/lock:")
