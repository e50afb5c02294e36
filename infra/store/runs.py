"""A camera's runs, as ingest tells them: how many frames the bus has acknowledged, and what had to be skipped."""

from collections.abc import Mapping

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from infra.store.connect import transaction
from infra.store.tables import camera_runs, skipped_frames


def report_accepted(engine: sa.Engine, camera: str, run: str, accepted: int, captured: int = 0) -> None:
    """Tell the ledger how many frames of a run were accepted so far; the numbers only grow.

    Args:
        engine: The database.
        camera: The camera.
        run: Its run.
        accepted: Frames that the bus acknowledged.
        captured: Frames that are on the bus or in the camera's spool; 0 where it has none.

    Raises:
        DatabaseAwayError: PostgreSQL does not answer; tell it later.
    """
    row = insert(camera_runs).values(camera=camera, run=run, accepted=accepted, captured=captured)
    with transaction(engine) as connection:
        connection.execute(
            row.on_conflict_do_update(
                index_elements=list(camera_runs.primary_key),
                set_={
                    "accepted": sa.func.greatest(camera_runs.c.accepted, row.excluded.accepted),
                    "captured": sa.func.greatest(camera_runs.c.captured, row.excluded.captured),
                    "updated_at": sa.func.clock_timestamp(),
                },
            )
        )


def report_skipped(engine: sa.Engine, camera: str, run: str, skipped: Mapping[str, int]) -> None:
    """Tell the ledger how many frames a run had to skip so far, by `SkipReason`; the numbers only grow.

    Raises:
        DatabaseAwayError: PostgreSQL does not answer; tell it later.
    """
    with transaction(engine) as connection:
        for reason, frames in sorted(skipped.items()):
            row = insert(skipped_frames).values(camera=camera, run=run, reason=reason, frames=frames)
            connection.execute(
                row.on_conflict_do_update(
                    index_elements=list(skipped_frames.primary_key),
                    set_={
                        "frames": sa.func.greatest(skipped_frames.c.frames, row.excluded.frames),
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
