from streamlit.testing.v1 import AppTest

from dashboard.views.turning import MOST_PAGES


def turning() -> AppTest:
    def script() -> None:
        import streamlit as st  # noqa: PLC0415 - the function's text is the script

        from dashboard.views.turning import newer_button, older_button  # noqa: PLC0415

        pages = st.session_state.setdefault("pages", [])
        newer_button("pages", possible=bool(pages))
        older_button("pages", st.session_state.get("last"))

    return AppTest.from_function(script, default_timeout=30)


def test_pages_are_turned_forth_and_back_and_not_beyond_the_ends() -> None:
    page = turning()
    page.session_state["last"] = 7
    page.run()
    newer, older = page.button
    assert (newer.disabled, older.disabled) == (True, False)
    older.click().run()
    page.session_state["last"] = None
    page.run()
    newer, older = page.button
    assert page.session_state["pages"] == [7]
    assert (newer.disabled, older.disabled) == (False, True)
    newer.click().run()
    assert page.session_state["pages"] == []


def test_a_session_keeps_a_bounded_number_of_pages() -> None:
    page = turning()
    page.session_state["pages"] = list(range(MOST_PAGES))
    page.session_state["last"] = "newest"
    page.run()
    page.button[1].click().run()
    assert page.session_state["pages"] == [*range(1, MOST_PAGES), "newest"]
