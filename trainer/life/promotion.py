"""Whether a model may be put in force: what its calibration promises, what it finds, and what it would change."""

from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from infra.errors import PromotionError
from infra.objections import line_objections
from infra.store.models import RegisteredModel, models_in_force
from infra.store.promotions import ModelRow
from infra.store.second_verdicts import ChangedVerdict, Seen, changed_verdicts, seen_by
from scorer.detector import DetectorError, read_manifest
from trainer.life.refit import Workshop


@dataclass(frozen=True)
class Examined:
    """What a person should know before a model is put in force.

    Attributes:
        model: Its row in the registry.
        seen: How much it has seen of the line, in shadow or by replay.
        changed: Every frame of which it says something else than the verdict on record.
        objections: What speaks against it, a line each.
    """

    model: ModelRow
    seen: Seen
    changed: tuple[ChangedVerdict, ...]
    objections: tuple[str, ...]


def examine(database: sa.Engine, model: ModelRow) -> Examined:
    """Look at what a model has seen of the line, and at the false alarms among it.

    Raises:
        DetectorError: Its manifest is gone or broken.
        DatabaseAwayError: PostgreSQL does not answer.
    """
    manifest = read_manifest(Path(model.folder))
    learned_from = [*manifest.training_sha256, *manifest.calibration_sha256]
    seen = seen_by(database, model.id, learned_from)
    further = line_objections(seen, model.false_alarm_rate, replaces_another=model.product in models_in_force(database))
    return Examined(model, seen, tuple(changed_verdicts(database, model.id)), (*model.objections(), *further))


def require_sound(workshop: Workshop, model: ModelRow | RegisteredModel) -> None:
    """Load a model as a scorer would, before it is put in force: whatever a scorer would refuse is refused here.

    Raises:
        PromotionError: A file is gone, is not what its hash says, has a value that is not finite, or is of an unknown format.
    """
    try:
        workshop.detector_of(model)
    except DetectorError as error:
        raise PromotionError(
            f"{model.product} version {model.version} is not put in force, the model is refused: {error}"
        ) from error
