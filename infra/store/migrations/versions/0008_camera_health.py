"""Trouble with a camera raises an alert; a run that ingest ended itself is no silent camera."""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_CHANGES = """
ALTER TABLE alerts ADD COLUMN detail text;
CREATE INDEX alerts_camera_health ON alerts (camera, detail, opened_at DESC) WHERE kind = 'camera_health';

ALTER TABLE camera_runs ADD COLUMN ended_at timestamptz;

GRANT SELECT (detail, opened_at), INSERT (detail) ON alerts TO differline_scorer;
GRANT SELECT (ended_at), UPDATE (ended_at) ON camera_runs TO differline_ingest;
"""


def upgrade() -> None:
    op.execute(_CHANGES)
