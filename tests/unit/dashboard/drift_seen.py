"""What the tests of the drift page look at: a day of one camera, with an alarm, an acknowledgement and another model."""

from datetime import UTC, datetime, timedelta
from typing import Any

from dashboard.data.drift import History
from dashboard.drift_distances import Distance, DistanceBucket, Standing
from infra.distances import BoundedDistance
from infra.store.drift_history import DriftBucket
from infra.store.drift_standings import Calibration, DriftStanding
from infra.store.promotions import Promotion
from infra.store.rollups import P_VALUE_BINS, RollupBucket, RollupSeries
from infra.store.tables import AlertState, DriftKind, PromotionKind

SINCE = datetime(2026, 3, 1, 12, tzinfo=UTC)
UNTIL = SINCE + timedelta(hours=24)
WIDTH = timedelta(minutes=10)
OLD = Calibration(1, 20.0, 99, None, None)
NEW = Calibration(
    2, 21.0, 199, tuple(float(n) for n in range(7)), ((4.0, 5.0, 6.0), (110.0, 120.0, 130.0), (30.0, 40.0, 50.0))
)


def bucket(number: int, model_id: int | None = 2, **changes: Any) -> RollupBucket:
    scores = dict.fromkeys(("lowest", "q05", "q25", "median", "q75", "q95", "highest"), 10.0) if model_id else {}
    values: dict[str, Any] = {
        "at": SINCE + number * WIDTH,
        "frames": 50,
        "defects": 1,
        "no_verdicts": 0,
        "threshold": 20.0,
        "p_values": (1,) * P_VALUE_BINS if model_id else (0,) * P_VALUE_BINS,
        "focus": 5.0,
        "brightness": 120.0,
        "contrast": 40.0,
        "model_ids": (model_id,) if model_id else (),
    }
    blank = dict.fromkeys(("lowest", "q05", "q25", "median", "q75", "q95", "highest"))
    return RollupBucket(**{**blank, **scores, **values, **changes})


def minutes(minute: int, kind: DriftKind = DriftKind.SCORE, wealth: float = 0.0, **changes: Any) -> DriftBucket:
    at = SINCE + timedelta(minutes=minute)
    values = {"began_at": None, "alarmed_at": None, "highest": wealth, "model_id": 2, "parts": minute} | changes
    return DriftBucket(kind=kind, at=at, last_at=at, wealth=wealth, **values)  # type: ignore[arg-type]


def far(frames: int = 500, psi: float = 0.3) -> Distance:
    return Distance(frames, psi, 0.05, BoundedDistance(0.2, 0.22))


def history(**changes: Any) -> History:
    at = SINCE + timedelta(hours=2)
    values: dict[str, Any] = {
        "since": SINCE,
        "until": UNTIL,
        "series": RollupSeries(WIDTH, (bucket(0, 1), bucket(1, 1), bucket(12), bucket(13))),
        "distances": (
            DistanceBucket(SINCE, 3 * WIDTH, far(80, 0.7)),
            DistanceBucket(SINCE + 12 * WIDTH, 3 * WIDTH, far()),
        ),
        "tests": (
            minutes(0, wealth=0.5),
            minutes(10, wealth=7.0, alarmed_at=SINCE + timedelta(minutes=10)),
            minutes(600, began_at=SINCE + timedelta(minutes=600)),
            minutes(0, DriftKind.QUALITY, wealth=-0.5),
        ),
        "models": {1: OLD, 2: NEW},
        "promotions": (Promotion("tile", 2, 1, PromotionKind.PROMOTED, "m.weber", "new lamp", at),),
        "whole": far(),
        "frames": 200,
    }
    return History(**{**values, **changes})


def standing(camera: str = "cam", kind: DriftKind = DriftKind.SCORE, **changes: Any) -> DriftStanding:
    values = {
        "model_id": 2, "model_version": 2, "parts": 400, "wealth": 0.4, "compares_with_itself": False, "seen_at": SINCE,
        "alarmed_at": None, "alert_id": None, "alert_state": None, "cause": None,
    }  # fmt: skip
    return DriftStanding(camera=camera, product="tile", kind=kind, **values | changes)  # type: ignore[arg-type]


def alarmed(camera: str = "cam", kind: DriftKind = DriftKind.SCORE, cause: str = "product") -> DriftStanding:
    told = {"alert_id": 7, "alert_state": AlertState.OPEN, "cause": cause}
    return standing(camera, kind, wealth=2.5, alarmed_at=SINCE, **told)


def line(camera: str = "cam", **changes: Any) -> Standing:
    pictures = standing(camera, DriftKind.QUALITY, wealth=-0.5)
    values = {"scores": standing(camera), "pictures": pictures, "distance": far(), "frames": 500} | changes
    return Standing(camera, "tile", **values)
