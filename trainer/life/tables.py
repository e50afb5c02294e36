"""Models and changed verdicts as text and as CSV, for people; without torch, so that a list of models is there at once."""

import csv
import io
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from infra.printable import printable
from infra.spreadsheet import cell
from infra.store.promotions import ModelRow, Promotion
from infra.store.second_verdicts import ChangedVerdict
from infra.store.tables import ModelState, VerdictState

if TYPE_CHECKING:
    from trainer.life.cameras import CameraLine
    from trainer.life.promotion import Examined

_WIDTH = 170
_MOST_SHOWN = 50
_STAMP = "%Y-%m-%d %H:%M:%S %Z"


def models_table(rows: Sequence[ModelRow]) -> str:
    """A model a line."""
    if not rows:
        return "there are no models"
    table = Table(
        "product",
        "version",
        "state",
        "registered",
        "by",
        "rate",
        "possible",
        "trained on",
        "calibrated on",
        "challenge",
    )
    for row in rows:
        _add(
            table,
            row.product,
            row.version,
            _state(row),
            f"{row.registered_at:{_STAMP}}",
            row.registered_by,
            f"{row.false_alarm_rate:.3%}",
            f"{row.attainable_rate:.3%}",
            row.training_frames,
            row.calibration_frames,
            _challenge(row),
        )
    return _text(table)


def model_text(row: ModelRow, others: Sequence[ModelRow] = ()) -> str:
    """What a model is, a property a line; the others are models of other products with the same flow."""
    table = Table(show_header=False)
    values = {
        "product": row.product,
        "version": row.version,
        "state": _state(row),
        "registered": f"{row.registered_at:{_STAMP}} by {row.registered_by}",
        "preset": f"{row.preset}, {row.views} views",
        "threshold": f"{row.threshold:.6g}",
        "false alarms": f"at most {row.false_alarm_rate:.3%} asked for, {row.attainable_rate:.3%} promised",
        "learned from": f"{row.training_frames} pictures, calibrated on {row.calibration_frames} others",
        "challenge parts": _challenge(row),
        "shares its flow with": ", ".join(f"{_name(other)} ({_state(other)})" for other in others)
        or "no other product",
        "folder": row.folder,
        "SHA-256 of the flow": row.flow_sha256,
        "SHA-256 of the manifest": row.manifest_sha256,
    }
    for name, value in values.items():
        _add(table, name, value)
    return _text(table)


def waiting_text(others: Sequence[ModelRow]) -> str:
    """Say which candidates have the flow of a model that was just put in force; nothing, where there are none."""
    waiting = [printable(_name(other)) for other in others if other.state is ModelState.CANDIDATE]
    if not waiting:
        return ""
    return (
        f"; {' and '.join(waiting)} of the same flow {'are candidates' if len(waiting) > 1 else 'is a candidate'} still"
    )


def cameras_table(lines: "Sequence[CameraLine]") -> str | None:
    """By which threshold the frames of each camera are judged; None where the model knows no camera."""
    if not lines:
        return None
    table = Table("camera", "calibrated on", "judged by")
    for line in lines:
        _add(table, *line)
    return _text(table)


def promotions_table(rows: Sequence[Promotion]) -> str:
    """How the models of a product came into force, newest first."""
    if not rows:
        return "no model of this product was ever in force"
    table = Table("in force since", "version", "instead of", "how", "who", "why")
    for row in rows:
        _add(table, f"{row.done_at:{_STAMP}}", row.version, row.replaced or "", row.kind, row.who, row.reason)
    return _text(table)


def examined_text(examined: "Examined") -> str:
    """What a model saw of the line, and what speaks against it."""
    seen = examined.seen
    head = (
        f"{seen.frames} frames of the line scored beside their verdicts: {seen.defects} called a defect, {seen.changed} "
        f"verdicts changed; {seen.false_alarms} of {seen.released} released pictures that it never saw called a defect"
    )
    return "\n".join([head, *(f"against it: {line}" for line in examined.objections)])


def changed_table(rows: Sequence[ChangedVerdict]) -> str:
    """Changed verdicts, parts that would now be rejected first, 50 at most; how many more there are is said."""
    if not rows:
        return "no verdict differs"
    ordered = sorted(rows, key=lambda row: (row.after is not VerdictState.DEFECT, row.received_at))
    table = Table(
        "part", "camera", "frame", "received", "on record", "this model", "score", "p-value", "decided", "source"
    )
    for row in ordered[:_MOST_SHOWN]:
        _add(
            table,
            row.part_id or "",
            row.camera,
            row.frame_id,
            f"{row.received_at:{_STAMP}}",
            row.before,
            row.after,
            f"{row.score_after:.4g}",
            f"{row.p_value_after:.4g}",
            row.decision,
            row.source,
        )
    rejected = sum(row.after is VerdictState.DEFECT for row in rows)
    more = f"; {_MOST_SHOWN} are shown, --changed FILE.csv writes all" if len(rows) > _MOST_SHOWN else ""
    return f"{_text(table)}\n{len(rows)} verdicts differ, {rejected} of them would be rejected now{more}"


def write_changed(file: Path, rows: Sequence[ChangedVerdict]) -> int:
    """Write changed verdicts as CSV; returns how many."""
    names = [field.name for field in fields(ChangedVerdict)]
    with file.open("w", newline="", encoding="utf-8") as out:
        writer = csv.writer(out)
        writer.writerow(names)
        writer.writerows([_plain(getattr(row, name)) for name in names] for row in rows)
    return len(rows)


def _plain(value: object) -> object:
    if isinstance(value, str):
        return cell(value)
    return value.isoformat() if hasattr(value, "isoformat") else value


def _name(row: ModelRow) -> str:
    return f"{row.product} version {row.version}"


def _state(row: ModelRow) -> str:
    return f"{row.state}, in shadow" if row.shadow else str(row.state)


def _challenge(row: ModelRow) -> str:
    if row.challenge_parts is None:
        return "none"
    before = "" if row.challenge_found_before is None else f" (before: {row.challenge_found_before})"
    return f"{row.challenge_found} of {row.challenge_parts}{before}"


def _add(table: Table, *values: object) -> None:
    table.add_row(*(Text(printable(str(value))) for value in values))  # text from outside is no markup


def _text(table: Table) -> str:
    text = io.StringIO()
    Console(file=text, width=_WIDTH).print(table)
    return text.getvalue().rstrip()
