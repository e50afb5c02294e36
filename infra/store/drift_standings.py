"""Where the drift tests of all cameras stand, without what they remember; and what their models were calibrated with."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from infra.store.connect import transaction
from infra.store.tables import AlertState, DriftKind, alerts, drift_states, models

MOST_STANDINGS = 1_000


@dataclass(frozen=True, slots=True)
class DriftStanding:
    """Where one test stands.

    Attributes:
        model_id: Whose calibration it is compared with; None where no model has judged a frame.
        model_version: That model's version.
        parts: Values that were tested.
        wealth: Decimal logarithm of what an initial 1 has become.
        compares_with_itself: There was no calibration to compare with, so it takes its own first parts.
        seen_at: Up to when the camera's frames were looked at.
        alarmed_at: When the part was received that made it alarm; None while it has not.
        alert_id: The alert of that alarm.
        alert_state: Where that alert stands.
        cause: Where to look first, as the alert says.
    """

    camera: str
    product: str
    kind: DriftKind
    model_id: int | None
    model_version: int | None
    parts: int
    wealth: float
    compares_with_itself: bool
    seen_at: datetime
    alarmed_at: datetime | None
    alert_id: int | None
    alert_state: AlertState | None
    cause: str | None


@dataclass(frozen=True, slots=True)
class Calibration:
    """What a model was calibrated with.

    Attributes:
        frames: How many pictures.
        scores: Quantiles of their scores at `infra.store.models.CALIBRATION_LEVELS`; None: not on record.
        quality: Quantiles of focus, brightness and contrast at QUALITY_LEVELS, a row each; None: not on record.
    """

    version: int
    threshold: float
    frames: int
    scores: tuple[float, ...] | None
    quality: tuple[tuple[float, ...], ...] | None


def drift_standings_query() -> sa.Select[*tuple[Any, ...]]:
    """All tests, by camera, product and kind."""
    state = drift_states.c
    return (
        sa.select(
            state.camera,
            state.product,
            state.kind,
            state.model_id,
            models.c.version.label("model_version"),
            state.parts,
            state.wealth,
            state.state["own"].astext.is_not(None).label("compares_with_itself"),
            state.cursor_at.label("seen_at"),
            state.alarmed_at,
            state.alert_id,
            alerts.c.state.label("alert_state"),
            alerts.c.detail.label("cause"),
        )
        .select_from(
            drift_states.outerjoin(models, models.c.id == state.model_id).outerjoin(
                alerts, alerts.c.id == state.alert_id
            )
        )
        .order_by(state.camera, state.product, state.kind)
        .limit(MOST_STANDINGS)
    )


def drift_standings(engine: sa.Engine) -> list[DriftStanding]:
    """Return where the tests stand, by camera, product and kind; at most MOST_STANDINGS.

    Raises:
        DatabaseAwayError: PostgreSQL does not answer.
    """
    with transaction(engine) as connection:
        found = connection.execute(drift_standings_query()).mappings()
        return [
            DriftStanding(
                **{
                    **row,
                    "kind": DriftKind(row["kind"]),
                    "alert_state": None if row["alert_state"] is None else AlertState(row["alert_state"]),
                }
            )
            for row in found
        ]


def calibrations(engine: sa.Engine, model_ids: Collection[int]) -> dict[int, Calibration]:
    """Return what models were calibrated with, by their numbers; those that are not registered are left out.

    Raises:
        DatabaseAwayError: PostgreSQL does not answer.
    """
    if not model_ids:
        return {}
    model = models.c
    query = sa.select(
        model.id,
        model.version,
        model.threshold,
        model.calibration_frames,
        model.calibration_quantiles,
        model.calibration_quality,
    ).where(model.id.in_(model_ids))
    with transaction(engine) as connection:
        return {
            row.id: Calibration(
                row.version,
                row.threshold,
                row.calibration_frames,
                None if row.calibration_quantiles is None else tuple(row.calibration_quantiles),
                None if row.calibration_quality is None else tuple(map(tuple, row.calibration_quality)),
            )
            for row in connection.execute(query)
        }
