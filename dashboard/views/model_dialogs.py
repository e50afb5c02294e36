"""What people may ask of the trainer, each in a dialog that says what speaks against it and wants a reason."""

from dataclasses import dataclass

import streamlit as st

from dashboard import access, model_words
from dashboard.access import Right
from dashboard.data import models as data
from dashboard.data.models import Models
from infra.errors import AccessDeniedError, DatabaseAwayError
from infra.store.promotions import ModelRow
from infra.store.reasons import MAX_REASON
from infra.store.tables import ModelState, RequestKind

_OPEN = (
    "models_dialog"  # in the session: what is being asked, so that a redrawn page keeps the dialog and what was typed
)
_NEEDS = "This needs the role engineer."


@dataclass(frozen=True, slots=True)
class _Question:
    """What a dialog asks about."""

    product: str
    what: RequestKind
    version: int | None = None


_ABOUT = {
    RequestKind.REFIT: (
        "The product is learned anew from the pictures that are released now. That makes a candidate; the model in force stays."
    ),
    RequestKind.ROLLBACK: "The model that this version replaced is put back in force; scorers take it within seconds.",
    RequestKind.PROMOTE: "This version judges from now on; scorers take it within seconds, between two batches.",
    RequestKind.SHADOW: "This version scores live frames beside the model in force. No verdict is changed by it.",
}
_ABOUT_NO_SHADOW = "The candidate in shadow stops scoring live frames. What it said so far stays on record."


def product_buttons(product: str) -> None:
    """Draw what may be asked for about a product."""
    may = access.may(Right.ENGINEER)
    with st.container(horizontal=True, width="content"):
        _button("Refit now…", ":material/model_training:", _Question(product, RequestKind.REFIT), may=may)


def version_buttons(model: ModelRow, now: Models) -> None:
    """Draw what may be asked for about a version."""
    may = access.may(Right.ENGINEER)
    with st.container(horizontal=True, width="content"):
        if model.state is ModelState.IN_FORCE:
            back = _Question(model.product, RequestKind.ROLLBACK, model.version)
            several = len(now.versions) > 1
            _button("Roll back…", ":material/undo:", back, may=may, possible=several)
            return
        if model.state is ModelState.CANDIDATE:
            shadow = _Question(model.product, RequestKind.SHADOW, None if model.shadow else model.version)
            label = "End shadow…" if model.shadow else "Shadow…"
            _button(label, ":material/visibility:", shadow, may=may)
        promote = _Question(model.product, RequestKind.PROMOTE, model.version)
        _button("Promote…", ":material/verified:", promote, may=may, primary=True)


def draw_open(product: str) -> None:
    """Draw the dialog that is open, again whenever the page is drawn."""
    question = st.session_state.get(_OPEN)
    if not isinstance(question, _Question) or question.product != product:
        return
    st.dialog(_title(question), on_dismiss=_close, width="medium")(_dialog)(question)


def _button(
    label: str, icon: str, question: _Question, *, may: bool, possible: bool = True, primary: bool = False
) -> None:
    st.button(
        label,
        icon=icon,
        key=f"models-ask-{question.what}",
        type="primary" if primary else "secondary",
        disabled=not (may and possible),
        help=None if may else _NEEDS,
        on_click=_open,
        args=(question,),
    )


def _open(question: _Question) -> None:
    st.session_state[_OPEN] = question


def _close() -> None:
    st.session_state.pop(_OPEN, None)


def _title(question: _Question) -> str:
    return "Refit now" if question.what is RequestKind.REFIT else model_words.wanted(question.what, question.version)


def _dialog(question: _Question) -> None:
    st.text(question.product)
    no_shadow = question.what is RequestKind.SHADOW and question.version is None
    st.caption(_ABOUT_NO_SHADOW if no_shadow else _ABOUT[question.what])
    try:
        against = _objections(question)
        waits = data.current_models(question.product).trainers == 0
    except (DatabaseAwayError, AccessDeniedError):
        st.warning("The database does not answer; try again in a moment.", icon=":material/cloud_off:")
        return
    force = False
    if against:
        st.warning(
            "This speaks against it:\n\n" + "\n".join(f"- {line}" for line in against), icon=":material/warning:"
        )
    elif question.what is RequestKind.PROMOTE:
        st.caption("Nothing that the database knows speaks against it; the trainer checks the model's files as well.")
    with st.form(f"models-{question.what}", border=False):
        if against:
            force = st.checkbox("Put it in force all the same (force)", key="models_force")
        reason = st.text_area(
            "Reason", max_chars=MAX_REASON, height=80, key="models_reason", placeholder="It stays on record"
        )
        if waits:
            st.caption("No trainer is running: this waits until one is, and can be cancelled until then.")
        if st.form_submit_button(_title(question), type="primary"):
            _ask(question, reason, force=force, against=bool(against))


def _objections(question: _Question) -> list[str]:
    if question.what is not RequestKind.PROMOTE or question.version is None:
        return []
    return data.objections(question.product, question.version)


def _ask(question: _Question, reason: str, *, force: bool, against: bool) -> None:
    if not reason.strip():
        st.error("Write a reason first.", icon=":material/edit:")
        return
    if against and not force:
        st.error("Something speaks against it: tick force, or leave it.", icon=":material/warning:")
        return
    try:
        data.ask(question.product, question.what, reason, version=question.version, force=force)
    except DatabaseAwayError:
        st.error("Not asked: the database does not answer. The reason still stands here; try again in a moment.")
        return
    except (ValueError, AccessDeniedError) as error:
        st.error(f"Not asked: {error}.")
        return
    _close()
    st.rerun()
