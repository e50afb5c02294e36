"""A camera whose scores and pictures are drawn from distributions that can shift, and scorers that look at them."""

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa
import structlog

from infra.store import alerts as alert_store
from infra.store.alerts import AlertFilter
from infra.store.drift import DriftRow, drift_rows
from infra.store.models import RegisteredModel, register_in_force
from infra.store.positions import claim
from infra.store.results import VerdictRow, write_batch
from infra.store.tables import AlertState, ensure_day_partitions
from scorer.detector import MANIFEST_FILE
from scorer.drift import LOOK_EVERY_S, DriftAlarm
from trainer.fit import FittedModel

from .rows import FIRST, MODEL, NOON, batch, judged

SHARP = (5.0, 120.0, 40.0)


@dataclass
class Plant:
    """Frames of one camera, and scorers that look at them, with the time in hand."""

    database: sa.Engine
    models: Path
    manifest: dict[str, Any]
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))
    offset: int = 0
    now: float = 1000.0
    shown: list[DriftRow] = field(default_factory=list)

    def new_model(self, calibration: int = 150, quality: bool = True) -> RegisteredModel:
        """A model with a calibration of its own; its scores are standard normal."""
        scores = np.sort(self.rng.normal(size=calibration))
        pictures = (np.array(SHARP) + self.rng.normal(size=(calibration, 3))).tolist() if quality else []
        changes = {"calibration_scores": scores.tolist(), "calibration_quality": pictures, "false_alarm_rate": 0.02}
        changes["threshold"] = float(scores[-int((calibration + 1) * 0.02)])
        self.threshold = float(changes["threshold"])
        return self.write_model(**changes)

    def write_model(self, **changes: Any) -> RegisteredModel:
        folder = self.models / f"{len(list(self.models.iterdir()))}"
        folder.mkdir()
        (folder / MANIFEST_FILE).write_text(json.dumps(self.manifest | changes))
        return register_in_force(self.database, replace(MODEL, folder=str(folder)))

    def parts(self, count: int, model: RegisteredModel, **how: Any) -> None:
        self.write([self.part(model, **how) for _ in range(count)])

    def part(self, model: RegisteredModel, *, shift: float = 0.0, blur: float = 0.0, **changes: Any) -> VerdictRow:
        focus, brightness, contrast = (np.array(SHARP) + self.rng.normal(size=3)).tolist()
        score = float(self.rng.normal() + shift)
        seen = {"focus": focus - blur, "brightness": brightness, "contrast": contrast, "score": score} | changes
        self.offset += 1
        state = "DEFECT" if seen["score"] > self.threshold else "GOOD"
        return judged(f"frame {self.offset}", self.offset, model.id, state, threshold=self.threshold, **seen)

    def write(self, rows: list[VerdictRow]) -> None:
        write_batch(self.database, [claim(self.database, FIRST, "scorer")], batch(*rows), 7)

    def scorer(self) -> DriftAlarm:
        return DriftAlarm(self.database, structlog.get_logger(), self.shown.append, lambda: NOON, lambda: self.now)

    def look(self, scorer: DriftAlarm | None = None, times: int = 1) -> None:
        scorer = scorer or self.scorer()
        for _ in range(times):
            scorer.look()
            scorer.saw(["cam"])
            self.now += LOOK_EVERY_S

    def state(self, kind: str = "score", product: str = "tile") -> DriftRow:
        (row,) = [row for row in drift_rows(self.database, product) if row.kind == kind]
        return row

    def alerts(self) -> list[str | None]:
        """The causes of the alerts of drift, oldest first."""
        return [one.detail for one in reversed(alert_store.list_alerts(self.database)) if one.kind == "drift"]

    def acknowledge(self) -> None:
        for one in alert_store.list_alerts(self.database, AlertFilter(AlertState.OPEN), limit=500):
            alert_store.acknowledge(self.database, one.id, "m.weber", "seen")


def plant_at(database: sa.Engine, folder: Path, fitted: FittedModel) -> Plant:
    """A plant without frames or models."""
    with database.begin() as connection:
        ensure_day_partitions(connection, NOON.date(), 1)
    models = folder / "models"
    models.mkdir()
    manifest = json.loads(fitted.detector.manifest.model_dump_json())
    return Plant(database, models, manifest | {"early_exit": None})
