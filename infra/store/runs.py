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
