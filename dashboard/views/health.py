"""The health page: what waits, how long each stage takes, dead letters with their picture, space and versions."""

import json

import pandas as pd
import streamlit as st

from dashboard import access, words
from dashboard.access import Right
from dashboard.data import health as data
from dashboard.data import pictures
from dashboard.data.health import Flow
from dashboard.views.calm import Pages, calmly
from dashboard.views.turning import newer_button, older_button
from infra.errors import AccessDeniedError, BadFrameError, TransientError
from infra.store.health import Letter, LetterKey
from infra.store.reasons import MAX_REASON

_REFRESH_S = 5
_PAGES = "health_pages"  # in the session: the last dead letter of each page before the one shown
_SENT = "health_sent"
_PICTURE_PX = 320
_STAGES = {
    "to_bus": "from the camera to the bus",
    "waiting": "waiting on the bus, until its score",
    "decoding": "decoding",
    "scoring": "scoring: its share of a batch",
    "committing": "from its score to the committed verdict",
    "in_all": "in all, from the camera to the verdict",
}


def page(_pages: Pages) -> None:
    """Draw the page; the flow runs again by itself."""
    _flow()
    with calmly():
        _letters()
    with calmly():
        _space_and_versions()


@st.fragment(run_every=_REFRESH_S)
def _flow() -> None:
    with calmly():
        flow = data.flow()
        _numbers(flow)
        stages_side, partitions_side = st.columns(2, gap="medium")
        with stages_side:
            _stages(flow)
        with partitions_side:
            _partitions(flow)


def _numbers(flow: Flow) -> None:
    pace = flow.frames_a_second
    last = "no frame yet" if flow.pace.last is None else words.age(flow.now - flow.pace.last)
    numbers = {
        "waiting on the bus": "bus away" if flow.waiting is None else f"{flow.waiting:,} frames",
        "throughput": "—" if pace is None else f"{pace:.3g} a second",
        "last frame": last,
        "waiting for the relay": f"{flow.outbox_rows:,} messages",
        "oldest of them": "—" if flow.outbox_since is None else words.age(flow.now - flow.outbox_since),
        "scorers alive": "not known" if flow.scorers is None else str(flow.scorers),
    }
    for column, (name, value) in zip(st.columns(len(numbers)), numbers.items(), strict=True):
        with column, st.container(border=True, gap=None):
            st.caption(name)
            st.text(value)
    if flow.partitions is None:
        st.warning("The bus does not answer: nobody knows what waits there.", icon=":material/cloud_off:")
    elif any(each.state for each in flow.partitions):
        st.error("The bus ends before a stored position; `differline positions` says more.", icon=":material/error:")


def _stages(flow: Flow) -> None:
    st.markdown("##### Where the time goes")
    if not flow.pace.stages:
        st.caption("No frame was scored yet.")
        return
    rows = pd.DataFrame(
        {
            "stage": [_STAGES[stage.name] for stage in flow.pace.stages],
            "median": [_seconds(stage.median) for stage in flow.pace.stages],
            "95 % under": [_seconds(stage.high) for stage in flow.pace.stages],
        }
    )
    st.dataframe(rows, hide_index=True, height="content", key="health-stages", alt="time of each stage")
    frames = "frame" if flow.pace.frames == 1 else "frames"
    st.caption(
        f"Of the newest {flow.pace.frames:,} {frames}; the cameras' clocks count for the first and the last row."
    )


def _partitions(flow: Flow) -> None:
    st.markdown("##### What waits where")
    if not flow.partitions:
        st.caption("Nothing is known of the bus.")
        return
    now = flow.now
    rows = pd.DataFrame(
        {
            "partition": [f"{each.partition.topic}/{each.partition.number}" for each in flow.partitions],
            "waiting": [each.waiting for each in flow.partitions],
            "on the bus": [None if each.held is None else each.held.end - each.held.oldest for each in flow.partitions],
            "scorer": [each.stored.worker if each.stored else None for each in flow.partitions],
            "moved": [words.age(now - each.stored.updated_at) if each.stored else "—" for each in flow.partitions],
        }
    )
    if rows["on the bus"].isna().all() or _by_time(flow):
        rows = rows.drop(columns="on the bus")
    st.dataframe(rows, hide_index=True, height="content", key="health-partitions", alt="what waits in each partition")


def _by_time(flow: Flow) -> bool:
    """Offsets of Redis Streams are times, so their difference is no count."""
    return any(each.held is not None and each.held.end > 10**12 for each in flow.partitions or ())


