"""The models page: the versions of a product, what they would change, and what the trainer is asked to do with them."""

from datetime import datetime

import pandas as pd
import streamlit as st

from dashboard import access, model_words, words
from dashboard.access import Right
from dashboard.data import models as data
from dashboard.data.models import Models
from dashboard.views import model_dialogs, model_parts
from dashboard.views.calm import Pages, calmly, show_away
from infra.clock import utc_now
from infra.errors import AccessDeniedError, DatabaseAwayError
from infra.store.model_requests import ModelRequest
from infra.store.promotions import ModelRow
from infra.store.tables import ModelState

_REFRESH_S = 2
_PRODUCT, _VERSION = "product", "version"  # the names in the address, so that a link to a model can be shared
_WAS_AWAY = "models_database_away"
_DRAWN = "models_drawn"  # what the versions were when the page was drawn
_CHOSEN = "models_just_chosen"
_LONGEST_NUMBER = 9
_MOST_ROWS_PX = 330
_CLOSED_REQUESTS = 2
_START_A_TRAINER = "differline schedule"


def page(_pages: Pages) -> None:
    """Draw the page: versions and requests run again by themselves, the version that was chosen stays as it is."""
    with calmly():
        try:
            products = data.products()
            if not products:
                _nothing_yet()
                return
            product = _product(products)
            now = data.current_models(product)
        except DatabaseAwayError:
            st.session_state[_WAS_AWAY] = True
            _wait_for_database()
            return
        st.session_state[_DRAWN] = _fingerprint(product, now)
        chosen = _chosen(now)
        _live(product, chosen.version if chosen else None)
        if chosen is None:
            _no_model_yet(product)
        else:
            model_parts.details(chosen, now)
        model_dialogs.draw_open(product)


def _product(products: list[str]) -> str:
    """The product of the address, or the first; the selection is kept there."""
    asked = st.query_params.get(_PRODUCT, "")
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="bottom"):
        product = st.selectbox(
            "Product",
            products,
            index=products.index(asked) if asked in products else 0,
            key="models_product",
            on_change=_forget_version,
            width=320,
        )
        model_dialogs.product_buttons(product)
    if st.query_params.get(_PRODUCT) != product:
        st.query_params[_PRODUCT] = product
    return product


def _forget_version() -> None:
    st.query_params.pop(_VERSION, None)


def _chosen(now: Models) -> ModelRow | None:
    """The version of the address; else the newest candidate above the one in force, else that one, else the newest."""
    text = st.query_params.get(_VERSION, "")
    wanted = int(text) if text.isascii() and text.isdigit() and len(text) <= _LONGEST_NUMBER else None
    by_version = {model.version: model for model in now.versions}
    if wanted in by_version:
        return by_version[wanted]
    newest = now.versions[0] if now.versions else None
    return newest if newest is not None and newest.state is ModelState.CANDIDATE else now.in_force or newest


def _fingerprint(product: str, now: Models) -> tuple[object, ...]:
    return (product, *((model.version, model.state, model.shadow) for model in now.versions))


@st.fragment(run_every=_REFRESH_S)
def _live(product: str, chosen: int | None) -> None:
    try:
        now = data.current_models(product)
    except DatabaseAwayError:
        st.session_state[_WAS_AWAY] = True
        show_away()
        return
    changed = st.session_state.get(_DRAWN) != _fingerprint(product, now)
    if st.session_state.pop(_WAS_AWAY, False) or st.session_state.pop(_CHOSEN, False) or changed:
        st.rerun()  # the version that was chosen stands outside this fragment
    table_side, request_side = st.columns([3, 1], gap="medium")
    with table_side:
        if now.versions:
            _table(now.versions, chosen)
    with request_side:
        _requests(now)


@st.fragment(run_every=_REFRESH_S)
def _wait_for_database() -> None:
    try:
        data.products()
    except DatabaseAwayError:
        show_away()
        return
    st.session_state.pop(_WAS_AWAY, None)
    st.rerun()


