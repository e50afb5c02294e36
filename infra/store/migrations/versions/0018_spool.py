"""What ingest holds in its disk spools, and what cameras had to skip."""

from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

_CHANGES = """
ALTER TABLE camera_runs ADD COLUMN captured bigint NOT NULL DEFAULT 0;
GRANT SELECT (captured), INSERT (captured), UPDATE (captured) ON camera_runs TO differline_ingest;

CREATE TABLE skipped_frames (
    camera text NOT NULL,
    run text NOT NULL,
    reason text NOT NULL,
    frames bigint NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT skipped_frames_reason CHECK (reason IN ('bus_away', 'camera_away')),
    PRIMARY KEY (camera, run, reason)
);
ALTER TABLE skipped_frames OWNER TO differline_migrator;
GRANT SELECT (camera, run, reason, frames), INSERT (camera, run, reason, frames), UPDATE (frames, updated_at)
    ON skipped_frames TO differline_ingest;
GRANT SELECT ON skipped_frames TO differline_dashboard;
"""


def upgrade() -> None:
    op.execute(_CHANGES)