def _letters() -> None:
    st.markdown("##### Dead letters")
    before: list[LetterKey] = st.session_state.setdefault(_PAGES, [])
    found, more = data.letters(before[-1] if before else None)
    if not found and not before:
        st.caption("None: every frame that came in could be read.")
        return
    if sent := st.session_state.pop(_SENT, None):
        st.success("Sent again; its verdict will stand under the id below.", icon=":material/send:")
        st.code(sent, language=None)
    st.caption("Frames that could not be judged, newest first. Each is kept, byte for byte, and can be sent again.")
    for number, letter in enumerate(found):
        _letter(letter, number)
    with st.container(horizontal=True):
        newer_button(_PAGES, possible=bool(before), key="health-newer")
        older_button(_PAGES, found[-1].key if more else None, key="health-older")


def _letter(letter: Letter, number: int) -> None:
    with st.container(border=True):
        picture_side, facts_side, act_side = st.columns([1, 2, 1], gap="medium")
        with picture_side:
            _picture(letter)
        with facts_side:
            facts = {
                "reason": f"{letter.reason.replace('_', ' ')}: {letter.detail}",
                "camera": letter.camera or "none named",
                "frame": letter.frame_id,
                "where": f"{letter.topic}/{letter.partition}/{letter.bus_offset}",
                "received": words.local_time(letter.received_at, words.time_zone()),
            }
            for name, value in facts.items():
                with st.container(horizontal=True, gap="small"):
                    st.caption(name, width=70)
                    st.text(value)
        with act_side:
            with st.popover("Headers", icon=":material/list:"):
                st.code(json.dumps(letter.headers, indent=2), language=None)
            if access.may(Right.ENGINEER):
                _send_form(letter, number)


def _picture(letter: Letter) -> None:
    found = None if letter.body_ref is None else pictures.small_picture(letter.body_ref, _PICTURE_PX)
    if found is not None:
        st.image(found, width="stretch", alt="picture of the dead letter")
    elif letter.body_ref is None:
        st.caption("It has no body.")
    else:
        st.caption("Its body is no picture that can be read.")


def _send_form(letter: Letter, number: int) -> None:
    with st.popover("Send again", icon=":material/send:"), st.form(f"health-send-{number}", border=False):
        reason = st.text_input("Reason", max_chars=MAX_REASON, placeholder="What was mended")
        if not st.form_submit_button("Send", type="primary"):
            return
        try:
            st.session_state[_SENT] = data.send_letter_again(letter.key, reason)
        except (ValueError, LookupError) as error:
            st.error(f"Not sent: {error.args[0]}.", icon=":material/error:")
        except AccessDeniedError as error:
            st.error(f"Not allowed: {error}.", icon=":material/lock:")
        except BadFrameError:
            st.error("Not sent: its body is gone from the archive.", icon=":material/error:")
        except TransientError:
            st.error(
                "Not known to be sent: something does not answer. To try again is safe.", icon=":material/cloud_off:"
            )
        else:
            st.rerun()


def _space_and_versions() -> None:
    space_side, versions_side = st.columns(2, gap="medium")
    with space_side:
        st.markdown("##### Space")
        space = data.space()
        if space.free_bytes is not None and space.disk_bytes:
            st.progress(
                1 - space.free_bytes / space.disk_bytes,
                text=f"{_bytes(space.free_bytes)} of {_bytes(space.disk_bytes)} free where the pictures are kept",
            )
        st.text(f"pictures: {space.archive}")
        rows = pd.DataFrame(
            {
                "table": [table.name for table in space.tables],
                "size": [_bytes(table.bytes) for table in space.tables],
                "since": [table.oldest_day for table in space.tables],
            }
        )
        st.dataframe(rows, hide_index=True, height=250, placeholder="", key="health-tables", alt="size of the tables")
        st.caption("Nothing is thrown away by itself: days are dropped by whoever keeps the database.")
    with versions_side:
        st.markdown("##### Versions")
        found = data.versions()
        rows = pd.DataFrame({"what": list(found), "version": list(found.values())})
        st.dataframe(rows, hide_index=True, height="content", key="health-versions", alt="versions")


def _seconds(value: float) -> str:
    return f"{value * 1000:.3g} ms" if abs(value) < 1 else f"{value:.3g} s"


def _bytes(count: int) -> str:
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"
