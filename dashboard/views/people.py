"""The people page, for administrators: take a role away at once, whatever the sign-in says."""

import pandas as pd
import streamlit as st

from dashboard import words
from dashboard.data import people as data
from dashboard.views.calm import Pages, calmly
from infra.errors import AccessDeniedError, DatabaseAwayError
from infra.store.reasons import MAX_REASON
from infra.store.role_limits import MAX_PERSON
from infra.store.tables import Role

_SAID = {
    Role.NONE: "nothing: may not look",
    Role.VIEWER: "viewer",
    Role.INSPECTOR: "inspector",
    Role.ENGINEER: "engineer",
    Role.ADMIN: "admin: no limit",
}


def page(_pages: Pages) -> None:
    """Draw the page."""
    with calmly():
        st.markdown("#### People")
        st.caption(
            "Roles come from the sign-in. Here a person can be made less than it says; that counts from the next rerun of "
            "every page they have open, and stays until it is lifted."
        )
        _limits()
        _form()


def _limits() -> None:
    found = data.limits()
    if not found:
        st.caption("Nobody is limited.")
        return
    zone = words.time_zone()
    rows = pd.DataFrame(
        {
            "person": [each.person for each in found],
            "at most": [_SAID[each.role] for each in found],
            "by": [each.who for each in found],
            "reason": [each.reason for each in found],
            "since": [each.limited_at.astimezone(zone).replace(tzinfo=None) for each in found],
        }
    )
    st.dataframe(rows, hide_index=True, height="content", alt="limits of people")


def _form() -> None:
    with st.form("limit", width=520):
        person = st.text_input("Person, as the sign-in names them", max_chars=MAX_PERSON)
        role = st.selectbox("At most", list(_SAID), format_func=lambda one: _SAID[one])
        reason = st.text_input("Reason", max_chars=MAX_REASON)
        if not st.form_submit_button("Set", type="primary"):
            return
    try:
        data.limit_role(person, role, reason)
    except (ValueError, AccessDeniedError) as error:
        st.error(f"Not saved: {error}.", icon=":material/error:")
    except DatabaseAwayError:
        st.error("Not saved: the database does not answer. Try again in a moment.", icon=":material/cloud_off:")
    else:
        st.rerun()
