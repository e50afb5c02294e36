"""One version: its facts, its report, what it would change, and how models of its product came into force."""

import base64

import pandas as pd
import streamlit as st

from dashboard import model_words, words
from dashboard.data import models as data
from dashboard.data import pictures
from dashboard.data.models import Changed, Models
from dashboard.model_charts import histogram_figure
from dashboard.reports import shown_report
from dashboard.views import model_dialogs
from dashboard.views.calm import calmly
from infra.store.changed_frames import COUNTED_FRAMES, ChangedFrame, ChangedKey
from infra.store.promotions import ModelRow
from infra.store.tables import VerdictState

_PARTS = ("Facts", "Report", "Changed verdicts", "History")
_FILTERS = {"All": None, "It rejects": VerdictState.DEFECT, "It accepts": VerdictState.GOOD}
_PAGES = "models_changed_pages"  # in the session: whose pages, and the last frame of each before the one shown
_FACTS_IN_A_ROW = 4
_ROW_PX = 64
_PICTURE_PX = 240
_HASH_SHOWN = 16
_VERDICT_SIGNS = {
    VerdictState.GOOD: "✓ GOOD",
    VerdictState.DEFECT: "✕ DEFECT",
    VerdictState.NO_VERDICT: "? NO VERDICT",
}


def details(model: ModelRow, now: Models) -> None:
    """Draw a version, one part of it at a time."""
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
        with st.container(horizontal=True, vertical_alignment="center", width="content"):
            st.markdown(f"#### Version {model.version}")
            model_words.state_badge(model.state).show()
            if model.shadow:
                model_words.SHADOW_BADGE.show()
        model_dialogs.version_buttons(model, now)
    part = st.segmented_control(
        "Part shown",
        _PARTS,
        default="Facts",
        required=True,
        key="models_part",
        label_visibility="collapsed",
        persist_state="session",
    )
    with calmly():
        match part:
            case "Report":
                _report(model)
            case "Changed verdicts":
                _changed(model)
            case "History":
                _history(model)
            case _:
                _facts(model)


def _facts(model: ModelRow) -> None:
    zone = words.time_zone()
    facts = {
        "registered": words.local_time(model.registered_at, zone),
        "by": model.registered_by,
        "preset": model.preset,
        "views": f"{model.views}",
        "learned from": f"{model.training_frames:,} pictures",
        "calibrated on": f"{model.calibration_frames:,} held-out pictures",
        "threshold": words.number(model.threshold),
        "false alarms": f"{model.false_alarm_rate:.3%} asked, {model.attainable_rate:.3%} at best",
        "challenge parts found": model_words.challenge(model),
        "the model in force then": "—" if model.challenge_found_before is None else f"{model.challenge_found_before}",
        "flow, SHA-256": f"{model.flow_sha256[:_HASH_SHOWN]}…",
        "manifest, SHA-256": f"{model.manifest_sha256[:_HASH_SHOWN]}…",
    }
    names = list(facts)
    for first in range(0, len(names), _FACTS_IN_A_ROW):
        for column, name in zip(st.columns(_FACTS_IN_A_ROW), names[first : first + _FACTS_IN_A_ROW], strict=False):
            with column, st.container(gap=None):
                st.caption(name)
                st.text(facts[name])
    against = model.objections()
    if against:
        st.warning(
            "This speaks against it:\n\n" + "\n".join(f"- {line}" for line in against), icon=":material/warning:"
        )
    _scores(model)


def _scores(model: ModelRow) -> None:
    histogram = data.histogram(model.id)
    if histogram is None:
        st.caption("The scores of its calibration are not in the registry: it was registered by an earlier differline.")
        return
    st.vega_lite_chart(histogram_figure(histogram, model.threshold), width="stretch", key="models-scores")


def _report(model: ModelRow) -> None:
    if not model.report:
        st.caption("It has no report: `differline train` makes none, a refit does.")
        return
    text, markdown = shown_report(model.report)
    text_side, chart_side = st.columns([3, 2], gap="large")
    with text_side:
        if markdown:
            st.markdown(text)
        else:
            st.code(text, language=None, wrap_lines=True)
    with chart_side:
        _scores(model)


def _history(model: ModelRow) -> None:
    found = data.history(model.product)
    if not found:
        st.caption("No model of this product was ever in force.")
        return
    zone = words.time_zone()
    rows = pd.DataFrame(
        {
            "when": [each.done_at.astimezone(zone).replace(tzinfo=None) for each in found],
            "version": [each.version for each in found],
            "how": [model_words.promotion_kind(each.kind) for each in found],
            "instead of": [each.replaced for each in found],
            "by": [each.who for each in found],
            "reason": [each.reason for each in found],
        }
    ).astype({"instead of": "Int64"})
    st.dataframe(
        rows,
        key="models-history",
        hide_index=True,
        height="content" if len(found) <= 10 else 400,
        placeholder="",
        column_config={
            "when": st.column_config.DatetimeColumn(format="YYYY-MM-DD HH:mm:ss", width=150),
            "version": st.column_config.NumberColumn(width=56),
            "how": st.column_config.TextColumn(width=150),
            "instead of": st.column_config.NumberColumn(width=76),
            "by": st.column_config.TextColumn(width=120),
            "reason": st.column_config.TextColumn(width="large"),
        },
        alt="how models came into force, newest first",
    )


