"""From a fitted model to a version in force: the artifact on disk first, then its row. Scorers look for new rows."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import sqlalchemy as sa

from infra.frames import new_id
from infra.score_histogram import score_histogram
from infra.store.models import CALIBRATION_LEVELS, QUALITY_LEVELS, NewModel, RegisteredModel, register_in_force
from trainer.fit import FittedModel


def register(database: sa.Engine, models_folder: Path, fitted: FittedModel, who: str) -> RegisteredModel:
    """Save a model and put it in force.

    The row is written last, so a crash leaves an unused folder at most and the model in force stays.

    Args:
        database: The registry.
        models_folder: Where artifacts live.
        fitted: The model.
        who: Who trained it.

    Raises:
        DatabaseAwayError: PostgreSQL does not answer; nothing was registered.
    """
    return register_in_force(database, save(models_folder, fitted, who))


def save(models_folder: Path, fitted: FittedModel, who: str) -> NewModel:
    """Write the artifact of a model into a folder of its own.

    Returns:
        What is to be registered.
    """
    manifest, report = fitted.detector.manifest, fitted.report
    quality = manifest.calibration_quality
    folder = models_folder / hashlib.sha256(manifest.product.encode()).hexdigest()[:12] / new_id()
    folder.parent.mkdir(parents=True, exist_ok=True)
    hashes = fitted.save(folder)
    return NewModel(
        product=manifest.product,
        folder=str(folder),
        flow_sha256=hashes.flow,
        manifest_sha256=hashes.manifest,
        preset=manifest.preset,
        threshold=manifest.threshold,
        false_alarm_rate=manifest.false_alarm_rate,
        attainable_rate=max(manifest.false_alarm_rate, report.rate_possible),
        views=manifest.views.count,
        heat_scale=manifest.heat_scale,
        training_frames=report.n_train,
        calibration_frames=report.n_calibration,
        registered_by=who,
        calibration_quantiles=_quantiles(manifest.calibration_scores, CALIBRATION_LEVELS),
        calibration_quality=tuple(_quantiles(values, QUALITY_LEVELS) for values in zip(*quality, strict=True)) or None,
        score_histogram=score_histogram(manifest.calibration_scores, (), manifest.threshold),
    )


def _quantiles(values: Sequence[float], levels: Sequence[float]) -> tuple[float, ...]:
    return tuple(np.quantile(values, levels).tolist())
