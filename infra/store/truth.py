"""Scores beside the simulator's ground truth, for measuring."""

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from infra.store.connect import transaction
from infra.store.tables import verdicts


@dataclass(frozen=True, slots=True)
class ScoreWithTruth:
    """One judged simulated frame; `truth` is `good` or the kind of defect."""

    product: str
    truth: str
    score: float


def scores_with_truth(engine: sa.Engine, cameras: Sequence[str]) -> list[ScoreWithTruth]:
    """Return the judged simulated frames of some cameras.

    Raises:
        DatabaseAwayError: PostgreSQL does not answer.
    """
    columns = (verdicts.c.product, verdicts.c.simulated, verdicts.c.score)
    query = sa.select(*columns).where(
        verdicts.c.camera.in_(cameras), verdicts.c.simulated.is_not(None), verdicts.c.score.is_not(None)
    )
    with transaction(engine) as connection:
        return [ScoreWithTruth(*row) for row in connection.execute(query)]
