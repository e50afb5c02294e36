"""A verdict traced back to what it stands on, as text for people and as JSON."""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from infra.archive import open_archive
from infra.engines import Engines
from infra.errors import SettingsError
from infra.evidence import (
    FLOW_FILE,
    MANIFEST_FILE,
    FileState,
    ModelEvidence,
    PictureState,
    model_evidence,
    picture_state,
)
from infra.printable import moment, printable
from infra.settings import Settings
from infra.store.connect import open_database
from infra.store.traces import Deed, Trace, TracedAlert, TracedDeadLetter, TracedModel, TracedVerdict, read_trace

_HASHES_SHOWN = 3
_FILE = {
    FileState.WHOLE: "on disk, unchanged",
    FileState.ALTERED: "THE FILE ON DISK WAS ALTERED",
    FileState.MISSING: "THE FILE IS NOT ON DISK",
    FileState.UNREADABLE: "THE FILE ON DISK CANNOT BE READ",
}
_PICTURE = {
    PictureState.WHOLE: "in the archive, and has its hash",
    PictureState.ALTERED: "IN THE ARCHIVE, BUT ALTERED: it does not have its hash",
    PictureState.ANOTHER: "THE RECORD NAMES ANOTHER PICTURE OF THE ARCHIVE",
    PictureState.MISSING: "NOT IN THE ARCHIVE ANY MORE: it was kept",
    PictureState.NOT_KEPT: "not in the archive: it was not kept",
    PictureState.ARCHIVE_AWAY: "not looked for: the archive does not answer",
}


@dataclass(frozen=True, slots=True)
class TraceReport:
    """What is on record about a frame, and what is found of it on disk and in the archive now.

    Attributes:
        pictures: One for each verdict, then one for each dead letter; None where there was no body.
        models: What is found of each model, by product and version.
    """

    trace: Trace
    pictures: tuple[PictureState | None, ...]
    models: dict[tuple[str, int], ModelEvidence]

    def as_json(self) -> dict[str, Any]:
        """Return all of it, with every hash; times in ISO 8601 (UTC), a score that is not finite as text."""
        found: dict[str, Any] = _plain(asdict(self.trace))
        for frame, picture in zip([*found["verdicts"], *found["dead_letters"]], self.pictures, strict=True):
            frame["picture"] = picture
            if model := frame.get("model"):
                model |= _plain(asdict(self.models[model["product"], model["version"]]))
        return found


def current_trace(
    settings: Settings, engines: Engines, frame_id: str, camera: str | None = None, *, as_of: datetime | None = None
) -> TraceReport:
    """Trace a frame, and look whether files and pictures are what they were.

    Args:
        settings: Where the archive is.
        engines: Where the database is.
        frame_id: The frame's id.
        camera: Its camera; None: every camera that has such a frame.
        as_of: What came on record later is left out; files and pictures are looked at as they are now.

    Raises:
        DatabaseAwayError: PostgreSQL does not answer.
    """
    database = open_database(engines.database_url, pool_size=1)
    try:
        trace = read_trace(database, frame_id, camera, as_of=as_of)
    finally:
        database.dispose()
    archive = open_archive(settings.archive_location)
    judged = [picture_state(archive, each.sha256, each.archive_ref) for each in trace.verdicts]
    unjudged = [
        picture_state(archive, each.body_ref.partition("/")[2], each.body_ref) if each.body_ref else None
        for each in trace.dead_letters
    ]
    models = {(each.model.product, each.model.version): each.model for each in trace.verdicts if each.model}
    found = {
        key: model_evidence(Path(model.folder), model.flow_sha256, model.manifest_sha256)
        for key, model in models.items()
    }
    return TraceReport(trace, (*judged, *unjudged), found)


def parsed_time(text: str) -> datetime:
    """Return the time that a person wrote in ISO 8601; UTC where no zone is said.

    Raises:
        SettingsError: It is none.
    """
    try:
        at = datetime.fromisoformat(text)
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise SettingsError(f"--as-of {text!r} is no time such as 2026-03-03T12:00:00Z") from error


def not_on_record(trace: Trace, camera: str | None) -> str:
    """Say in one line that nothing is known of a frame."""
    where = "" if camera is None else f" of camera {printable(camera)}"
    when = "" if trace.as_of is None else f" at {moment(trace.as_of)}"
    return f"no frame {printable(trace.frame_id)}{where} was on record{when}: neither a verdict nor a dead letter"


def trace_text(report: TraceReport) -> str:
    """Return the report as text, one paragraph a frame; the first few of the pictures' hashes."""
    trace = report.trace
    frames: list[TracedVerdict | TracedDeadLetter] = [*trace.verdicts, *trace.dead_letters]
    blocks = (
        [] if trace.as_of is None else [f"as on record at {moment(trace.as_of)}; files and pictures as they are now"]
    )
    for frame, picture in zip(frames, report.pictures, strict=True):
        lines = (
            _of_verdict(frame, picture, report.models)
            if isinstance(frame, TracedVerdict)
            else _of_dead_letter(frame, picture)
        )
        title = f"frame {printable(frame.frame_id)} of camera {_named(frame.camera)}"
        blocks.append("\n".join([title, *(f"  {label:<13} {text}" for label, text in lines)]))
    return "\n\n".join(blocks)


_Lines = Iterator[tuple[str, str]]


