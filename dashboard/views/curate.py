"""The curate page: one open frame large, the next ones beside it, and a key for each decision.

What is decided on is what was shown: buttons belong to one picture, so a key that is pressed twice, or before the next frame
has arrived, decides nothing about a frame that nobody has seen.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass, field

import streamlit as st
from PIL import Image

from dashboard import words
from dashboard.access import Right, may
from dashboard.data import curate as data
from dashboard.data import pictures
from dashboard.views.calm import Pages, calmly
from dashboard.views.refit_progress import show_progress
from infra.archive import reference_of
from infra.errors import AccessDeniedError, CurationError, DatabaseAwayError
from infra.evidence import PictureState
from infra.heatmaps import overlay
from infra.store.alerts import MAX_REASON
from infra.store.curation import Decided
from infra.store.curation_queue import CurationFrame, QueueKey
from infra.store.tables import FrameDecision, VerdictState

SHOWN = 12  # frames of the grid
MOST_UNDONE = 100
_IN_A_ROW = 4
_TILE_PX = 240
_TILE_HEIGHT_PX = 120
_LARGE_PX = 720
_LARGE_HEIGHT_PX = 420
_PREFETCHED = 2
_HEAT_STRENGTH = 0.7
_OPEN, _QUARANTINE = "Open", "In quarantine"

_QUEUE = "curate_queue"
_UNDO = "curate_undo"
_REASON = "curate_reason"
_EDITS = "curate_edits_reason"
_SAID = "curate_said"
_BULK = "curate_bulk"
_DECIDED = "curate_just_decided"


@dataclass
class _Queue:
    """What this session still has to look at; bounded by the stretches of the store.

    Attributes:
        sha256: The pictures, in the order in which they are shown; the first one is the current one.
        after: Where the next stretch begins; None: there is none.
        fresh: Whether nothing of it was shown yet.
    """

    product: str
    quarantined: bool
    sha256: list[str] = field(default_factory=list)
    after: QueueKey | None = None
    fresh: bool = True


@dataclass(frozen=True)
class _Said:
    """What became of the last press: our own words, and beneath them what somebody else wrote."""

    text: str
    theirs: str = ""


@dataclass(frozen=True)
class _Done:
    """Decisions of one press, to be taken back together."""

    product: str
    quarantined: bool
    numbers: dict[str, int]


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
        counts = data.counts(product, anew=st.session_state.pop(_DECIDED, False))
        counted.caption(
            f"{counts.waiting:,} open · {counts.quarantined:,} in quarantine · "
            f"{counts.released:,} released · {counts.rejected:,} rejected"
        )
        show_progress(data.due(product))
        _what_was_said()
        waiting = _waiting(product, quarantined=quarantined)
        _bench(product, waiting, quarantined=quarantined, left=counts.quarantined if quarantined else counts.waiting)


def _nothing_yet() -> None:
    with st.container(border=True):
        st.markdown("#### No frames to decide about yet")
        st.caption("Scorers keep pictures of the line in the archive; the open ones come up here.")


def _waiting(product: str, *, quarantined: bool) -> list[CurationFrame]:
    """The next open frames of this session's queue, as they stand at this moment."""
    queue: _Queue | None = st.session_state.get(_QUEUE)
    if queue is None or (queue.product, queue.quarantined) != (product, quarantined):
        queue = st.session_state[_QUEUE] = _Queue(product, quarantined)
    for _ in range(8):  # a bound: after so many stretches that others have worked off, the next press goes on
        if len(queue.sha256) < SHOWN and (queue.fresh or queue.after is not None):
            stretch = data.next_stretch(product, quarantined=quarantined, after=queue.after)
            queue.sha256 += [each for each in stretch.sha256 if each not in set(queue.sha256)]
            queue.after, queue.fresh = stretch.last, False
        looked = queue.sha256[: SHOWN + _PREFETCHED]
        found = [each for each in data.frames(product, looked) if each.decision is FrameDecision.OPEN]
        still = {each.frame.sha256 for each in found}
        queue.sha256 = [each for each in queue.sha256 if each in still or each not in looked]
        if len(still) == len(looked) and (len(found) >= SHOWN or queue.after is None):
            break
    return found


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
    for following in waiting[1 : 1 + _PREFETCHED]:
        pictures.small_picture(reference_of(following.frame.sha256), _LARGE_PX)


def _all_seen(left: int) -> None:
    with st.container(border=True):
        if not left:
            st.markdown("#### Nothing is open here")
            st.caption("Frames that come in and are kept come up here.")
            return
        st.markdown("#### That was the last one")
        st.caption(f"{left:,} are open: skipped, or they came in meanwhile.")
        st.button("From the beginning", icon=":material/restart_alt:", key="curate_again", on_click=_again)


def _again() -> None:
    st.session_state.pop(_QUEUE, None)


