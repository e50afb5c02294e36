"""When a product is learned anew: a rule, and what it says today."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import sqlalchemy as sa

from infra.store.alerts import opened_since
from infra.store.curation import newest_decisions
from infra.store.promotions import ModelRow, list_models
from infra.store.tables import AlertKind, FrameDecision
from scorer.detector import DetectorError, read_manifest


@dataclass(frozen=True)
class DueRule:
    """When a refit is due; any of these is enough.

    Attributes:
        after: Age of the newest model, where at least one picture was released since.
        after_frames: Released pictures that the newest model does not know.
    """

    after: timedelta
    after_frames: int


@dataclass(frozen=True)
class Due:
    """Whether a refit is due.

    Attributes:
        reasons: Why, a line each; empty where it is not.
        released: Released pictures.
        unknown: Those of them that the newest model, candidate or not, has not seen.
    """

    reasons: tuple[str, ...]
    released: int
    unknown: int

    def __str__(self) -> str:
        """Say it in one line."""
        known = f"{self.released} pictures are released, {self.unknown} of them new to the newest model"
        return f"due: {'; '.join(self.reasons)} ({known})" if self.reasons else f"not due: {known}"


def look_due(database: sa.Engine, product: str, rule: DueRule, now: datetime) -> Due:
    """Tell whether a product is to be learned anew.

    Raises:
        DatabaseAwayError: PostgreSQL does not answer.
    """
    released = {each.sha256 for each in newest_decisions(database, product) if each.decision is FrameDecision.RELEASED}
    versions = list_models(database, product)
    if not versions:
        return Due(("there is no model yet",) if released else (), len(released), len(released))
    newest = versions[0]
    unknown = len(released - _known_to(newest))
    reasons = []
    if now - newest.registered_at >= rule.after and unknown:
        reasons.append(f"version {newest.version} is {(now - newest.registered_at).days} days old")
    if unknown >= rule.after_frames:
        reasons.append(f"{unknown} pictures were released that version {newest.version} does not know")
    if (alarms := opened_since(database, AlertKind.DRIFT, product, newest.registered_at)) and unknown:
        reasons.append(f"{alarms} drift alarms since version {newest.version}")
    return Due(tuple(reasons), len(released), unknown)


def _known_to(model: ModelRow) -> frozenset[str]:
    try:
        manifest = read_manifest(Path(model.folder))
    except DetectorError:
        return frozenset()  # an artifact that is gone knows nothing any more
    return frozenset(manifest.training_sha256) | frozenset(manifest.calibration_sha256)
