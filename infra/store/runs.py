"""A camera's runs, as ingest tells them: how many frames the bus has acknowledged."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from infra.store.connect import transaction
from infra.store.tables import camera_runs


def report_accepted(engine: sa.Engine, camera: str, run: str, accepted: int) -> None:
    """Tell the ledger how many frames of a run were accepted so far; the number only grows.

    Raises:
        DatabaseAwayError: PostgreSQL does not answer; tell it later.
    """
    row = insert(camera_runs).values(camera=camera, run=run, accepted=accepted)
    with transaction(engine) as connection:
        connection.execute(
            row.on_conflict_do_update(
                index_elements=list(camera_runs.primary_key),
                set_={
                    "accepted": sa.func.greatest(camera_runs.c.accepted, row.excluded.accepted),
                    "updated_at": sa.func.clock_timestamp(),
                },
            )
        )


def report_ended(engine: sa.Engine, camera: str, run: str) -> None:
    """Tell that a run is over because ingest ended it: its camera is not silent, it has nothing more to say.

    Raises:
        DatabaseAwayError: PostgreSQL does not answer.
    """
    this = (camera_runs.c.camera == camera, camera_runs.c.run == run)
    with transaction(engine) as connection:
        connection.execute(sa.update(camera_runs).where(*this).values(ended_at=sa.func.clock_timestamp()))
