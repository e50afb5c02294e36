"""How outputs stand, as tables for people and as JSON."""

import io
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from infra.printable import moment, printable
from infra.store.output_cursors import OutputState
from infra.store.output_refusals import Refusal

_WIDTH = 160


def outputs_table(states: Sequence[OutputState], refused: Mapping[str, int]) -> str:
    """Return the outputs as a table of text."""
    table = Table("output", "relay", "waiting", "oldest", "refused", "since", "last moved", title="outputs")
    for state in states:
        relay = "works for it" if state.at_work else f"none since {moment(state.turn_at)}"
        oldest = "" if state.waiting.oldest_at is None else moment(state.waiting.oldest_at)
        moved = "never" if state.moved_at is None else moment(state.moved_at)
        counts = (f"{state.waiting.rows:,}", oldest, f"{refused.get(state.sink, 0):,}")
        table.add_row(escape(printable(state.sink)), relay, *counts, moment(state.begun_at), moved)
    return _text(table) if states else "no output was ever on"


def outputs_json(states: Sequence[OutputState], refused: Mapping[str, int]) -> list[dict[str, object]]:
    """Return the outputs as JSON-ready data; times are ISO 8601 in UTC."""
    return [
        {
            "output": state.sink,
            "relayAtWork": state.at_work,
            "relayAt": state.turn_at.isoformat(),
            "waiting": state.waiting.rows,
            "oldest": None if state.waiting.oldest_at is None else state.waiting.oldest_at.isoformat(),
            "refused": refused.get(state.sink, 0),
            "since": state.begun_at.isoformat(),
            "lastMoved": None if state.moved_at is None else state.moved_at.isoformat(),
        }
        for state in states
    ]


def refusals_table(refusals: Sequence[Refusal]) -> str:
    """Return what was refused as a table of text."""
    table = Table("number", "output", "kind", "camera", "frame", "refused", "reason", "again", title="refused messages")
    for each in refusals:
        again = "" if each.again_at is None else "to be sent"
        texts = (each.sink, each.kind, each.camera or "", each.frame_id, moment(each.refused_at), each.reason, again)
        table.add_row(str(each.number), *(escape(printable(text)) for text in texts))
    return _text(table) if refusals else "nothing is refused"


def _text(table: Table) -> str:
    table.title_justify = "left"
    for column in table.columns:
        column.overflow = "fold"  # nothing is cut off
    text = io.StringIO()
    Console(file=text, width=_WIDTH).print(table)
    return text.getvalue().rstrip()