def _table(versions: tuple[ModelRow, ...], chosen: int | None) -> None:
    zone = words.time_zone()
    numbers = [model.version for model in versions]
    rows = pd.DataFrame(
        {
            "version": numbers,
            "state": [model_words.state_sign(model) for model in versions],
            "registered": [model.registered_at.astimezone(zone).replace(tzinfo=None) for model in versions],
            "by": [model.registered_by for model in versions],
            "learned": [model.training_frames for model in versions],
            "held out": [model.calibration_frames for model in versions],
            "threshold": [model.threshold for model in versions],
            "asked": [100 * model.false_alarm_rate for model in versions],
            "at best": [100 * model.attainable_rate for model in versions],
            "challenge": [model_words.challenge(model) for model in versions],
        }
    )
    # A row is known by its place, so other versions are another table: what is selected never slides to another one.
    key = f"models-{hash(tuple(numbers))}"
    st.dataframe(
        rows,
        key=key,
        hide_index=True,
        height="content" if len(versions) <= 8 else _MOST_ROWS_PX,
        placeholder="",
        column_config={
            "version": st.column_config.NumberColumn(width=56),
            "state": st.column_config.TextColumn(width=152),
            "registered": st.column_config.DatetimeColumn(format="YYYY-MM-DD HH:mm", width=120),
            "by": st.column_config.TextColumn(width=80),
            "learned": st.column_config.NumberColumn(width=64, help="Pictures that it learned from"),
            "held out": st.column_config.NumberColumn(width=64, help="Pictures that its threshold was calibrated on"),
            "threshold": st.column_config.NumberColumn(format="%.4g", width=76),
            "asked": st.column_config.NumberColumn(
                format="%.3g %%", width=64, help="False alarms that were asked for, of good parts"
            ),
            "at best": st.column_config.NumberColumn(
                format="%.3g %%", width=64, help="False alarms that its held-out pictures can promise, at best"
            ),
            "challenge": st.column_config.TextColumn(
                width="medium", help="Challenge parts found, with the exact 95 % interval of the share"
            ),
        },
        on_select=lambda: _choose(key, numbers),
        selection_mode="single-cell",  # a click anywhere in a row opens it, and so do the arrow keys
        selection_default={"selection": {"cells": [(numbers.index(chosen), "version")] if chosen in numbers else []}},
        alt="versions, newest first",
    )


def _choose(key: str, numbers: list[int]) -> None:
    cells = st.session_state[key].selection.cells
    if cells:
        st.query_params[_VERSION] = str(numbers[cells[0][0]])
    else:
        st.query_params.pop(_VERSION, None)
    st.session_state[_CHOSEN] = True


def _requests(now: Models) -> None:
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
        st.caption("Asked of the trainer", width="content")
        if now.trainers:
            st.badge("trainer running", icon=":material/check:", color="blue")
        elif now.trainers == 0:
            st.badge("no trainer", icon=":material/bedtime:", color="gray")
    if now.trainers == 0:
        waiting = any(request.open for request in now.requests)
        st.caption(
            "No trainer is running. "
            + ("What is asked for waits until one is" if waiting else "What is asked for here will wait until one is")
            + f": `{_START_A_TRAINER}`."
        )
    if not now.requests:
        st.caption("Nothing yet.")
    moment = utc_now()
    closed = [request for request in now.requests if not request.open][:_CLOSED_REQUESTS]
    for request in now.requests:
        if request.open or request in closed:
            _request(request, moment)


def _request(request: ModelRequest, now: datetime) -> None:
    with st.container(border=request.open, gap=None):
        with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
            st.text(model_words.asked(request), width="content")
            when = request.done_at or request.cancelled_at or request.taken_at or request.asked_at
            st.caption(f"{model_words.how_far(request)} · {words.age(now - when)}", width="content")
        if request.open and request.taken_at is not None and request.progress is not None:
            st.progress(min(max(request.progress, 0.0), 1.0))
        if request.message:
            st.text(request.message)
        if request.open and request.taken_at is None:
            with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
                st.text(f"by {request.who}", width="content")
                if access.may(Right.ENGINEER):
                    st.button(
                        "Cancel",
                        key=f"models-cancel-{request.id}",
                        on_click=_cancel,
                        args=(request.id,),
                        type="tertiary",
                    )


def _cancel(number: int) -> None:
    try:
        if not data.cancel(number):
            st.toast("It was taken or cancelled a moment ago.")
    except AccessDeniedError as error:
        st.toast(f"Not allowed: {error}.")
    except DatabaseAwayError:
        st.toast("Not cancelled: the database does not answer.")


def _nothing_yet() -> None:
    with st.container(border=True):
        st.markdown("#### No models yet")
        st.caption("The first model of a product is trained from pictures of good parts; it comes up here by itself.")
        st.code("differline train --product PRODUCT --images FOLDER", language=None)


def _no_model_yet(product: str) -> None:
    with st.container(border=True):
        st.markdown("#### No model of this product yet")
        st.text(product)
        st.caption(
            "Pictures of it were decided about. Ask for a refit, and it is learned from those that were released."
        )
