"""What a page shows while the database does not answer."""

import streamlit as st


def show_away() -> None:
    """Say it calmly; pages that run by themselves go on as soon as it answers."""
    st.warning(
        "The database does not answer. Nothing is lost: frames wait on the bus. "
        "This page goes on by itself as soon as it answers.",
        icon=":material/cloud_off:",
    )