def _keys(product: str, current: CurationFrame | None, *, quarantined: bool) -> None:
    """A button and a key for each decision; they belong to the picture that is shown."""
    reason = st.session_state.get(_REASON, "")
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
                on_click=_decide,
                args=(product, [current], decision),
                kwargs={"challenge": challenge},
            )
        st.button(
            "Skip", key=f"curate_S_{of}", icon=":material/skip_next:", shortcut=None if _busy() else "S",
            help=_HELP["S"], on_click=_skip, args=(of,),
        )  # fmt: skip
    undo: list[_Done] = st.session_state.get(_UNDO, [])
    number = max(undo[-1].numbers.values()) if undo else 0
    st.button(
        "Undo", key=f"curate_U_{number}", icon=":material/undo:", shortcut="U" if undo and not _busy() else None,
        disabled=not undo, help=_HELP["U"], on_click=_undo_last,
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


def _decide(product: str, seen: Sequence[CurationFrame], decision: FrameDecision, *, challenge: bool = False) -> None:
    try:
        done = data.decide(product, seen, decision, st.session_state.get(_REASON, ""), challenge=challenge)
    except (AccessDeniedError, CurationError, ValueError) as error:
        _say(f"Not saved: {error}.")
        return
    except DatabaseAwayError:
        _say("Not saved: the database does not answer. The frame stays; try again in a moment.")
        return
    _from_queue([each.frame.sha256 for each in seen])
    if done.recorded:
        queue: _Queue | None = st.session_state.get(_QUEUE)
        latest = _Done(product, queue is not None and queue.quarantined, done.recorded)
        st.session_state[_UNDO] = [*st.session_state.get(_UNDO, []), latest][-MOST_UNDONE:]
        st.session_state[_DECIDED] = True
    _say_overtaken(done)


def _skip(sha256: str) -> None:
    _from_queue([sha256])


def _from_queue(sha256: Sequence[str]) -> None:
    queue: _Queue | None = st.session_state.get(_QUEUE)
    if queue is not None:
        queue.sha256 = [each for each in queue.sha256 if each not in sha256]


def _undo_last() -> None:
    undo: list[_Done] = st.session_state.get(_UNDO, [])
    if not undo:
        return
    last = undo[-1]
    try:
        done = data.take_back(last.product, last.numbers, "taken back")
    except (AccessDeniedError, ValueError) as error:
        _say(f"Not taken back: {error}.")
        return
    except DatabaseAwayError:
        _say("Not taken back: the database does not answer. Try again in a moment.")
        return
    st.session_state[_UNDO] = undo[:-1]
    st.session_state[_DECIDED] = True
    queue: _Queue | None = st.session_state.get(_QUEUE)
    if queue is not None and (queue.product, queue.quarantined) == (last.product, last.quarantined):
        queue.sha256 = [*done.recorded, *(each for each in queue.sha256 if each not in done.recorded)]
    _say_overtaken(done)


def _say_overtaken(done: Decided) -> None:
    if not done.overtaken:
        return
    theirs = done.overtaken[0]
    who_and_why = f"{theirs.who}, {theirs.decision}: {theirs.reason}"
    many = "a frame" if len(done.overtaken) == 1 else f"{len(done.overtaken)} frames"
    _say(f"Somebody has decided about {many} meanwhile; that stays as it is.", who_and_why)


def _say(text: str, theirs: str = "") -> None:
    st.session_state[_SAID] = _Said(text, theirs)


def _what_was_said() -> None:
    said: _Said | None = st.session_state.pop(_SAID, None)
    if said is not None:
        st.warning(said.text, icon=":material/info:")
        if said.theirs:
            st.text(said.theirs)


def _standing_reason_is_asked_for() -> bool:
    return not st.session_state.get(_REASON) or bool(st.session_state.get(_EDITS))


def _ask_for_reason() -> None:
    """Ask for the reason that stands beside each decision of this session; the field is gone afterwards, so keys are keys."""
    with st.form("curate_reason_form"), st.container(horizontal=True, vertical_alignment="bottom"):
        typed = st.text_input(
            "Reason that stands beside each of your decisions",
            value=st.session_state.get(_REASON, ""),
            max_chars=MAX_REASON,
            placeholder="e.g. eye check, light as usual",
        )
        if st.form_submit_button("Use it", icon=":material/check:"):
            if typed and typed.strip():
                st.session_state[_REASON] = typed.strip()
                st.session_state[_EDITS] = False
                st.rerun()
            st.error("Write a reason first.", icon=":material/edit:")


def _standing_reason() -> None:
    if _standing_reason_is_asked_for():
        return
    st.caption("Reason:", width="content")
    st.text(st.session_state[_REASON], width="content")
    st.button("Change", key="curate_change", type="tertiary", icon=":material/edit:", on_click=_edit_reason)


def _edit_reason() -> None:
    st.session_state[_EDITS] = True


def _all_at_once(product: str, shown: list[CurationFrame]) -> None:
    st.button(
        f"Release all {len(shown)} shown",
        key="curate_all",
        icon=":material/done_all:",
        disabled=not st.session_state.get(_REASON) or _busy(),
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
    st.text(st.session_state.get(_REASON, ""))
    if len(whole) < len(shown):
        st.caption(f"{len(shown) - len(whole)} of those shown are left out: their pictures cannot be had.")
    with st.container(horizontal=True):
        if st.button(f"Release {len(whole)}", type="primary", key="curate_confirm", disabled=not whole):
            _not_for_all()
            _decide(product, whole, FrameDecision.RELEASED)
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
        on_click=_look_at,
        args=(sha256,),
    )


def _tile_picture(each: CurationFrame) -> bytes | None:
    return pictures.small_picture(reference_of(each.frame.sha256), _TILE_PX)


def _look_at(sha256: str) -> None:
    queue: _Queue | None = st.session_state.get(_QUEUE)
    if queue is not None and sha256 in queue.sha256:
        queue.sha256 = [sha256, *(each for each in queue.sha256 if each != sha256)]