def _of_verdict(
    verdict: TracedVerdict, picture: PictureState | None, models: dict[tuple[str, int], ModelEvidence]
) -> _Lines:
    yield "picture", f"sha256 {printable(verdict.sha256)}"
    if picture is not None:
        yield "", _PICTURE[picture]
    yield "part", f"{_named(verdict.part_id)}, product {printable(verdict.product)}, job {_named(verdict.job_id)}"
    if verdict.simulated is not None:
        yield "simulated", printable(verdict.simulated)
    yield from _place(verdict)
    yield "captured", moment(verdict.captured_at)
    yield "received", moment(verdict.received_at)
    yield "scored", "not scored" if verdict.scored_at is None else moment(verdict.scored_at)
    yield "committed", moment(verdict.committed_at)
    reason = "" if verdict.reason is None else f" ({printable(verdict.reason)})"
    yield "verdict", f"{printable(verdict.state)}{reason}, result {printable(verdict.result_id)}"
    yield "score", _number(verdict.score)
    yield "threshold", _number(verdict.threshold)
    yield "p-value", _number(verdict.p_value)
    yield "views", _named(None if verdict.views is None else str(verdict.views))
    if verdict.model is None:
        yield "model", "none judged it"
    else:
        model = verdict.model
        yield from _of_model(model, models[model.product, model.version], verdict.camera)
    yield from _of_alerts(verdict.alerts)


def _of_dead_letter(letter: TracedDeadLetter, picture: PictureState | None) -> _Lines:
    yield "dead letter", f"{printable(letter.reason)}: {printable(letter.detail)}"
    yield from _place(letter)
    yield "received", moment(letter.received_at)
    yield "committed", moment(letter.committed_at)
    if letter.body_ref is None or picture is None:
        yield "body", "it had none"
    else:
        yield "body", printable(letter.body_ref)
        yield "", _PICTURE[picture]
    yield from _of_alerts(letter.alerts)


def _place(frame: TracedVerdict | TracedDeadLetter) -> _Lines:
    sequence = "none" if frame.sequence is None else str(frame.sequence)
    yield "run", f"{_named(frame.run)}, sequence {sequence}"
    yield "bus", f"{printable(frame.topic)}/{frame.partition} at {frame.bus_offset}"


def _of_model(model: TracedModel, found: ModelEvidence, camera: str) -> _Lines:
    yield "model", f"{printable(model.product)} version {model.version}, preset {printable(model.preset)}"
    yield "", f"registered {_by(model.registered_by, model.registered_at)}"
    yield "folder", printable(model.folder)
    for label, name, sha256 in (
        ("flow", FLOW_FILE, model.flow_sha256),
        ("manifest", MANIFEST_FILE, model.manifest_sha256),
    ):
        yield label, f"sha256 {printable(sha256)}: {_FILE[found.files[name]]}"
    for name, state in found.files.items():
        if name not in (FLOW_FILE, MANIFEST_FILE):
            yield "", f"{printable(name)}: {_FILE[state]}"
    yield from _of_pictures("trained on", model.training_frames, found.training_sha256)
    yield from _of_pictures("calibrated on", model.calibration_frames, found.calibration_sha256)
    yield (
        "false alarms",
        f"{model.false_alarm_rate:.3%} asked for, {model.attainable_rate:.3%} attainable; threshold {model.threshold:.6g}",
    )
    if found.calibration_cameras and camera in (own := found.camera_thresholds or {}):
        count = found.calibration_cameras.count(camera)
        yield "", f"{printable(camera)} has a threshold of its own, {own[camera]:.6g}, by {count} of these frames"
    if not model.put_in_force:
        yield "in force", "nobody has put it in force, by the record"
    for number, deed in enumerate(model.put_in_force):
        yield "" if number else "in force", _done(deed)
        recorded = (deed.flow_sha256, deed.manifest_sha256)
        if deed.audit_id is not None and recorded != (model.flow_sha256, model.manifest_sha256):
            flow, manifest = map(_named, recorded)
            yield "", f"THE AUDIT LOG HAS OTHER HASHES OF IT: flow {flow}, manifest {manifest}"


def _of_pictures(label: str, frames: int, hashes: Sequence[str] | None) -> _Lines:
    if hashes is None:
        yield label, f"{frames} frames, by the registry; their hashes are in the manifest, which is not to be had"
        return
    differs = "" if len(hashes) == frames else f"; THE REGISTRY SAYS {frames}"
    yield label, f"{len(hashes)} frames, by the manifest{differs}"
    for sha256 in hashes[:_HASHES_SHOWN]:
        yield "", f"sha256 {printable(sha256)}"
    if len(hashes) > _HASHES_SHOWN:
        yield "", f"and {len(hashes) - _HASHES_SHOWN} more: --json has them all"


def _of_alerts(alerts: Sequence[TracedAlert]) -> _Lines:
    if not alerts:
        yield "alerts", "none"
    for alert in alerts:
        state = "" if alert.acknowledged else ", nobody has acknowledged it"
        yield f"alert {alert.id}", f"{printable(alert.kind)}, opened {moment(alert.opened_at)}{state}"
        for deed in alert.acknowledged:
            yield "", _done(deed)


def _done(deed: Deed) -> str:
    why = f": {printable(deed.reason)}" if deed.reason else ""
    row = "not in the audit log" if deed.audit_id is None else f"audit row {deed.audit_id}"
    return f"{printable(deed.action)} {_by(deed.who, deed.at)} ({row}){why}"


def _by(who: str, at: datetime) -> str:
    return f"by {printable(who)}, {moment(at)}"


def _named(text: str | None) -> str:
    return printable(text) if text else "none"


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.6g}"


def _plain(value: Any) -> Any:
    """What JSON can hold."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def trace_json(report: TraceReport) -> str:
    """Return the report as JSON text."""
    return json.dumps(report.as_json(), indent=2)
