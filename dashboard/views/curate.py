"""The curate page: one open frame large, the next ones beside it, and a key for each decision.

What is decided on is what was shown: buttons belong to one picture, so a key that is pressed twice, or before the next frame
has arrived, decides nothing about a frame that nobody has seen.
"""

import io

import streamlit as st
from PIL import Image

from dashboard import words
from dashboard.access import Right, may
from dashboard.data import curate as data
from dashboard.data import pictures
from dashboard.views import curation_session as session
from dashboard.views.calm import Pages, calmly
from dashboard.views.curation_session import PREFETCHED, REASON, SHOWN
from dashboard.views.refit_progress import show_progress
from infra.archive import reference_of
from infra.evidence import PictureState
from infra.heatmaps import overlay
from infra.store.curation_queue import CurationFrame
from infra.store.reasons import MAX_REASON
from infra.store.tables import FrameDecision, VerdictState

_IN_A_ROW = 4
_TILE_PX = 240
_TILE_HEIGHT_PX = 120
_LARGE_PX = 720
_LARGE_HEIGHT_PX = 420
_HEAT_STRENGTH = 0.7
_OPEN, _QUARANTINE = "Open", "In quarantine"

_EDITS = "curate_edits_reason"
_BULK = "curate_bulk"


@st.fragment
def page(_pages: Pages) -> None:
    """Draw the page."""
    with calmly():
        products = data.products()
        if not products:
            _nothing_yet()
            return
        with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
            product = st.selectbox(
                "Product",
                products,
                key="curate_product",
                label_visibility="collapsed",
                width=260,
                persist_state="session",
            )
            shown = st.segmented_control(
                "Frames",
                [_OPEN, _QUARANTINE],
                default=_OPEN,
                required=True,
                key="curate_frames",
                label_visibility="collapsed",
                persist_state="session",
            )
            counted = st.empty()
        if product is None:
            return
        quarantined = shown == _QUARANTINE
        counts = data.counts(product)
        counted.caption(
            f"{counts.waiting:,} open · {counts.quarantined:,} in quarantine · "
            f"{counts.released:,} released · {counts.rejected:,} rejected"
        )
        show_progress(data.due(product))
        _what_was_said()
        waiting = session.waiting(product, quarantined=quarantined)
        _bench(product, waiting, quarantined=quarantined, left=counts.quarantined if quarantined else counts.waiting)


def _nothing_yet() -> None:
    with st.container(border=True):
        st.markdown("#### No frames to decide about yet")
        st.caption("Scorers keep pictures of the line in the archive; the open ones come up here.")


def _bench(product: str, waiting: list[CurationFrame], *, quarantined: bool, left: int) -> None:
    if may(Right.INSPECT):
        if _standing_reason_is_asked_for():
            _ask_for_reason()
        with st.container(horizontal=True, vertical_alignment="center"):
            _keys(product, waiting[0] if waiting else None, quarantined=quarantined)
            _standing_reason()
            if waiting and not quarantined:
                _all_at_once(product, waiting[:SHOWN])
    if not waiting:
        _all_seen(left)
        return
    large_side, grid_side = st.columns([5, 6], gap="medium")
    with large_side:
        _large(waiting[0])
        _facts(waiting[0])
    with grid_side:
        _grid(waiting[:SHOWN])
    for following in waiting[1 : 1 + PREFETCHED]:
        pictures.small_picture(reference_of(following.frame.sha256), _LARGE_PX)


def _all_seen(left: int) -> None:
    with st.container(border=True):
        if not left:
            st.markdown("#### Nothing is open here")
            st.caption("Frames that come in and are kept come up here.")
            return
        st.markdown("#### That was the last one")
        st.caption(f"{left:,} are open: skipped, or they came in meanwhile.")
        st.button("From the beginning", icon=":material/restart_alt:", key="curate_again", on_click=session.again)


