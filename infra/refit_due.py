"""When a product is learned anew: a rule, and what it says today."""

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction
from pathlib import Path

import sqlalchemy as sa

from infra.evidence import learned_from
from infra.store.alerts import opened_since
from infra.store.connect import transaction
from infra.store.promotions import ModelRow, newest_model
from infra.store.tables import AlertKind, FrameDecision, curation
from infra.telemetry import get_logger

_log = get_logger("refit")


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
        newest: The newest model; None where there is none.
        manifest_read: Whether what it was learned from could be read; where it could not, it knows nothing.
    """

    reasons: tuple[str, ...]
    released: int
    unknown: int
    newest: ModelRow | None = None
    manifest_read: bool = True

    def __str__(self) -> str:
        """Say it in one line."""
        known = f"{self.released} pictures are released, {self.unknown} of them new to the newest model"
        return f"due: {'; '.join(self.reasons)} ({known})" if self.reasons else f"not due: {known}"


def look_due(database: sa.Engine, product: str, rule: DueRule, now: datetime) -> Due:
    """Tell whether a product is to be learned anew.

    Raises:
        DatabaseAwayError: PostgreSQL does not answer.
    """
    newest = newest_model(database, product)
    if newest is None:
        released = _released(database, product, frozenset())[0]
        return Due(("there is no model yet",) if released else (), released, released)
    learned = learned_from(Path(newest.folder), newest.manifest_sha256)
    released, unknown = _released(database, product, learned or frozenset())  # an artifact that is gone knows nothing
    if newest.registered_at > now:  # until the clock gets there, neither its age nor a drift alarm makes a refit due
        ahead_s = round((newest.registered_at - now).total_seconds())
        _log.warning("model.of_the_future", product=product, version=newest.version, seconds=ahead_s)
    reasons = []
    if now - newest.registered_at >= rule.after and unknown:
        reasons.append(f"version {newest.version} is {(now - newest.registered_at).days} days old")
    if unknown >= rule.after_frames:
        reasons.append(f"{unknown} pictures were released that version {newest.version} does not know")
    if (alarms := opened_since(database, AlertKind.DRIFT, product, newest.registered_at)) and unknown:
        reasons.append(f"{alarms} drift alarms since version {newest.version}")
    return Due(tuple(reasons), released, unknown, newest, learned is not None)


def calibration_frames_needed(rate: float) -> int:
    """Least number n of calibration frames that can promise a false-alarm rate: n + 1 >= 1 / rate."""
    return math.ceil(1 / Fraction(str(rate))) - 1


def _released(database: sa.Engine, product: str, known: frozenset[str]) -> tuple[int, int]:
    """Count the released pictures, and those of them that are not known."""
    learned = (
        sa.func.unnest(sa.literal(sorted(known), sa.ARRAY(sa.Text)))
        .table_valued("sha256")
        .render_derived(name="learned")
    )
    row = curation.c
    query = (
        sa.select(sa.func.count(), sa.func.count().filter(learned.c.sha256.is_(None)))
        .select_from(curation.outerjoin(learned, learned.c.sha256 == row.sha256))
        .where(row.product == product, row.decision == FrameDecision.RELEASED)
    )
    with transaction(database) as connection:
        released, unknown = connection.execute(query).one()
        return released, unknown
