"""A request of the dashboard, done: exactly what the command does, in the name of who asked, and once."""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import sqlalchemy as sa

from infra.errors import DatabaseAwayError, DifferlineError, PromotionError, RequestLostError
from infra.store.connect import transaction
from infra.store.model_requests import Along, TakenRequest, conclude, tell_progress
from infra.store.promotions import list_models, model_row, promote, rollback, rollback_target, set_shadow
from infra.store.tables import RequestKind, RequestOutcome
from scorer.detector import DetectorError
from trainer.life.promotion import examine, require_sound
from trainer.life.refit import Order, Workshop
from trainer.life.together import groups_of
from trainer.progress import Stage

_LEAST_BETWEEN_S = 1.0
_SHARES = {  # of the time that a refit takes, about; a stage that does not come is passed over
    Stage.SCAN: 0.03,
    Stage.ADAPT: 0.10,
    Stage.FEATURES: 0.25,
    Stage.FIT: 0.25,
    Stage.LOCAL: 0.05,
    Stage.DEFECT_MAP: 0.10,
    Stage.PROBE: 0.03,
    Stage.EVIDENCE: 0.05,
    Stage.CALIBRATION: 0.07,
    Stage.HEATMAPS: 0.02,
    Stage.CHALLENGE: 0.04,
    Stage.REGISTER: 0.01,
}


class ProgressOnRecord:
    """Tells how far a refit is, as a share of all of it that never falls; at most once a second.

    Args:
        tell: Told the stage and the share, in [0, 1].
        monotonic: The clock, in seconds.
    """

    def __init__(self, tell: Callable[[str, float], None], monotonic: Callable[[], float] = time.monotonic) -> None:
        self._tell = tell
        self._monotonic = monotonic
        self._share = 0.0
        self._told_at = float("-inf")

    def __call__(self, stage: Stage, done: int, total: int, detail: str = "") -> None:  # noqa: ARG002 - a Progress
        """Take note; a database that is away keeps no refit waiting."""
        stages = list(_SHARES)
        if stage in _SHARES:
            before = sum(_SHARES[each] for each in stages[: stages.index(stage)])
            self._share = max(self._share, before + _SHARES[stage] * (done / total if total else 1.0))
        now = self._monotonic()
        if now - self._told_at < _LEAST_BETWEEN_S:
            return
        self._told_at = now
        with suppress(DatabaseAwayError):
            self._tell(stage, min(self._share, 1.0))


def perform(workshop: Workshop, asked: TakenRequest) -> None:
    """Do a promotion, a rollback or a shadow, and conclude the request in the same transaction.

    Raises:
        PromotionError: It is refused; nothing was done.
        RequestLostError: Another trainer has taken the request; nothing was done.
        DatabaseAwayError: PostgreSQL does not answer; the request is taken again.
    """
    try:
        _STEPS[asked.what](workshop, asked)
    except DetectorError as error:
        raise PromotionError(f"the model is refused: {error}") from error


def refit_asked(workshop: Workshop, asked: TakenRequest) -> None:
    """Learn a product anew in the name of who asked, and conclude the request; the candidate is registered with it.

    Products that share its flow are learned anew with it, as by the command.

    Raises:
        DatabaseAwayError: PostgreSQL does not answer; whether the request is concluded is seen there.
    """

    def tell(stage: str, share: float) -> None:
        tell_progress(workshop.database, asked, stage, share)

    mine = replace(
        workshop,
        who=asked.who,
        progress=ProgressOnRecord(tell),
        along=_concluding(asked, lambda version: f"version {version} is a candidate"),
    )
    try:
        (group,) = groups_of(list_models(workshop.database), [asked.product])
        mine.refit(Order(asked.product, others=tuple(other for other in group if other != asked.product)))
    except (DatabaseAwayError, RequestLostError):
        raise
    except (DifferlineError, DetectorError) as error:
        with transaction(workshop.database) as connection:
            conclude(connection, asked, RequestOutcome.REFUSED, str(error))


def _promote(workshop: Workshop, asked: TakenRequest) -> None:
    assert asked.version is not None  # noqa: S101 - the table has it so
    row = model_row(workshop.database, asked.product, asked.version)
    require_sound(workshop, row)  # also by force
    examined = examine(workshop.database, row)
    promote(
        workshop.database,
        asked.product,
        asked.version,
        who=asked.who,
        reason=asked.reason,
        force=asked.force,
        further=[line for line in examined.objections if line not in row.objections()],
        along=_concluding(asked, lambda version: f"version {version} is in force"),
    )


def _roll_back(workshop: Workshop, asked: TakenRequest) -> None:
    target = rollback_target(workshop.database, asked.product, asked.version)
    require_sound(workshop, target)
    rollback(
        workshop.database,
        asked.product,
        who=asked.who,
        reason=asked.reason,
        instead_of=asked.version,
        checked=target,
        along=_concluding(asked, lambda version: f"version {version} is in force again"),
    )


def _shadow(workshop: Workshop, asked: TakenRequest) -> None:
    def said(version: int | None) -> str:
        return "no candidate is in shadow" if version is None else f"version {version} scores in shadow"

    along = _concluding(asked, said)
    set_shadow(workshop.database, asked.product, asked.version, asked.who, reason=asked.reason, along=along)


def _concluding(asked: TakenRequest, said: Callable[[int | None], str]) -> Along:
    def along(connection: sa.Connection, version: int | None) -> None:
        conclude(connection, asked, RequestOutcome.DONE, said(version))

    return along


_STEPS = {RequestKind.PROMOTE: _promote, RequestKind.ROLLBACK: _roll_back, RequestKind.SHADOW: _shadow}