def _keys(product: str, current: CurationFrame | None, *, quarantined: bool) -> None:
    """A button and a key for each decision; they belong to the picture that is shown."""
    reason = st.session_state.get(REASON, "")
    # While something is typed or confirmed, keys are for that.
    live = bool(reason) and not st.session_state.get(_EDITS) and not st.session_state.get(_BULK)
    if current is not None:
        of = current.frame.sha256
        for label, icon, key, decision, challenge in (
            ("Release", ":material/check:", "G", FrameDecision.RELEASED, False),
            ("Reject", ":material/close:", "X", FrameDecision.REJECTED, False),
            ("Challenge", ":material/flag:", "K", FrameDecision.REJECTED, True),
        ):
            st.button(
                label,
                key=f"curate_{key}_{of}",
                icon=icon,
                type="primary" if label == "Release" and not quarantined else "secondary",
                shortcut=key if live else None,
                disabled=not live,
                help=_HELP[key],
                on_click=session.decide,
                args=(product, [current], decision),
                kwargs={"challenge": challenge},
            )
        st.button(
            "Skip", key=f"curate_S_{of}", icon=":material/skip_next:", shortcut=None if _busy() else "S",
            help=_HELP["S"], on_click=session.skip, args=(of,),
        )  # fmt: skip
    undo = session.session().done
    number = max(undo[-1].numbers.values()) if undo else 0
    st.button(
        "Undo", key=f"curate_U_{number}", icon=":material/undo:", shortcut="U" if undo and not _busy() else None,
        disabled=not undo, help=_HELP["U"], on_click=session.undo_last,
    )  # fmt: skip


_HELP = {
    "G": "Good: models may learn from it",
    "X": "Not to be learned from",
    "K": "Rejected, and shown to each new model as a known defect",
    "S": "Leave it open and look at the next one",
    "U": "Open again what you decided last, up to 100 times",
}


def _busy() -> bool:
    return bool(st.session_state.get(_EDITS) or st.session_state.get(_BULK))


def _what_was_said() -> None:
    said = session.session().said
    if said is not None:
        st.warning(said.text, icon=":material/info:")
        if said.theirs:
            st.text(said.theirs)


def _standing_reason_is_asked_for() -> bool:
    return not st.session_state.get(REASON) or bool(st.session_state.get(_EDITS))


def _ask_for_reason() -> None:
    """Ask for the reason that stands beside each decision of this session; the field is gone afterwards, so keys are keys."""
    with st.form("curate_reason_form"), st.container(horizontal=True, vertical_alignment="bottom"):
        typed = st.text_input(
            "Reason that stands beside each of your decisions",
            value=st.session_state.get(REASON, ""),
            max_chars=MAX_REASON,
            placeholder="e.g. eye check, light as usual",
        )
        if st.form_submit_button("Use it", icon=":material/check:"):
            if typed and typed.strip():
                st.session_state[REASON] = typed.strip()
                st.session_state[_EDITS] = False
                st.rerun()
            st.error("Write a reason first.", icon=":material/edit:")


def _standing_reason() -> None:
    if _standing_reason_is_asked_for():
        return
    st.caption("Reason:", width="content")
    st.text(st.session_state[REASON], width="content")
    st.button("Change", key="curate_change", type="tertiary", icon=":material/edit:", on_click=_edit_reason)


def _edit_reason() -> None:
    st.session_state[_EDITS] = True


def _all_at_once(product: str, shown: list[CurationFrame]) -> None:
    st.button(
        f"Release all {len(shown)} shown",
        key="curate_all",
        icon=":material/done_all:",
        disabled=not st.session_state.get(REASON) or _busy(),
        on_click=_ask_for_all,
    )
    if st.session_state.get(_BULK):
        _confirm(product, shown)


def _ask_for_all() -> None:
    st.session_state[_BULK] = True


def _not_for_all() -> None:
    st.session_state[_BULK] = False


