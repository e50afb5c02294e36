"""A verdict traced back to what it stands on, with what is found of it on disk and in the archive; as JSON, too."""

import json
import math
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from infra.archive import Archive, open_archive
from infra.engines import Engines
from infra.errors import SettingsError
from infra.evidence import (
    ModelEvidence,
    PictureState,
    model_evidence,
    picture_state,
)
from infra.printable import moment, printable
from infra.settings import Settings
from infra.store.connect import open_database
from infra.store.traces import (
    Trace,
    read_trace,
)


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
    return looked_up(trace, open_archive(settings.archive_location))


def looked_up(trace: Trace, archive: Archive) -> TraceReport:
    """Look whether the files and pictures of a trace are what they were."""
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