@st.fragment
def _changed(model: ModelRow) -> None:
    with calmly():
        seen = data.looked(model.id)
        if not seen.frames:
            st.caption(
                "It has not looked at the line yet: let it score in shadow, or score archived frames by `differline replay`."
            )
            return
        newest = "the newest " if seen.frames >= COUNTED_FRAMES else ""
        st.caption(
            f"Of {newest}{seen.frames:,} frames that it saw beside the verdicts on record it rejects {seen.rejects:,} more "
            f"and accepts {seen.accepts:,} more."
        )
        shown = st.segmented_control(
            "Which changed verdicts",
            list(_FILTERS),
            default="All",
            required=True,
            key="models_changed_shown",
            label_visibility="collapsed",
        )
        of = (model.id, shown)
        whose, pages = st.session_state.get(_PAGES, (of, ()))
        pages = pages if whose == of else ()
        found, more = data.changed_page(model.id, _FILTERS[shown or "All"], pages[-1] if pages else None)
        if not found:
            st.caption("It says the same as the verdicts on record." if shown == "All" else "None here.")
            return
        list_side, frame_side = st.columns([3, 2], gap="medium")
        with list_side:
            place = _changed_table(found, model)
            with st.container(horizontal=True, horizontal_alignment="distribute"):
                newer, older = (of, pages[:-1]), (of, (*pages, found[-1].frame.key))
                _turn("Newer", ":material/chevron_left:", newer, possible=bool(pages))
                _turn("Older", ":material/chevron_right:", older, possible=more)
        with frame_side:
            _side_by_side(found[place].frame, model)


def _turn(label: str, icon: str, to: tuple[object, tuple[ChangedKey, ...]], *, possible: bool) -> None:
    st.button(label, icon=icon, key=f"models-changed-{label}", disabled=not possible, on_click=_go, args=(to,))


def _go(to: tuple[object, tuple[ChangedKey, ...]]) -> None:
    st.session_state[_PAGES] = to


def _changed_table(found: tuple[Changed, ...], model: ModelRow) -> int:
    """Draw a page of frames; returns the place of the one that is selected."""
    zone = words.time_zone()
    frames = [each.frame for each in found]
    mine = f"version {model.version}"
    rows = pd.DataFrame(
        {
            "frame": [_data_url(each.picture) for each in found],
            "on record": [_VERDICT_SIGNS[frame.before] for frame in frames],
            "score": [frame.score_before for frame in frames],
            mine: [_VERDICT_SIGNS[frame.after] for frame in frames],
            "its score": [frame.score_after for frame in frames],
            "its p-value": [frame.p_value_after for frame in frames],
            "part": [frame.part_id for frame in frames],
            "camera": [frame.camera for frame in frames],
            "received": [frame.received_at.astimezone(zone).replace(tzinfo=None) for frame in frames],
        }
    )
    number = st.column_config.NumberColumn(format="%.3g", width=68)
    state = st.dataframe(
        rows,
        key=f"models-changed-{hash(tuple(frame.key for frame in frames))}",
        hide_index=True,
        height="content",
        row_height=_ROW_PX,
        placeholder="",
        column_config={
            "frame": st.column_config.ImageColumn(width=72),
            "on record": st.column_config.TextColumn(width=92),
            "score": number,
            mine: st.column_config.TextColumn(width=92),
            "its score": number,
            "its p-value": number,
            "received": st.column_config.DatetimeColumn(format="MM-DD HH:mm:ss", width=112),
        },
        on_select="rerun",
        selection_mode="single-cell",
        alt="changed verdicts, newest first",
    )
    cells = state["selection"]["cells"]
    place = int(cells[0][0]) if cells else 0
    return place if place < len(found) else 0


def _data_url(picture: bytes | None) -> str | None:
    return None if picture is None else f"data:image/jpeg;base64,{base64.b64encode(picture).decode()}"


def _side_by_side(frame: ChangedFrame, model: ModelRow) -> None:
    """Draw a frame, with the verdict on record on the left and the other model's on the right."""
    before_side, after_side = st.columns(2)
    with before_side, st.container(border=True):
        st.caption("on record" if frame.version_before is None else f"on record, version {frame.version_before}")
        words.verdict_badge(frame.before).show()
        _numbers(frame.score_before, frame.threshold_before, frame.p_value_before)
    with after_side, st.container(border=True):
        st.caption(f"version {model.version}, {model_words.source(frame.source)}")
        words.verdict_badge(frame.after).show()
        _numbers(frame.score_after, frame.threshold_after, frame.p_value_after)
    picture = pictures.small_picture(frame.archive_ref, _PICTURE_PX) if frame.archive_ref else None
    if picture is None:
        st.caption("The picture of this frame is not kept.")
    else:
        st.image(picture, width="content", alt="changed frame")
    st.text(f"part {frame.part_id or '—'}, frame {frame.frame_id}, camera {frame.camera}")
    received = words.local_time(frame.received_at, words.time_zone())
    st.caption(f"received {received} · picture {model_words.decision(frame.decision)}")


def _numbers(score: float | None, threshold: float | None, p_value: float | None) -> None:
    st.text(f"score {words.number(score)}\nthreshold {words.number(threshold)}\np-value {words.number(p_value)}")
