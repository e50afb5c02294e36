"""A traced verdict in words: the chain from its picture to who acknowledged its alert, for a terminal and for a page."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from infra.evidence import FLOW_FILE, MANIFEST_FILE, FileState, ModelEvidence, PictureState
from infra.printable import moment, printable
from infra.store.traces import (
    Deed,
    TracedAlert,
    TracedDeadLetter,
    TracedModel,
    TracedSecond,
    TracedVerdict,
)
from infra.trace_report import TraceReport

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
class Link:
    """A link of the chain that a verdict hangs on.

    Attributes:
        name: What it is about.
        lines: A label and a text each; the label is empty where a line goes on with the one before. Texts are printable.
    """

    name: str
    lines: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Chain:
    """A frame, from its picture to who acknowledged its alert."""

    title: str
    links: tuple[Link, ...]


def chains(report: TraceReport, said: Callable[[datetime], str] = moment) -> list[Chain]:
    """Return what is on record about each frame in words; the first few of the pictures' hashes.

    Args:
        report: What was found.
        said: How a time is said; UTC unless another way is given.
    """
    frames: list[TracedVerdict | TracedDeadLetter] = [*report.trace.verdicts, *report.trace.dead_letters]
    told = _Teller(report.models, said)
    return [
        Chain(
            f"frame {printable(frame.frame_id)} of camera {_named(frame.camera)}",
            tuple(
                Link(name, tuple(lines))
                for name, lines in (
                    told.of_verdict(frame, picture)
                    if isinstance(frame, TracedVerdict)
                    else told.of_dead_letter(frame, picture)
                )
            ),
        )
        for frame, picture in zip(frames, report.pictures, strict=True)
    ]


def trace_text(report: TraceReport) -> str:
    """Return the report as text, one paragraph a frame; the first few of the pictures' hashes."""
    as_of = report.trace.as_of
    blocks = [] if as_of is None else [f"as on record at {moment(as_of)}; files and pictures as they are now"]
    for chain in chains(report):
        lines = (f"  {label:<13} {text}" for link in chain.links for label, text in link.lines)
        blocks.append("\n".join([chain.title, *lines]))
    return "\n\n".join(blocks)


_Lines = Iterator[tuple[str, str]]
_Links = Iterator[tuple[str, _Lines]]


class _Teller:
    """Says what is on record, with times as they are wanted."""

    def __init__(self, models: dict[tuple[str, int], ModelEvidence], said: Callable[[datetime], str]) -> None:
        self._models = models
        self._said = said

    def of_verdict(self, verdict: TracedVerdict, picture: PictureState | None) -> _Links:
        yield "picture", self._picture(verdict, picture)
        yield "times", self._times(verdict)
        yield "verdict", self._verdict(verdict)
        if verdict.model is None:
            yield "model", iter([("model", "none judged it")])
        else:
            model = verdict.model
            yield "model", self._model(model, self._models[model.product, model.version], verdict.camera)
            yield "in force", self._in_force(model)
        if verdict.seconds:
            yield "other models", self._seconds(verdict.seconds)
        yield "alerts", self._alerts(verdict.alerts)

    def of_dead_letter(self, letter: TracedDeadLetter, picture: PictureState | None) -> _Links:
        yield "dead letter", self._dead_letter(letter, picture)
        yield "alerts", self._alerts(letter.alerts)

    def _picture(self, verdict: TracedVerdict, picture: PictureState | None) -> _Lines:
        yield "picture", f"sha256 {printable(verdict.sha256)}"
        if picture is not None:
            yield "", _PICTURE[picture]
        yield "part", f"{_named(verdict.part_id)}, product {printable(verdict.product)}, job {_named(verdict.job_id)}"
        if verdict.simulated is not None:
            yield "simulated", printable(verdict.simulated)
        yield from _place(verdict)

    def _times(self, verdict: TracedVerdict) -> _Lines:
        yield "captured", self._said(verdict.captured_at)
        yield "received", self._said(verdict.received_at)
        yield "scored", "not scored" if verdict.scored_at is None else self._said(verdict.scored_at)
        yield "committed", self._said(verdict.committed_at)

    def _verdict(self, verdict: TracedVerdict) -> _Lines:
        reason = "" if verdict.reason is None else f" ({printable(verdict.reason)})"
        yield "verdict", f"{printable(verdict.state)}{reason}, result {printable(verdict.result_id)}"
        yield "score", _number(verdict.score)
        yield "threshold", _number(verdict.threshold)
        yield "p-value", _number(verdict.p_value)
        yield "views", _named(None if verdict.views is None else str(verdict.views))

    def _dead_letter(self, letter: TracedDeadLetter, picture: PictureState | None) -> _Lines:
        yield "dead letter", f"{printable(letter.reason)}: {printable(letter.detail)}"
        yield from _place(letter)
        yield "received", self._said(letter.received_at)
        yield "committed", self._said(letter.committed_at)
        if letter.body_ref is None or picture is None:
            yield "body", "it had none"
        else:
            yield "body", printable(letter.body_ref)
            yield "", _PICTURE[picture]

    def _model(self, model: TracedModel, found: ModelEvidence, camera: str) -> _Lines:
        yield "model", f"{printable(model.product)} version {model.version}, preset {printable(model.preset)}"
        yield "", f"registered {self._by(model.registered_by, model.registered_at)}"
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

    def _in_force(self, model: TracedModel) -> _Lines:
        if not model.put_in_force:
            yield "in force", "nobody has put it in force, by the record"
        for number, deed in enumerate(model.put_in_force):
            yield "" if number else "in force", self._done(deed)
            recorded = (deed.flow_sha256, deed.manifest_sha256)
            if deed.audit_id is not None and recorded != (model.flow_sha256, model.manifest_sha256):
                flow, manifest = map(_named, recorded)
                yield "", f"THE AUDIT LOG HAS OTHER HASHES OF IT: flow {flow}, manifest {manifest}"

    def _seconds(self, seconds: Sequence[TracedSecond]) -> _Lines:
        for second in seconds:
            yield (
                f"by version {second.version}",
                (
                    f"{printable(second.state)}, score {_number(second.score)}, threshold {_number(second.threshold)}, "
                    f"p-value {_number(second.p_value)}; {printable(second.product)}, {printable(second.source)}, "
                    f"scored {self._said(second.scored_at)}"
                ),
            )

    def _alerts(self, alerts: Sequence[TracedAlert]) -> _Lines:
        if not alerts:
            yield "alerts", "none"
        for alert in alerts:
            state = "" if alert.acknowledged else ", nobody has acknowledged it"
            yield f"alert {alert.id}", f"{printable(alert.kind)}, opened {self._said(alert.opened_at)}{state}"
            for deed in alert.acknowledged:
                yield "", self._done(deed)

    def _done(self, deed: Deed) -> str:
        why = f": {printable(deed.reason)}" if deed.reason else ""
        row = "not in the audit log" if deed.audit_id is None else f"audit row {deed.audit_id}"
        return f"{printable(deed.action)} {self._by(deed.who, deed.at)} ({row}){why}"

    def _by(self, who: str, at: datetime) -> str:
        return f"by {printable(who)}, {self._said(at)}"


def _place(frame: TracedVerdict | TracedDeadLetter) -> _Lines:
    sequence = "none" if frame.sequence is None else str(frame.sequence)
    yield "run", f"{_named(frame.run)}, sequence {sequence}"
    yield "bus", f"{printable(frame.topic)}/{frame.partition} at {frame.bus_offset}"


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


def _named(text: str | None) -> str:
    return printable(text) if text else "none"


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.6g}"
