"""How far each camera's frames and verdicts have come, in one small question: what the watchdog of the outputs looks at."""

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from infra.store.connect import transaction
from infra.store.tables import camera_runs

_FORGOTTEN = sa.text("interval '1 day'")


@dataclass(frozen=True, slots=True)
class CameraPace:
    """The newest run of a camera.

    Attributes:
        camera: Which.
        run: The run.
        waiting: Frames that the bus took, as ingest tells, and that have no verdict yet.
        accepted: Frames that the bus took, as ingest tells; 0 where the producer is a foreign one.
        accounted: Frames that have their verdict, or are dead letters.
        ended: Ingest ended the run: nothing more will come.
        heard_s: How long ago ingest or a scorer told of it, in seconds; 0 where the clock was set back since.
    """

    camera: str
    run: str
    waiting: int
    accepted: int
    accounted: int
    ended: bool
    heard_s: float


def camera_paces(engine: sa.Engine) -> list[CameraPace]:
    """Return the newest run of each camera that was heard of within a day; one whose producer tells of no runs is left out.

    A run that was heard of in the future, before the clock was set back, is the newest one only where there is no other.

    Raises:
        DatabaseAwayError: PostgreSQL does not answer.
    """
    run, now = camera_runs.c, sa.func.clock_timestamp()
    age = sa.func.greatest(sa.cast(sa.extract("epoch", now - run.updated_at), sa.Double), 0.0)
    waiting = sa.func.greatest(run.accepted - run.last_sequence - 1, 0)
    query = (
        sa.select(run.camera, run.run, waiting, run.accepted, run.accounted, run.ended_at.is_not(None), age)
        .ext(postgresql.distinct_on(run.camera))
        .where(run.camera != "", run.updated_at > now - _FORGOTTEN)
        .order_by(run.camera, run.updated_at > now, run.updated_at.desc())
    )
    with transaction(engine) as connection:
        return [CameraPace(*row) for row in connection.execute(query)]