@st.dialog("Release all that is shown", on_dismiss=_not_for_all)
def _confirm(product: str, shown: list[CurationFrame]) -> None:
    whole = [each for each in shown if _tile_picture(each) is not None]
    st.markdown(f"**{len(whole)} frames** become pictures that models learn from, for one reason:")
    st.text(st.session_state.get(REASON, ""))
    if len(whole) < len(shown):
        st.caption(f"{len(shown) - len(whole)} of those shown are left out: their pictures cannot be had.")
    with st.container(horizontal=True):
        if st.button(f"Release {len(whole)}", type="primary", key="curate_confirm", disabled=not whole):
            _not_for_all()
            session.decide(product, whole, FrameDecision.RELEASED)
            st.rerun()
        if st.button("Cancel", key="curate_cancel"):
            _not_for_all()
            st.rerun()


def _large(current: CurationFrame) -> None:
    picture = pictures.picture(reference_of(current.frame.sha256))
    if picture is None:
        with st.container(height=_LARGE_HEIGHT_PX, vertical_alignment="center", horizontal_alignment="center"):
            st.caption(f"{_TROUBLES[data.trouble(current.frame.sha256)]}; it cannot be released")
        return
    small = pictures.small_picture(reference_of(current.frame.sha256), _LARGE_PX)
    heat = data.heat(current)
    height, width = picture.shape[:2]
    shown_width = max(120, width * _LARGE_HEIGHT_PX // height)  # a wide one fills its column and is lower
    sides = st.columns(1 if heat is None else 2, gap="small")
    with sides[0], st.container(width=shown_width):
        st.image(small or picture, width="stretch", alt="current frame")
    if heat is not None:
        with sides[1], st.container(width=shown_width):
            st.image(overlay(picture, heat, _HEAT_STRENGTH), width="stretch", alt="where it differs")


_TROUBLES = {
    PictureState.WHOLE: "cannot be decoded",
    PictureState.ALTERED: "altered in the archive",
    PictureState.ANOTHER: "the record names another picture",
    PictureState.MISSING: "gone from the archive",
    PictureState.NOT_KEPT: "not kept",
    PictureState.ARCHIVE_AWAY: "the archive does not answer",
}


def _facts(current: CurationFrame) -> None:
    frame = current.frame
    with st.container(horizontal=True, vertical_alignment="center"):
        words.verdict_badge(frame.state).show()
        st.caption(
            f"score {words.number(frame.score)} · threshold {words.number(current.threshold)} · "
            f"p-value {words.number(frame.p_value)}",
            width="content",
        )
    facts = {
        "camera": frame.camera,
        "part": frame.part_id or "—",
        "production run": frame.run,
        "received": words.local_time(frame.received_at, words.time_zone()),
    }
    names = list(facts)
    for first in (0, 2):
        for column, name in zip(st.columns([2, 3]), names[first : first + 2], strict=True):
            with column, st.container(gap=None):
                st.caption(name)
                st.text(facts[name])


def _grid(shown: list[CurationFrame]) -> None:
    for first in range(0, len(shown), _IN_A_ROW):
        for column, each in zip(st.columns(_IN_A_ROW, gap="small"), shown[first : first + _IN_A_ROW], strict=False):
            with column:
                _tile(each, current=each is shown[0])


def _tile(each: CurationFrame, *, current: bool) -> None:
    sha256 = each.frame.sha256
    with st.container(height=_TILE_HEIGHT_PX, border=False, horizontal_alignment="center", vertical_alignment="center"):
        picture = _tile_picture(each)
        if picture is None:
            st.caption(_TROUBLES[data.trouble(sha256)])
        else:
            with Image.open(io.BytesIO(picture)) as opened:
                width, height = opened.size
            st.image(
                picture, width=max(1, width * _TILE_HEIGHT_PX // height), alt="current" if current else "open frame"
            )
    badge = words.verdict_badge(each.frame.state)
    p_value = f"p {words.number(each.frame.p_value)}"
    st.button(
        p_value if each.frame.state is VerdictState.GOOD else f"{badge.label} {p_value}",
        key=f"curate_tile_{sha256}",
        type="primary" if current else "tertiary",
        width="stretch",
        on_click=session.look_at,
        args=(sha256,),
    )


def _tile_picture(each: CurationFrame) -> bytes | None:
    return pictures.small_picture(reference_of(each.frame.sha256), _TILE_PX)
